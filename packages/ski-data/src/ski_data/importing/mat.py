"""Numeric arrays of MATLAB files (``save`` with -v6 or -v7), read without MATLAB or SciPy.

Format: MathWorks, "MAT-File Format", level 5. After a header of 128 bytes come data elements: a tag
(kind, bytes), the data, padding to 8 bytes; compressed ones hold another element in zlib's format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ski_data.errors import InputError, MissingFileError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_KINDS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800
_LARGEST = 1 << 31


class MatError(InputError):
    """A MATLAB file that cannot be used."""


def read_mat(path: Path | str) -> dict[str, np.ndarray]:
    """The real numeric arrays of a MATLAB file by name; cells, structs and texts are left out.

    Raises:
        MissingFileError: There is no such file.
        MatError: Another format (the text says how to save it), or a damaged file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such MATLAB file") from None
    if data[:19] == b"MATLAB 7.3 MAT-file" or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise MatError(
            f"{path}: saved by MATLAB in the format -v7.3 (HDF5), which is not read; load it there "
            "and save it again with save(file, 'name', '-v7')"
        )
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise MatError(f"{path}: no MATLAB file of level 5; save it with '-v7'")
    order = "<" if data[126:128] == b"IM" else ">"
    arrays = {}
    try:
        for kind, body in _elements(memoryview(data)[_HEADER:], order):
            if kind == _COMPRESSED:
                kind, body = _decompressed(body, order)
            if kind == _MATRIX and (named := _matrix(body, order)) is not None:
                arrays[named[0]] = named[1]
    except (struct.error, ValueError, zlib.error, MemoryError, OverflowError) as error:
        raise MatError(f"{path}: damaged or cut off ({error}); copy it again") from None
    return arrays


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of the data elements in ``data``."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # up to four bytes, kept in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            begin, at = at + 4, at + 8
        else:
            begin = at + 8
            at = begin + size + (-size % 8 if kind != _COMPRESSED else 0)
        if size > len(data) - begin or (begin + size > at):
            raise ValueError("an element is longer than the file")
        yield kind, data[begin : begin + size]


def _decompressed(data: memoryview, order: str) -> tuple[int, memoryview]:
    reader = zlib.decompressobj()
    head = reader.decompress(data, 8)
    kind, size = struct.unpack(order + "II", head)
    if size > _LARGEST:
        raise ValueError(f"an array of {size} bytes")
    body = reader.decompress(reader.unconsumed_tail, max(size, 1))
    if len(body) < size:
        raise ValueError("compressed data end early")
    return kind, memoryview(body)


def _matrix(data: memoryview, order: str) -> tuple[str, np.ndarray] | None:
    """Name and values, None for what is no plain array of numbers."""
    parts = _elements(data, order)
    flags = struct.unpack_from(order + "I", next(parts, (0, b""))[1])[0]
    shape = np.frombuffer(next(parts, (0, b""))[1], order + "i4").tolist()
    name = bytes(next(parts, (0, b""))[1]).decode("latin-1")
    if flags & 0xFF not in _NUMERIC or flags & _COMPLEX:
        return None
    kind, values = next(parts, (0, b""))
    if kind not in _KINDS or not shape or min(shape) < 0:
        raise ValueError(f"array {name!r} has no values")
    array = np.frombuffer(values, np.dtype(order + _KINDS[kind]))
    return name, array.reshape(shape, order="F").astype(array.dtype.newbyteorder("="))
