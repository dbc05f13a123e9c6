"""Writing skeleton stores: whole or not at all, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import zlib
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ski_data import __version__
from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError
from ski_data.folders import missing_parents, remove_empty, writing
from ski_data.layouts import Layout, Validity
from ski_data.processes import locked
from ski_data.store_format import (
    BY_NAME,
    FORMAT,
    INDEX,
    JOINTS,
    META,
    NUMBERS,
    VALIDITY,
    SingleBody,
    digest,
    write_index,
)

if TYPE_CHECKING:
    from ski_data.store import SkeletonStore

log = logging.getLogger(__name__)

_HEADER_BYTES = 128
_JOURNAL, _LOCK, _STORE = "journal.jsonl", "lock", "store"


class StoreWriter:
    """Writes a store; the folder appears whole when the ``with`` block ends well, or not at all.

    Args:
        folder: The store to make; it must not be there.
        layout: Joints of the clips.
        bodies: M of every clip.
        single_body: What slots beyond the first hold in a one-body clip when it is read.
        classes: Classes that the labels mean, if known.
        validity: (V,) codes of :class:`~ski_data.layouts.Validity` for clips that bring none of
            their own; None if every joint was measured.
        job: What is written, as a text that differs for other content or another order. With it,
            the clips that were added before a kill, an interruption or a full disk are there again
            when the same job is written to the same folder: ``len(writer)`` says how many, and the
            caller adds the rest. Bad input still leaves nothing behind.

    Raises:
        ExistingOutputError: The folder is there already.
    """

    def __init__(
        self,
        folder: Path | str,
        layout: Layout,
        *,
        bodies: int = 2,
        single_body: SingleBody = "zero",
        classes: ClassSet | None = None,
        validity: Sequence[int] | None = None,
        job: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        if self.folder.exists():
            raise ExistingOutputError(
                f"{self.folder} is there already; name another folder or remove it"
            )
        self.layout, self.bodies, self.single_body = layout, bodies, single_body
        self.classes = classes
        joints = len(layout.joints)
        codes = [Validity.MEASURED] * joints if validity is None else validity
        self.joint_validity = _codes(codes, (joints,), "validity")
        run = "" if job is not None else f".{os.getpid()}"
        self._work = self.folder.with_name(f".{self.folder.name}{run}.partial")
        self._partial = self._work / _STORE
        self._job: str | None = None
        if job is not None:
            codes = self.joint_validity.tolist()
            parts = (job, layout.name, bodies, single_body, codes, FORMAT, __version__)
            listed = None if classes is None else (classes.ids, classes.names)
            self._job = hashlib.sha256(repr((*parts, listed)).encode()).hexdigest()
        self._columns: dict[str, list[Any]] = {}
        self._names: set[str] = set()
        self._rows = 0
        self._own_validity = False

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> list[str]:
        """Names of the clips so far, in order, those of an earlier run of the job included."""
        return list(self._columns.get("name", ()))

    def __enter__(self) -> StoreWriter:
        self._lock: IO[bytes] | None = None
        self._journal: IO[bytes] | None = None
        self._made = missing_parents(self._work)
        with self._writing():
            if self._job is None:
                self._partial.mkdir(parents=True)
            else:
                self._partial.mkdir(parents=True, exist_ok=True)
                self._lock = locked(self._work / _LOCK)
                self._journal = (self._work / _JOURNAL).open("a+b")
            self._files: list[IO[bytes]] = []
            for part in (JOINTS, VALIDITY):
                (self._partial / part).touch()
                self._files.append((self._partial / part).open("r+b"))
            if self._journal is not None:
                self._resume(self._journal)
            for file, size in zip(self._files, self._row_bytes, strict=True):
                file.seek(0)
                file.write(b"\0" * _HEADER_BYTES)
                file.truncate(_HEADER_BYTES + self._rows * size)
                file.seek(0, os.SEEK_END)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        keep = self._job is not None and not isinstance(error, InputError)
        try:
            if kind is None:
                with self._writing():
                    self._finish()
                keep = False
        except InputError:
            keep = False
            raise
        finally:
            for file in (*self._files, self._journal, self._lock):
                if file is not None:
                    _close(file)
            if not keep:
                shutil.rmtree(self._work, ignore_errors=True)
                remove_empty(self._made)

    @property
    def _row_bytes(self) -> tuple[int, int]:
        return len(self.layout.joints) * 3 * 4, len(self.layout.joints)

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self.folder, goes_on=self._job is not None)

    def _resume(self, journal: IO[bytes]) -> None:
        """Take over the clips of an earlier run of the same job, as far as they are whole."""
        header = f'{{"job": "{self._job}"}}\n'.encode()
        journal.seek(0)
        if journal.readline() != header:
            journal.truncate(0)
            journal.write(header)
            journal.flush()
            return
        whole = len(header)
        for file in self._files:
            file.seek(_HEADER_BYTES)
        for line in journal:
            if not line.endswith(b"\n"):
                break
            try:
                row, checksums = json.loads(line)
            except ValueError:
                break
            sizes = [row["frames"] * row["bodies"] * size for size in self._row_bytes]
            data = [file.read(size) for file, size in zip(self._files, sizes, strict=True)]
            if list(map(len, data)) != sizes or list(map(zlib.crc32, data)) != checksums:
                break
            self._record(row, np.frombuffer(data[1], np.uint8))
            whole += len(line)
        journal.truncate(whole)
        journal.seek(0, os.SEEK_END)

    def _record(self, row: dict[str, Any], codes: np.ndarray) -> None:
        default = self.joint_validity
        self._own_validity |= bool((codes.reshape(-1, len(default)) != default).any())
        for key, value in row.items():
            self._columns.setdefault(key, []).append(value)
        self._names.add(row["name"])
        self._rows += row["frames"] * row["bodies"]

    def add(
        self,
        name: str,
        clip: np.ndarray,
        *,
        validity: np.ndarray | None = None,
        source: str = "",
        **fields: int | float | str,
    ) -> None:
        """Append one clip.

        Args:
            name: Unique in the store.
            clip: (3, T, V, M') in metres, y up, with M' bodies of this clip.
            validity: uint8 (T, V, M') of :class:`~ski_data.layouts.Validity`; None if the joints
                are as the store's ``validity`` says.
            source: Where it came from.
            **fields: ``label``, ``subject``, ``camera``, ``setup``, ``replication``, or others; the
                same others for every clip.

        Raises:
            InputError: Another shape, nothing but zeros, values that are not finite, validity codes
                that do not exist, a name used before, fields that differ from those of the clips
                before.
        """
        joints = len(self.layout.joints)
        if clip.ndim != 4 or clip.shape[0] != 3 or clip.shape[2] != joints:
            raise InputError(f"clip {name}: (3, T, {joints}, M) expected, not {clip.shape}")
        if not clip.any():
            raise InputError(f"clip {name}: no frame with a body")
        if not np.isfinite(clip).all():
            raise InputError(f"clip {name}: coordinates must be finite numbers")
        if name in self._names:
            raise InputError(f"clip {name}: the name is used twice")
        if clip.shape[3] > self.bodies:
            raise InputError(f"clip {name}: {clip.shape[3]} bodies, the store holds {self.bodies}")
        if validity is None:
            codes = np.tile(self.joint_validity, (clip.shape[3] * clip.shape[1], 1))
        else:
            codes = _codes(validity, clip.shape[1:], f"clip {name}: validity")
            codes = np.ascontiguousarray(codes.transpose(2, 0, 1))
        label = int(fields.get("label", -1))
        if label < -1 or (self.classes is not None and label >= len(self.classes)):
            allowed = "0 or more" if self.classes is None else f"0..{len(self.classes) - 1}"
            raise InputError(f"clip {name}: label {label} is out of range; allowed: {allowed}")
        row = {
            "name": name,
            **dict.fromkeys(NUMBERS, -1),
            "frames": clip.shape[1],
            "bodies": clip.shape[3],
            "offset": self._rows,
            "source": source,
        }
        taken = set(fields) & (set(row) - set(NUMBERS) | {BY_NAME})
        if taken:
            raise InputError(f"clip {name}: fields cannot be named {', '.join(sorted(taken))}")
        row |= fields
        self._check_fields(row, f"clip {name}")
        tracks = np.ascontiguousarray(clip.transpose(3, 1, 2, 0), np.float32)
        with self._writing():
            for file, data in zip(self._files, (tracks, codes), strict=True):
                file.write(data)
            if self._journal is not None:  # after the joints: what it names is there
                for file in self._files:
                    file.flush()
                checksums = [zlib.crc32(tracks), zlib.crc32(codes)]
                entry = json.dumps([row, checksums], default=lambda value: value.item())
                self._journal.write(entry.encode() + b"\n")
                self._journal.flush()
        self._record(row, codes)

    def extend(self, store: SkeletonStore, labels: Sequence[int] | None = None) -> None:
        """Append every clip of another store, block by block.

        Args:
            store: A store of the same layout, bodies and ``single_body``.
            labels: What each of its labels becomes here; None keeps them.

        Raises:
            InputError: A store of another form, names used before, other fields, labels out of
                range.
            StoreError: The store does not fit its checksum.
        """
        if self._journal is not None:
            raise InputError("a job that goes on after a kill takes single clips, not stores")
        for what in ("layout", "bodies", "single_body"):
            if (there := getattr(store, what)) != (here := getattr(self, what)):
                there, here = (getattr(value, "name", value) for value in (there, here))
                raise InputError(f"{store.folder}: {what} is {there}, not {here} as in the others")
        columns = {name: store.index[name].tolist() for name in store.index}
        if labels is not None:
            columns["label"] = [labels[old] if old >= 0 else -1 for old in columns["label"]]
        if self.classes is not None and max(columns["label"]) >= len(self.classes):
            raise InputError(
                f"{store.folder}: label {max(columns['label'])} is out of range; allowed: "
                f"0..{len(self.classes) - 1}"
            )
        if twice := self._names.intersection(columns["name"]):
            raise InputError(f"{store.folder}: clip {min(twice)}: the name is used twice")
        self._check_fields(columns, str(store.folder))
        store.verify()
        columns["offset"] = [self._rows + offset for offset in columns["offset"]]
        with self._writing():
            for joints, codes in store.blocks():
                for file, data in zip(self._files, (joints, codes), strict=True):
                    file.write(np.ascontiguousarray(data))
                self._own_validity |= bool((codes != self.joint_validity).any())
                self._rows += len(joints)
        for name, values in columns.items():
            self._columns.setdefault(name, []).extend(values)
        self._names.update(columns["name"])

    def _check_fields(self, fields: Collection[str], where: str) -> None:
        if self._columns and set(fields) != set(self._columns):
            different = ", ".join(sorted(set(fields) ^ set(self._columns)))
            raise InputError(f"{where}: fields differ from earlier clips: {different}")

    def _finish(self) -> None:
        if not self._columns:
            raise InputError(f"{self.folder}: no clips to store")
        shape = (self._rows, len(self.layout.joints))
        joints, validity = self._files
        _write_header(joints, "<f4", (*shape, 3))
        _write_header(validity, "|u1", shape)
        parts = [JOINTS]
        if self._own_validity:
            parts.append(VALIDITY)
        else:
            (self._partial / VALIDITY).unlink()
        write_index(self._partial / INDEX, self._columns)
        meta = {
            "format": FORMAT,
            "layout": self.layout.name,
            "units": "metres, y up",
            "bodies": self.bodies,
            "single_body": self.single_body,
            "validity": self.joint_validity.tolist(),
            "clip_validity": self._own_validity,
            "clips": len(self._names),
            "rows": self._rows,
            "classes": None
            if self.classes is None
            else {"ids": self.classes.ids, "names": self.classes.names},
            "created_by": f"ski-data {__version__}",
            "sha256": digest(self._partial, parts),
        }
        (self._partial / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        os.replace(self._partial, self.folder)


def _codes(values: Sequence[int] | np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    """uint8 codes of ``Validity``, if they are."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise InputError(
            f"{what} must be whole numbers of shape {shape}, not {array.dtype} {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() > max(Validity)):
        known = ", ".join(f"{code.value} {code.name.lower()}" for code in Validity)
        raise InputError(f"{what} has codes that do not exist; known: {known}")
    return array.astype(np.uint8)


def _write_header(file: IO[bytes], kind: str, shape: tuple[int, ...]) -> None:
    """Write a .npy header of fixed length at the start of the file, and close it."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    file.seek(0)
    file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER_BYTES - 10))
    file.write(header.ljust(_HEADER_BYTES - 11).encode("ascii") + b"\n")
    file.close()


def _close(file: IO[bytes]) -> None:
    """Close; what a full disk does not take is lost, which the journal knows on the next run."""
    try:
        file.close()
    except OSError:
        log.warning("%s: the last clips could not be written", file.name)
