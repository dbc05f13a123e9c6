"""Outputs that are there whole or not at all, and the folders on the way to them."""

from __future__ import annotations

import os
import shutil
import stat
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
    partial = _beside(path)
    try:
        with writing(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """A new folder beside ``path`` to fill; it takes the place of ``path`` if all went well.

    Raises:
        ExistingOutputError: ``path`` is there already.
        SkiDataError: It cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    if path.exists():
        raise ExistingOutputError(f"{path} is there already; name another folder or remove it")
    made, partial = missing_parents(path), _beside(path)
    try:
        with writing(path):
            partial.mkdir(parents=True)
            yield partial
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        remove_empty(made)


@contextmanager
def usual_permissions(path: Path | str) -> Iterator[None]:
    """Give the file that is written inside the permissions that new files have here.

    Writers of safetensors make files that none but their owner can read.
    """
    path = Path(path)
    path.touch()
    usual = stat.S_IMODE(path.stat().st_mode)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    path.chmod(usual)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


@contextmanager
def writing(path: Path, *, goes_on: bool = False) -> Iterator[None]:
    """Say in one line that a disk did not take what is written to ``path`` inside.

    Args:
        path: For the text of the error.
        goes_on: The same command, given again, goes on where it was; the text says so.

    Raises:
        SkiDataError: Of an OSError inside; own errors pass.
    """
    try:
        yield
    except SkiDataError:
        raise
    except OSError as error:
        again = "; the same command goes on where it was" if goes_on else ""
        raise SkiDataError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another "
            f"place{again}"
        ) from None
