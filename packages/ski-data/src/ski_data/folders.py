"""Folders on the way to an output, which must not stay behind when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def missing_parents(path: Path) -> list[Path]:
    """The folders above ``path`` that are not there yet, the innermost first."""
    return [parent for parent in path.parents if not parent.exists()]


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of ``folders`` that are there and empty, in this order."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
