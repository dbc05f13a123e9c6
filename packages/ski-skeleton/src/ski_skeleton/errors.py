"""Errors of ski-skeleton: what happened, where, what was allowed, what to do."""

from __future__ import annotations


class SkiSkeletonError(Exception):
    """Base of everything ski-skeleton raises on purpose; the command line leaves with 2."""

    exit_code = 2


class ConfigError(SkiSkeletonError, ValueError):
    """A setting, or a combination of settings, that makes no model or run."""


def not_positive(settings: object, *names: str) -> list[str]:
    """One text for each of the named settings that is not above 0, for a ConfigError."""
    return [
        f"{name} must be positive, got {getattr(settings, name)}"
        for name in names
        if getattr(settings, name) <= 0
    ]


class CheckpointError(SkiSkeletonError, ValueError):
    """A weight file that cannot be read or whose entries do not cover the model."""


class RunError(SkiSkeletonError, ValueError):
    """A run folder that cannot be used as asked."""


class DivergedError(SkiSkeletonError, ArithmeticError):
    """Training met a loss that is not finite."""

    exit_code = 1
