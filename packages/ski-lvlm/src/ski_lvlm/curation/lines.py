"""JSON lines that grow: one object per line, whole or not there, resumable by key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ski_lvlm.curation.errors import CurationError


class Lines:
    """A file of JSON objects with a text key each.

    A last line without its end, from a process that was killed, is cut off.

    Args:
        path: The file; made with the first line.
        key: Field that no two lines share.

    Attributes:
        rows: The objects by key, in order.

    Raises:
        CurationError: A line that is no such object, or a key that stands twice.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        self.path, self.key = Path(path), key
        self.rows: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                name = row[key]
            except (ValueError, KeyError, TypeError):
                name = None
            if not isinstance(name, str) or name in self.rows:
                raise CurationError(
                    f"{self.path}, line {number}: no JSON object with a {key} of its own; remove "
                    "the line, or name another file"
                )
            self.rows[name] = row
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))

    def __contains__(self, name: str) -> bool:
        return name in self.rows

    def add(self, row: dict[str, Any]) -> None:
        """Append an object and hand it to the operating system at once.

        Raises:
            CurationError: The file cannot be written.
        """
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(line)
        except OSError as error:
            raise CurationError(
                f"{self.path}: cannot be written ({error.strerror}); free space, then run the same "
                "command again"
            ) from None
        self.rows[row[self.key]] = row
