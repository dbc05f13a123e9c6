"""Errors of ski-vlm: what happened, where, what was allowed, what to do."""

from __future__ import annotations


class SkiVlmError(Exception):
    """Base of everything ski-vlm raises on purpose; the command line leaves with 2."""

    exit_code = 2


class ConfigError(SkiVlmError, ValueError):
    """A setting, or a combination of settings, that makes no model or run."""
