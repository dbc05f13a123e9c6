"""Skeleton encoders aligned with language: Hyperformer, SkeletonCLIP and the shared trainer."""

from importlib.metadata import version

__version__ = version("ski-skeleton")
