"""Skeleton stores: many clips in one memory-mapped array, opened in milliseconds.

A store is a folder: ``joints.npy``, float32 (R, V, 3), valid frames only, clip after clip and in a
clip body after body; ``index.parquet``, one row per clip; ``meta.json``, layout and checksum; and
``validity.npy``, uint8 (R, V), if the joints of some clips are not as true as those of the others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ski_data import __version__
from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
from ski_data.folders import missing_parents, remove_empty
from ski_data.layouts import Layout, Validity, get_layout

log = logging.getLogger(__name__)

JOINTS, INDEX, META, VALIDITY = "joints.npy", "index.parquet", "meta.json", "validity.npy"
FORMAT = 2
_HEADER_BYTES = 128
_JOURNAL, _LOCK, _STORE = "journal.jsonl", "lock", "store"
NUMBERS = ("label", "subject", "camera", "setup", "replication")
"""Columns that every store has, -1 where not known."""

SingleBody = Literal["zero", "repeat"]


class StoreError(InputError):
    """A store whose parts are missing, damaged or do not fit together."""


class SkeletonStore:
    """A store on disk, read only.

    Args:
        folder: Where :class:`StoreWriter` wrote it.

    Attributes:
        folder: The same.
        layout: Joints of the clips.
        bodies: M of every clip.
        single_body: Whether a one-body clip holds zeros or its body again in the other slots.
        classes: Classes that the labels mean, if known.
        joint_validity: (V,) uint8, :class:`~ski_data.layouts.Validity` of the joints in clips that
            say nothing of their own.
        index: The rows as NumPy arrays by column: ``name``, ``label``, ``subject``, ``camera``,
            ``setup``, ``replication`` (-1 unknown), ``frames``, ``bodies``, ``offset``, ``source``,
            and what the importer added.

    Raises:
        MissingFileError: No such folder, or a part is missing.
        StoreError: A part cannot be read or does not fit the others.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise MissingFileError(f"{self.folder}: no such store (a folder with {META})")
        for part in (META, INDEX, JOINTS):
            if not (self.folder / part).is_file():
                raise MissingFileError(f"{self.folder}: {part} is missing; this is no whole store")
        meta = _read_meta(self.folder / META)
        self.bodies: int = meta["bodies"]
        self.single_body: SingleBody = meta["single_body"]
        self.sha256: str = meta["sha256"]
        self.joint_validity = np.array(meta["validity"], np.uint8)
        names = meta["classes"]
        self.classes: ClassSet | None = None
        try:
            self.layout: Layout = get_layout(meta["layout"])
            if names is not None:
                self.classes = ClassSet(tuple(names["ids"]), tuple(names["names"]))
        except InputError as error:
            raise StoreError(f"{self.folder / META}: {error}; make the store again") from None
        try:
            table = pq.read_table(self.folder / INDEX)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{self.folder / INDEX}: not readable ({error})") from None
        whole = {*NUMBERS, "frames", "bodies", "offset"}
        needed = {"name", "source", *whole}
        if not needed <= set(table.column_names):
            lost = sorted(needed - set(table.column_names))
            raise StoreError(f"{self.folder / INDEX}: columns are missing: {', '.join(lost)}")
        wrong = [name for name in sorted(whole) if not pa.types.is_integer(table[name].type)]
        if wrong:
            raise StoreError(
                f"{self.folder / INDEX}: columns of whole numbers expected: {', '.join(wrong)}; "
                "make the store again"
            )
        self.index: dict[str, np.ndarray] = {
            name: table.column(name).to_numpy() for name in table.column_names
        }
        self._joints = self._mapped(JOINTS)
        self._validity = self._mapped(VALIDITY) if meta["clip_validity"] else None
        self._check_parts(meta)
        self._rows: dict[str, int] | None = None

    def _mapped(self, part: str) -> np.ndarray:
        try:
            return np.load(self.folder / part, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise MissingFileError(
                f"{self.folder}: {part} is missing; this is no whole store"
            ) from None
        except (ValueError, OSError, EOFError) as error:
            raise StoreError(
                f"{self.folder / part}: damaged or cut off ({error}); make the store again"
            ) from None

    def _check_parts(self, meta: dict[str, Any]) -> None:
        sizes = self.index["frames"] * self.index["bodies"]
        rows = int(sizes.sum())
        joints = len(self.layout.joints)
        for part, array, shape, kind in (
            (JOINTS, self._joints, (rows, joints, 3), np.float32),
            (VALIDITY, self._validity, (rows, joints), np.uint8),
        ):
            if array is not None and (array.shape != shape or array.dtype != kind):
                raise StoreError(
                    f"{self.folder / part}: {np.dtype(kind)} {shape} expected from the index, "
                    f"found {array.dtype} {array.shape}; make the store again"
                )
        if len(self) != meta["clips"] or rows != meta["rows"]:
            raise StoreError(
                f"{self.folder}: {META} promises {meta['clips']} clips in {meta['rows']} rows, the "
                f"index has {len(self)} in {rows}; make the store again"
            )
        if (self.index["bodies"] > self.bodies).any():
            raise StoreError(f"{self.folder / INDEX}: a clip has more than {self.bodies} bodies")
        if (self.index["offset"] != np.cumsum(sizes) - sizes).any() or (sizes < 1).any():
            raise StoreError(
                f"{self.folder / INDEX}: the clips do not follow each other; make the store again"
            )
        if len(self.joint_validity) != joints:
            raise StoreError(
                f"{self.folder / META}: validity must say how true each of {joints} joints is; "
                "make the store again"
            )
        labels = self.index["label"]
        if self.classes is not None and (labels >= len(self.classes)).any():
            i = int((labels >= len(self.classes)).argmax())
            raise StoreError(
                f"{self.folder}: label {labels[i]} of clip {self.index['name'][i]} is out of "
                f"range; allowed: 0..{len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return len(self.index["name"])

    def __reduce__(self) -> tuple[type[SkeletonStore], tuple[Path]]:
        return SkeletonStore, (self.folder,)  # workers map the file again instead of copying it

    @property
    def names(self) -> list[str]:
        """Names of the clips, in order."""
        return self.index["name"].tolist()

    def row(self, name: str) -> int:
        """Position of a clip.

        Raises:
            InputError: No clip has this name.
        """
        if self._rows is None:
            self._rows = {name: i for i, name in enumerate(self.names)}
        if name not in self._rows:
            raise InputError(f"{self.folder}: no clip named {name!r} among {len(self)}")
        return self._rows[name]

    def clip(self, which: int | str) -> np.ndarray:
        """One clip by position or name: float32 (3, T, V, M), a copy.

        Raises:
            InputError: No such clip.
            StoreError: Coordinates that are not finite numbers.
        """
        i = self._number(which)
        self._check_finite(i)
        tracks = self.tracks(i)
        clip = np.zeros((3, *tracks.shape[1:3], self.bodies), np.float32)
        clip[..., : len(tracks)] = tracks.transpose(3, 1, 2, 0)
        if len(tracks) == 1 and self.single_body == "repeat":
            clip[..., 1:] = clip[..., :1]
        return clip

    def validity(self, which: int | str) -> np.ndarray:
        """How true each joint of :meth:`clip` is: uint8 (T, V, M) of ``layouts.Validity``.

        ABSENT (0) in body slots that hold nobody, and in frames where all joints of a body are 0.

        Raises:
            InputError: No such clip.
            StoreError: Codes that do not exist.
        """
        i = self._number(which)
        tracks = self.tracks(i)
        if self._validity is None:
            stored = np.broadcast_to(self.joint_validity, tracks.shape[:3])
        else:
            stored = self._tracks(self._validity, i)
            if stored.max() > max(Validity):
                raise StoreError(
                    f"{self.folder / VALIDITY}: clip {self.index['name'][i]} has codes over "
                    f"{max(Validity)}; make the store again"
                )
        codes = np.zeros((*tracks.shape[1:3], self.bodies), np.uint8)
        there = tracks.any(axis=(2, 3))[..., None]
        codes[..., : len(tracks)] = np.where(there, stored, 0).transpose(1, 2, 0)
        if len(tracks) == 1 and self.single_body == "repeat":
            codes[..., 1:] = codes[..., :1]
        return codes

    def _number(self, which: int | str) -> int:
        i = self.row(which) if isinstance(which, str) else int(which)
        if not 0 <= i < len(self):
            raise InputError(f"{self.folder}: clips are numbered 0..{len(self) - 1}, not {i}")
        return i

    def tracks(self, i: int) -> np.ndarray:
        """The stored bodies of clip ``i``: (M', T, V, 3), a view of the file, M' of this clip."""
        return self._tracks(self._joints, i)

    def _tracks(self, array: np.ndarray, i: int) -> np.ndarray:
        frames, bodies = int(self.index["frames"][i]), int(self.index["bodies"][i])
        offset = int(self.index["offset"][i])
        rows = array[offset : offset + frames * bodies]
        return rows.reshape(bodies, frames, *rows.shape[1:])

    def _check_finite(self, i: int) -> None:
        if not np.isfinite(self.tracks(i)).all():
            raise StoreError(
                f"{self.folder}: clip {self.index['name'][i]} has coordinates that are not finite "
                "numbers; make the store again"
            )

    def verify(self) -> None:
        """Read everything and compare with the checksum.

        Raises:
            StoreError: The content changed since it was written.
        """
        parts = (JOINTS,) if self._validity is None else (JOINTS, VALIDITY)
        if _digest(self.folder, parts) != self.sha256:
            raise StoreError(
                f"{self.folder}: the content does not fit its checksum; make the store again"
            )


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

    def __enter__(self) -> StoreWriter:
        self._lock: IO[bytes] | None = None
        self._journal: IO[bytes] | None = None
        self._made = missing_parents(self._work)
        with self._writing():
            if self._job is None:
                self._partial.mkdir(parents=True)
            else:
                self._partial.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(self._work / _LOCK)
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

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except SkiDataError:
            raise
        except OSError as error:
            again = "" if self._job is None else "; the same command goes on where it was"
            raise SkiDataError(
                f"{self.folder}: cannot be written ({error.strerror or error}); free space or name "
                f"another folder{again}"
            ) from None

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
        taken = set(fields) & (set(row) - set(NUMBERS))
        if taken:
            raise InputError(f"clip {name}: fields cannot be named {', '.join(sorted(taken))}")
        row |= fields
        if self._columns and set(row) != set(self._columns):
            different = sorted(set(row) ^ set(self._columns))
            raise InputError(f"clip {name}: fields differ from earlier clips: {different}")
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
        columns = {
            key: pa.array(values, pa.int64() if key in NUMBERS else None)
            for key, values in self._columns.items()
        }
        pq.write_table(pa.table(columns), self._partial / INDEX)
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
            "sha256": _digest(self._partial, parts),
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


def _digest(folder: Path, parts: Sequence[str]) -> str:
    """Checksum over the index and the named parts."""
    digest = hashlib.sha256()
    for part in (INDEX, *parts):
        with (folder / part).open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def _locked(path: Path) -> IO[bytes]:
    """The file, open and locked until it is closed or the process ends, however it ends."""
    file = path.open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SkiDataError(
            f"{path.parent}: another process is writing this store; wait for it to end"
        ) from None
    return file


def _close(file: IO[bytes]) -> None:
    """Close; what a full disk does not take is lost, which the journal knows on the next run."""
    try:
        file.close()
    except OSError:
        log.warning("%s: the last clips could not be written", file.name)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise StoreError(f"{path}: not readable ({error}); make the store again") from None
    kinds = {
        "format": int,
        "layout": str,
        "bodies": int,
        "single_body": str,
        "validity": list,
        "clip_validity": bool,
        "clips": int,
        "rows": int,
        "classes": (dict, type(None)),
        "sha256": str,
    }
    if not isinstance(meta, dict):
        raise StoreError(f"{path}: not the description of a store")
    if meta.get("format", FORMAT) != FORMAT:
        raise StoreError(
            f"{path}: format {meta['format']!r}, this version reads {FORMAT}; make the store again"
        )
    wrong = [key for key, kind in kinds.items() if not isinstance(meta.get(key, ...), kind)]
    if wrong:
        raise StoreError(f"{path}: missing or of the wrong kind: {', '.join(wrong)}")
    names = meta["classes"] or {"ids": [], "names": []}
    lists = (names.get("ids"), names.get("names"))
    if not all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in lists
    ) or any(type(code) is not int or not 0 <= code <= max(Validity) for code in meta["validity"]):
        raise StoreError(f"{path}: validity or classes are damaged; make the store again")
    if meta["single_body"] not in get_args(SingleBody):
        raise StoreError(
            f"{path}: single_body {meta['single_body']!r}; allowed: {get_args(SingleBody)}"
        )
    return meta
