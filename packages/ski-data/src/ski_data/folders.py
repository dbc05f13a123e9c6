"""Outputs that are there whole or not at all, and the folders on the way to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ski_data.errors import ExistingOutputError, SkiDataError


def missing_parents(path: Path) -> list[Path]:
    """The folders above ``path`` that are not there yet, the innermost first."""
    return [parent for parent in path.parents if not parent.exists()]


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of ``folders`` that are there and empty, in this order."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A file beside ``path`` to write to; it takes the place of ``path`` if all went well.

    Raises:
        ExistingOutputError: ``path`` is there already.
        SkiDataError: It cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    if path.exists():
        raise ExistingOutputError(f"{path} is there already; name another file or remove it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except SkiDataError:
        raise
    except OSError as error:
        raise SkiDataError(
            f"{path}: cannot be written ({error.strerror or error}); free space or name another "
            "file"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
