"""Skeleton and video tokens for frozen large language models."""

from importlib.metadata import version

__version__ = version("ski-lvlm")
