"""Errors of ski-lvlm: what happened, where, what was allowed, what to do."""

from __future__ import annotations


class SkiLvlmError(Exception):
    """Base of everything ski-lvlm raises on purpose; the command line leaves with 2."""

    exit_code = 2


class ConfigError(SkiLvlmError, ValueError):
    """A setting, or a combination of settings, that makes no model."""


class FeatureError(SkiLvlmError, ValueError):
    """Features of a clip whose shape, type or values cannot be used."""


class TokenError(SkiLvlmError, ValueError):
    """Modality tokens of a prompt that do not fit its features."""


class PromptError(SkiLvlmError, ValueError):
    """A conversation, template or tokenizer of which no prompt can be made."""


class LaunchError(SkiLvlmError, RuntimeError):
    """A process of a training ended before its work did."""

    exit_code = 1
