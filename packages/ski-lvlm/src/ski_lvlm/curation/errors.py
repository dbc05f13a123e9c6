"""Errors of data curation."""

from __future__ import annotations

from ski_lvlm.errors import SkiLvlmError


class CurationError(SkiLvlmError, ValueError):
    """Inputs, settings or files that pairs cannot be made of or put into."""


class ReplyError(SkiLvlmError, ValueError):
    """A language model's reply that is not what was asked for."""


class EndpointError(SkiLvlmError, RuntimeError):
    """A server that gives no reply."""

    exit_code = 1
