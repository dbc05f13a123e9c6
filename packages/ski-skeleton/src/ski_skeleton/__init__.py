"""Skeleton encoders (Hyperformer, ST-GCN, Shift-GCN) aligned with language, and their trainer."""

from importlib.metadata import version

__version__ = version("ski-skeleton")
