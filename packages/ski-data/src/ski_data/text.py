"""Text files as their readers want them: UTF-8, and errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ski_data.errors import InputError, MissingFileError


def read_text(path: Path | str, what: str = "file") -> str:
    """Content of a UTF-8 text file, without a byte order mark.

    Args:
        path: The file.
        what: What it is, for the error of a file that is not there.

    Raises:
        MissingFileError: There is no such file, or it is a folder.
        InputError: Not UTF-8; the text names the line.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such {what}") from None
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8 text; save it as UTF-8") from None


def json_lines(path: Path | str, what: str = "file") -> Iterator[tuple[int, Any]]:
    """Line number from 1 and value of every line of a JSON lines file that is not blank.

    Lines end where the file has a line end: texts inside may hold other separators.

    Raises:
        MissingFileError, InputError: As :func:`read_text`; a line that is not JSON.
    """
    for number, line in enumerate(read_text(path, what).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON ({error})") from None
