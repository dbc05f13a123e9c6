"""Skeleton and video data for activity recognition: NTU RGB+D, your own joints, clips."""

from importlib.metadata import version

__version__ = version("ski-data")
