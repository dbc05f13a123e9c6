"""Reading and writing whole files: nothing half written, nothing overwritten silently."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ski_eval.errors import ExistingOutputError, InputError, MissingFileError


def write_bytes(path: str | Path, content: bytes, *, overwrite: bool = False) -> Path:
    """Write ``content`` to ``path`` in one step, making its folders.

    A file that already holds exactly these bytes is left alone.

    Raises:
        ExistingOutputError: ``path`` holds something else and ``overwrite`` is not set.
    """
    path = Path(path)
    if path.is_dir():
        raise ExistingOutputError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        if path.read_bytes() == content:
            return path
        raise ExistingOutputError(
            f"{path}: exists with other content; give another path or allow overwriting"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None:
            error.filename, error.filename2 = str(path), None  # not the temporary file's name
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_bytes(path: str | Path) -> bytes:
    """Content of the file ``path``.

    Raises:
        MissingFileError: no such file.
        InputError: an empty file.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingFileError(f"{path}: is a folder; give the name of a file in it")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    content = path.read_bytes()
    if not content:
        raise InputError(f"{path}: the file is empty; make it again")
    return content


def read_json(path: str | Path) -> Any:
    """Content of a JSON file.

    Raises:
        MissingFileError: no such file.
        InputError: not JSON (the text names the line), or a number that is not finite.
    """
    try:
        text = read_bytes(path).decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from error
    except _NotFiniteError as error:
        raise InputError(f"{path}: {error} is not a JSON number; use null") from error


class _NotFiniteError(Exception):
    """NaN or Infinity in a JSON text."""


def _refuse_constant(name: str) -> float:
    raise _NotFiniteError(name)
