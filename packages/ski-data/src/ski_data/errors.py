"""Errors of ski-data: what happened, where, what was allowed, what to do.

Every error carries ``exit_code``: the command line prints its text and leaves with that code.
"""

from __future__ import annotations


class SkiDataError(Exception):
    """Base of everything ski-data raises on purpose."""

    exit_code = 2


class InputError(SkiDataError, ValueError):
    """A value, file content or manifest row that cannot be used."""


class MissingFileError(SkiDataError, FileNotFoundError):
    """A file or folder that was named but is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ExistingOutputError(SkiDataError, FileExistsError):
    """An output that is already there; nothing is overwritten silently."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
