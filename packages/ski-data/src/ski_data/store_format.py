"""Files of a skeleton store: their names, the index, the description, rows read from disk."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import Validity

JOINTS, VALIDITY, INDEX, META = "joints.npy", "validity.npy", "index.arrow", "meta.json"
FORMAT = 2
NUMBERS = ("label", "subject", "camera", "setup", "replication")
"""Columns that every store has, -1 where not known."""
BY_NAME = "by_name"
"""Column of the index file: the numbers of the clips in the order of their names."""

SingleBody = Literal["zero", "repeat"]

_BLOCK = 1 << 24


class StoreError(InputError):
    """A store whose parts are missing, damaged or do not fit together."""


class Columns(Mapping[str, np.ndarray]):
    """Columns of an index file as arrays, read only.

    Numbers stay in the memory-mapped file; texts become Python strings when first asked for.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            if name not in self:
                raise KeyError(name)
            self._arrays[name] = self._batch.column(name).to_numpy(zero_copy_only=False)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name != BY_NAME and name in self._batch.schema.names

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._batch.schema.names if name != BY_NAME)

    def __len__(self) -> int:
        return len(self._batch.schema.names) - 1

    def text(self, name: str) -> pa.Array:
        """A column of texts, in the file."""
        return self._batch.column(name)

    @property
    def by_name(self) -> np.ndarray:
        """(clips,) int32, the numbers of the clips in the order of their names."""
        return self._batch.column(BY_NAME).to_numpy()


def write_index(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write an index file that is read without a copy: one Arrow record batch, not compressed.

    Raises:
        InputError: Values of one column that are of several kinds.
    """
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values, pa.int64() if name in NUMBERS else None)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            raise InputError(f"column {name}: cannot be stored ({error})") from None
    names = columns["name"]
    order = sorted(range(len(names)), key=names.__getitem__)
    arrays[BY_NAME] = pa.array(order, pa.int32())
    batch = pa.record_batch(arrays)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def read_index(path: Path) -> Columns:
    """The columns of an index file, memory-mapped.

    Raises:
        StoreError: Not such a file, or columns missing or of another kind.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.num_record_batches != 1:
            raise pa.ArrowInvalid(f"{reader.num_record_batches} record batches")
        batch = reader.get_batch(0)
        batch.validate(full=True)
        names = batch.schema.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: damaged or cut off ({error}); make the store again") from None
    numbers = {*NUMBERS, "frames", "bodies", "offset"}
    needed = {"name", "source", BY_NAME, *numbers}
    if not needed <= set(names) or len(set(names)) != len(names):
        lost = ", ".join(sorted(needed - set(names))) or "some are there twice"
        raise StoreError(f"{path}: columns are missing: {lost}; make the store again")
    kinds = {name: pa.int64() for name in numbers} | dict.fromkeys(("name", "source"), pa.string())
    kinds[BY_NAME] = pa.int32()
    wrong = [
        f"{name} ({kind} expected)"
        for name, kind in sorted(kinds.items())
        if batch.column(name).type != kind or batch.column(name).null_count
    ]
    if wrong:
        raise StoreError(f"{path}: columns of another kind: {', '.join(wrong)}")
    columns = Columns(batch)
    order = columns.by_name
    if len(order) and not 0 <= order.min() <= order.max() < len(order):
        raise StoreError(f"{path}: the order of the names is damaged; make the store again")
    return columns


class RowFile:
    """Rows of a .npy file, read when asked for.

    Reading instead of mapping keeps the memory of workers small: pages of a mapped file count as
    theirs. Forked workers and threads may share it.

    Args:
        path: The file.
        kind: Its data type.
        row: Shape of a row.

    Attributes:
        rows: How many there are.

    Raises:
        MissingFileError: No such file.
        StoreError: Cut off, or another data type or shape.
    """

    def __init__(self, path: Path, kind: type[np.generic], row: tuple[int, ...]) -> None:
        self.path = path
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(mapped, np.memmap):
                raise ValueError("not one array")
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise MissingFileError(
                f"{path.parent}: {path.name} is missing; this is no whole store"
            ) from None
        except (ValueError, OSError, EOFError) as error:
            raise StoreError(
                f"{path}: damaged or cut off ({error}); make the store again"
            ) from None
        if mapped.dtype != kind or mapped.shape[1:] != row or not mapped.flags.c_contiguous:
            raise StoreError(
                f"{path}: {np.dtype(kind)} (rows, {', '.join(map(str, row))}) expected, found "
                f"{mapped.dtype} {mapped.shape}; make the store again"
            )
        self.rows: int = len(mapped)
        self._start: int = mapped.offset
        self._kind, self._row = np.dtype(kind), row
        self._row_bytes = self._kind.itemsize * int(np.prod(row))
        self._seek = threading.Lock()

    def read(self, start: int, count: int) -> np.ndarray:
        """Rows ``start`` to ``start + count - 1``, read only.

        Raises:
            StoreError: The file ends before, or cannot be read.
        """
        size, at = count * self._row_bytes, self._start + start * self._row_bytes
        try:
            if hasattr(os, "pread"):
                data = os.pread(self._file.fileno(), size, at)
            else:
                with self._seek:
                    self._file.seek(at)
                    data = self._file.read(size)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror})") from None
        if len(data) != size:
            raise StoreError(f"{self.path}: cut off; make the store again")
        return np.frombuffer(data, self._kind).reshape(count, *self._row)


def digest(folder: Path, parts: Sequence[str]) -> str:
    """Checksum over the index and the named parts."""
    hashed = hashlib.sha256()
    for part in (INDEX, *parts):
        with (folder / part).open("rb") as file:
            while block := file.read(_BLOCK):
                hashed.update(block)
    return hashed.hexdigest()


def read_meta(path: Path) -> dict[str, Any]:
    """The description of a store.

    Raises:
        StoreError: Another format, or damaged.
    """
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
