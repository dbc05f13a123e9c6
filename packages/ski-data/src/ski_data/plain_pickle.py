"""Pickles of plain values and NumPy arrays, read without running what they ask for, and written.

The opcodes are walked and interpreted here: nothing is imported or called by name. Of globals, only
the few that NumPy writes for arrays are known, each as one pair of module and name, and they stand
for code of this module. Lengths are held against what is left of the file before anything is read,
and what the values take in memory against twice the file's size.
"""

from __future__ import annotations

import math
import os
import pickletools
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ski_data.errors import InputError, MissingFileError

MAX_OPCODES = 50_000_000
"""About four times those of the largest known file of skeletons."""
_MAX_READ = 1 << 28
_MAX_LINE = 1 << 12
_MAX_MARKS = 64
_MAX_STACK = 2_000_000
_FREE_BYTES = 1 << 24
"""What values may take in memory beyond twice the size of the file."""
_ENTRY_BYTES, _ITEM_BYTES = 100, 8
"""Of a dictionary's entry, and of a list's item, besides the values themselves."""

_GLOBALS = {
    ("numpy", "dtype"): "dtype",
    ("numpy", "ndarray"): "ndarray",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("_codecs", "encode"): "encode",
}
_DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleError(InputError):
    """A pickle that is damaged, too large, or asks for more than plain values and arrays."""


def read_plain_pickle(path: Path | str) -> Any:
    """Dictionaries, lists, tuples, texts, numbers and NumPy arrays of numbers from a pickle.

    Arrays are read-only. Protocols 2 to 5 are read.

    Raises:
        MissingFileError: No such file.
        PickleError: Any other content, whatever it would do elsewhere; nothing of it is run.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return _interpret(_Bounded(file, size), size)
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except PickleError as error:
        raise PickleError(f"{path}: {error}") from None
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        raise PickleError(f"{path}: not a readable pickle (damaged or of another kind)") from None


class _Bounded:
    """A file whose reads are refused, not tried, where they ask for more than there is."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= min(self._left, _MAX_READ):
            raise PickleError(
                f"{count} bytes promised where {self._left} are left ({_MAX_READ} at once allowed)"
            )
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(_MAX_LINE)
        self._left -= len(line)
        return line


