"""Errors of ski-eval: what happened, where, what was allowed, what to do.

Every error carries ``exit_code``: the command line prints its text and leaves with that code.
"""

from __future__ import annotations


class SkiEvalError(Exception):
    """Base of everything ski-eval raises on purpose."""

    exit_code = 2


class InputError(SkiEvalError, ValueError):
    """A value or file content that cannot be used."""


class MissingFileError(SkiEvalError, FileNotFoundError):
    """A file or folder that was named but is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ExistingOutputError(SkiEvalError, FileExistsError):
    """An output that is already there; nothing is overwritten silently."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
