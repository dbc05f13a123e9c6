"""Where raw recordings lie: loose ``.skeleton`` files, or members of zip archives read in place."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ski_data.errors import InputError, MissingFileError

SUFFIX = ".skeleton"
MEMBER_BYTES = 1 << 26
"""Largest member that is read, far above any real recording (about 5 MB)."""

_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1
_ODD = (LookupError, ValueError, RuntimeError)
"""What zipfile raises for headers that contradict each other."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(InputError):
    """A zip archive that is damaged, encrypted, hostile or too large, with the member's name."""


@dataclass(frozen=True)
class Recording:
    """One raw recording on disk.

    Attributes:
        file: The ``.skeleton`` file, or the zip archive that holds it.
        member: Its name in the archive; None for a loose file.
        stamp: What changes when the content does: size and time, or size and CRC-32.
    """

    file: Path
    member: str | None
    stamp: tuple[int, int]

    @property
    def name(self) -> str:
        """File name without folders, ``S001C001P001R001A001.skeleton``."""
        return self.file.name if self.member is None else PurePosixPath(self.member).name

    @property
    def stem(self) -> str:
        """The name up to ``.skeleton``."""
        return PurePosixPath(self.name).stem

    def __str__(self) -> str:
        return str(self.file) if self.member is None else f"{self.file}/{self.member}"

    def read(self) -> bytes:
        """The content.

        Raises:
            MissingFileError: The file is gone.
            ArchiveError: The member cannot be read.
        """
        if self.member is None:
            try:
                return self.file.read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                raise MissingFileError(f"{self.file}: no such {SUFFIX} file") from None
        try:
            with _opened(self.file).open(self.member) as file:
                return file.read()
        except FileNotFoundError:
            raise MissingFileError(f"{self.file}: no such archive") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, *_ODD) as error:
            raise ArchiveError(
                f"{self}: damaged in the archive ({error}); get the archive again"
            ) from None


def find_recordings(raw: Path) -> list[Recording]:
    """Every recording under ``raw``, in order of file name.

    Args:
        raw: A folder with ``.skeleton`` files and zip archives at any depth, or one zip archive.
            Archives are not unpacked; other members are left alone.

    Raises:
        MissingFileError: No such folder or archive.
        ArchiveError: A file that is no readable zip archive, or one with a member that is
            encrypted, too large, packed by an unusual method, or whose path leaves the archive.
    """
    if raw.is_dir():
        loose = (path for path in raw.rglob(f"*{SUFFIX}") if path.is_file())
        archives = sorted(path for path in raw.rglob("*.zip") if path.is_file())
        found = [Recording(path, None, file_stamp(path)) for path in loose]
    elif raw.is_file():
        found, archives = [], [raw]
    else:
        raise MissingFileError(f"{raw}: no such folder or zip archive")
    for archive in archives:
        found += _members(archive)
    return sorted(found, key=lambda recording: (recording.name, str(recording)))


def fingerprint(recordings: Iterable[Recording]) -> str:
    """SHA-256 over names and stamps: equal for the same files in the same state."""
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update(repr((str(recording), recording.stamp)).encode())
    return digest.hexdigest()


def close_archives() -> None:
    """Close the archives that :meth:`Recording.read` keeps open between reads."""
    _opened.cache_clear()


def file_stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file, for :attr:`Recording.stamp`."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=8)
def _opened(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)  # its directory is long: read it once per process


def _members(archive: Path) -> Iterator[Recording]:
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
    except (zipfile.BadZipFile, OSError, EOFError, *_ODD) as error:
        raise ArchiveError(
            f"{archive}: not a readable zip archive ({error}); give a folder or a zip"
        ) from None
    packed, seen = 0, set()
    for member in members:
        _check_path(archive, member.filename)
        packed += member.compress_size
        if not member.filename.endswith(SUFFIX):
            continue
        where = f"{archive}/{member.filename}"
        if member.filename in seen:
            raise ArchiveError(f"{where}: twice in the archive; get the archive again")
        seen.add(member.filename)
        if member.flag_bits & _ENCRYPTED:
            raise ArchiveError(f"{where}: encrypted; unpack the archive with its password first")
        if member.compress_type not in _METHODS:
            raise ArchiveError(
                f"{where}: packed by method {member.compress_type}; stored and deflated members "
                "are read, pack the archive again"
            )
        if member.file_size > MEMBER_BYTES:
            raise ArchiveError(
                f"{where}: {member.file_size} bytes unpacked; a recording has at most "
                f"{MEMBER_BYTES}"
            )
        yield Recording(archive, member.filename, (member.file_size, member.CRC))
    if packed > archive.stat().st_size:
        raise ArchiveError(f"{archive}: its members overlap (a zip bomb, or a damaged archive)")


def _check_path(archive: Path, name: str) -> None:
    path = name.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path) or ".." in path.split("/"):
        raise ArchiveError(
            f"{archive}: refused, member {name!r} has a path that leads out of the archive"
        )
