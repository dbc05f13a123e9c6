"""Text files as their readers want them: UTF-8, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

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