class _Dtype:
    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or name.lstrip("<|=") not in _DTYPES:
            raise PickleError(f"array of another kind than numbers; known: {', '.join(_DTYPES)}")
        self.dtype = np.dtype(name)

    def build(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", "|", "=") or any(part is not None for part in state[2:5]):
            raise PickleError("array in big-endian order or with fields")


class _Array:
    """An array whose content comes later, by BUILD."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def build(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise PickleError("an array without its numbers")
    if (
        not isinstance(shape, tuple)
        or len(shape) > 8
        or not all(type(n) is int and n >= 0 for n in shape)
        or math.prod(shape) * dtype.dtype.itemsize != len(data)
    ):
        raise PickleError(f"an array of {len(data)} bytes whose shape says otherwise")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


class _Machine:
    """The stack, the memo and a budget of bytes that values may take in memory."""

    def __init__(self, budget: int) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = budget

    def pop_mark(self) -> list[Any]:
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def pop(self) -> Any:
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise PickleError("a value is missing")
        return self.stack.pop()

    def push(self, value: Any) -> None:
        """Put a new value on the stack."""
        self.spend(sys.getsizeof(value))
        self.stack.append(value)

    def remember(self, key: int) -> None:
        """Note the last value in the memo."""
        self.spend(_ENTRY_BYTES)
        self.memo[key] = self.stack[-1]

    def spend(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise PickleError("it unfolds to far more than its size")

    def call(self, function: object, given: object) -> object:
        if not isinstance(function, _Global) or not isinstance(given, tuple):
            raise PickleError("a call of something that is no function")
        kind = function.kind
        if kind == "dtype":
            return _Dtype(*given)
        if kind == "reconstruct":
            return _Array()
        if kind == "encode":
            text, encoding = given
            if not isinstance(text, str) or encoding != "latin1":
                raise PickleError("a text in another encoding than latin1")
            self.spend(len(text))
            return text.encode("latin1")
        if kind == "frombuffer":
            data, dtype, shape, order = given
            if isinstance(data, bytearray):
                self.spend(len(data))
                data = bytes(data)
            return _array(data, dtype, shape, order)
        if kind == "scalar":
            dtype, data = given
            return _array(data, dtype, (), "C")[()]
        raise PickleError(f"a call of {kind}")


class _Global:
    def __init__(self, module: object, name: object) -> None:
        known = isinstance(module, str) and isinstance(name, str)
        if not known or (module, name) not in _GLOBALS:
            shown = f"{module}.{name}"[:80] if known else "something"
            raise PickleError(
                f"refused, it asks for {shown!r}; only NumPy arrays of numbers and plain values "
                "are read"
            )
        self.kind = _GLOBALS[module, name]


def _interpret(file: _Bounded, size: int) -> Any:
    machine = _Machine(2 * size + _FREE_BYTES)
    stack = machine.stack
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if count > MAX_OPCODES or len(stack) > _MAX_STACK or len(machine.marks) > _MAX_MARKS:
            raise PickleError("too many or too deeply nested values")
        name = opcode.name
        if name == "STOP":
            return _plain(machine.pop())
        _step(machine, name, argument)
    raise PickleError("the end is missing")


def _step(machine: _Machine, name: str, argument: Any) -> None:
    stack, memo = machine.stack, machine.memo
    if name in ("PROTO", "FRAME"):
        return
    if name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "MEMOIZE":
        machine.remember(len(memo))
    elif name in ("BINPUT", "LONG_BINPUT"):
        machine.remember(argument)
    elif name in _VALUES:
        machine.push(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        machine.push(_EMPTY[name]())
    elif name == "MARK":
        machine.marks.append(len(stack))
    elif name == "TUPLE":
        machine.push(tuple(_plain(item) for item in machine.pop_mark()))
    elif name in _TUPLES:
        items = [machine.pop() for _ in range(_TUPLES[name])]
        machine.push(tuple(_plain(item) for item in reversed(items)))
    elif name in ("APPEND", "APPENDS"):
        items = machine.pop_mark() if name == "APPENDS" else [machine.pop()]
        machine.spend(_ITEM_BYTES * len(items))
        _of(stack[-1], list).extend(_plain(item) for item in items)
    elif name in ("SETITEM", "SETITEMS"):
        items = machine.pop_mark() if name == "SETITEMS" else [machine.pop(), machine.pop()][::-1]
        machine.spend(_ENTRY_BYTES * len(items))
        target = _of(stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise PickleError("a key that is neither a text nor a number")
            target[key] = _plain(value)
    elif name == "GLOBAL":
        stack.append(_Global(*argument.split(" ", 1)))
    elif name == "STACK_GLOBAL":
        names = [machine.pop(), machine.pop()]
        stack.append(_Global(names[1], names[0]))
    elif name == "REDUCE":
        given = machine.pop()
        machine.push(machine.call(machine.pop(), given))
    elif name == "BUILD":
        state = machine.pop()
        target = stack[-1]
        if not isinstance(target, _Dtype | _Array) or not isinstance(state, tuple):
            raise PickleError("refused, it sets the state of an object")
        target.build(state)
    else:
        raise PickleError(f"refused, it uses {name}, which plain values and arrays do not need")


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise PickleError(f"a value that should be a {kind.__name__}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.array is None:
            raise PickleError("an array without its numbers")
        return value.array
    return value


_PROTOCOL, _STOP = b"\x80\x04", b"."
_DICT, _SET_ITEM, _LIST, _APPEND = b"}", b"s", b"]", b"a"
_MARK, _TUPLE, _CALL, _BUILD = b"(", b"t", b"R", b"b"
_NO_VALUE, _FALSE, _TRUE = b"N", b"\x89", b"\x88"
_RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
_DTYPE, _NDARRAY = b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"


def write_plain_pickle(file: IO[bytes], value: Any) -> None:
    """Write what :func:`read_plain_pickle` and any Python with NumPy read, protocol 4.

    Values are dictionaries, iterables (as lists, item by item as they come), tuples, texts, whole
    numbers, bools, None and arrays of numbers. Arrays are named as NumPy 1 names them, which NumPy
    2 reads too.

    Raises:
        PickleError: Another value.
    """
    file.write(_PROTOCOL)
    _write(file, value)
    file.write(_STOP)


def _write(file: IO[bytes], value: Any) -> None:
    if value is None or isinstance(value, bool):
        file.write(_NO_VALUE if value is None else _TRUE if value else _FALSE)
    elif isinstance(value, int | np.integer) and -(2**31) <= value < 2**31:
        file.write(b"J" + struct.pack("<i", value))
    elif isinstance(value, str):
        _write_sized(file, b"X", "<I", value.encode("utf-8"))
    elif isinstance(value, np.ndarray):
        _write_array(file, value)
    elif isinstance(value, Mapping):
        file.write(_DICT)
        for key, item in value.items():
            _write(file, key)
            _write(file, item)
            file.write(_SET_ITEM)
    elif isinstance(value, tuple):
        file.write(_MARK)
        for item in value:
            _write(file, item)
        file.write(_TUPLE)
    elif isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        file.write(_LIST)
        for item in value:
            _write(file, item)
            file.write(_APPEND)
    else:
        raise PickleError(f"a {type(value).__name__} is none of the values that are written")


def _write_array(file: IO[bytes], array: np.ndarray) -> None:
    kind = array.dtype.newbyteorder("<")
    name = kind.str.lstrip("<|")
    if name not in _DTYPES:
        raise PickleError(f"arrays of {array.dtype} are not written; known: {', '.join(_DTYPES)}")
    file.write(_RECONSTRUCT + _MARK + _NDARRAY)
    _write(file, (0,))
    _write_sized(file, b"C", "<B", b"b")
    file.write(_TUPLE + _CALL + _MARK)
    _write(file, 1)
    _write(file, array.shape)
    file.write(_DTYPE)
    _write(file, (name, False, True))
    file.write(_CALL)
    _write(file, (3, kind.str[0], None, None, None, -1, -1, 0))
    file.write(_BUILD + _FALSE)
    _write_sized(file, b"\x8e", "<Q", array.astype(kind, copy=False).tobytes())
    file.write(_TUPLE + _BUILD)


def _write_sized(file: IO[bytes], opcode: bytes, form: str, data: bytes) -> None:
    file.write(opcode + struct.pack(form, len(data)) + data)
