"""Errors of ski-skeleton: what happened, where, what was allowed, what to do."""

from __future__ import annotations


class SkiSkeletonError(Exception):
    """Base of everything ski-skeleton raises on purpose; the command line leaves with 2."""

    exit_code = 2


class ConfigError(SkiSkeletonError, ValueError):
    """A setting, or a combination of settings, that makes no model or run."""


class CheckpointError(SkiSkeletonError, ValueError):
    """A weight file that cannot be read or whose entries do not cover the model."""


class RunError(SkiSkeletonError, ValueError):
    """A run folder that cannot be used as asked."""


class DivergedError(SkiSkeletonError, ArithmeticError):
    """Training met a loss that is not finite."""

    exit_code = 1
