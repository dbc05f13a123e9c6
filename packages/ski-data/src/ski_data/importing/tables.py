"""Coordinates in text tables: one line per frame, or per frame and body."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.errors import InputError
from ski_data.importing.coordinates import Coordinates
from ski_data.importing.mapping import Confidence, TableColumns, column_pattern
from ski_data.text import read_text

SUFFIXES = (".csv", ".tsv", ".txt")
_SHOWN = 8


class TableError(InputError):
    """A table that cannot be used, with the file and the line."""


@dataclass(frozen=True)
class Table:
    """Cells of a text table.

    Attributes:
        header: Names of the columns, None without a header.
        lines: (R,) line of each row.
        rows: R rows of as many cells.
    """

    header: tuple[str, ...] | None
    lines: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]


def read_table(path: Path | str, header: bool | None = None) -> Table:
    """Read a table whose cells are parted by tabs, semicolons, commas or white space.

    Args:
        path: The file; what parts the cells is seen from its first line.
        header: Whether the first line names the columns; None if any of its cells is no number.

    Raises:
        MissingFileError: There is no such file.
        TableError: No rows, rows of different lengths, broken quotes.
    """
    text = [
        (number, line)
        for number, line in enumerate(read_text(path, "table").split("\n"), 1)
        if line.strip()
    ]
    if not text:
        raise TableError(f"{path}: the file is empty")
    delimiter = next((mark for mark in "\t;," if mark in text[0][1]), None)
    cells = [(number, _cells(line, delimiter, number, path)) for number, line in text]
    first = cells[0][1]
    if header or (header is None and any(cell and not _is_number(cell) for cell in first)):
        cells, names = cells[1:], first
    else:
        names = None
    for number, row in cells:
        if len(row) != len(first):
            raise TableError(
                f"{path}, line {number}: {len(row)} columns, the first line has {len(first)}"
            )
    if not cells:
        raise TableError(f"{path}: no line with a frame")
    return Table(names, tuple(number for number, _ in cells), tuple(row for _, row in cells))


def read_coordinates(
    path: Path | str,
    columns: TableColumns,
    confidence: Confidence | None,
    *,
    missing: bool = False,
) -> Coordinates:
    """One clip from a table.

    Args:
        path: The file.
        columns: Which columns hold what.
        confidence: Where ``name`` is the pattern of columns with it.
        missing: Whether cells may be empty or NaN.

    Raises:
        MissingFileError: There is no such file.
        TableError: Columns that are not there, cells that are no numbers, a body twice in a frame.
    """
    table = read_table(path, columns.header)
    frame = _column(table, columns.frame, "frame", path)
    body = _column(table, columns.body, "body", path)
    names, used = _coordinate_columns(table, columns, {frame, body}, path)
    values = _numbers(table, used, path, missing)
    joints = values.reshape(len(values), -1, 3)
    sure = None
    if confidence is not None:
        sure = _confidence(table, confidence, names, path, missing) >= confidence.threshold
    slots, times = _slots(table, frame, body, path)
    shape = (int(slots.max()) + 1, int(times.max()) + 1, joints.shape[1])
    clip, present = np.zeros((*shape, 3)), np.zeros(shape, bool)
    clip[slots, times] = joints
    present[slots, times] = True if sure is None else sure
    return Coordinates(clip, present, names)


def _cells(line: str, delimiter: str | None, number: int, path: Path | str) -> tuple[str, ...]:
    if delimiter is None:
        return tuple(line.split())
    if '"' not in line:
        return tuple(cell.strip() for cell in line.split(delimiter))
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise TableError(f"{path}, line {number}: {error}; check the quotes") from None
    return tuple(cell.strip() for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _column(table: Table, wanted: str | int | None, what: str, path: Path | str) -> int | None:
    if wanted is None:
        return None
    if isinstance(wanted, int):
        if not 0 <= wanted < len(table.rows[0]):
            raise TableError(
                f"{path}: no column {wanted} for {what}, columns are 0..{len(table.rows[0]) - 1}"
            )
        return wanted
    if table.header is None:
        raise TableError(
            f"{path}, line 1: no header with a column {wanted!r} for {what}; give the column's "
            "number from 0"
        )
    if wanted not in table.header:
        raise TableError(
            f"{path}, line 1: no column {wanted!r} for {what}; found {_some(table.header)}"
        )
    return table.header.index(wanted)


def _coordinate_columns(
    table: Table, columns: TableColumns, taken: set[int | None], path: Path | str
) -> tuple[tuple[str, ...] | None, list[int]]:
    """Names of the joints, if columns name them, and x, y, z columns joint after joint."""
    if columns.coordinates is None:
        used = [i for i in range(len(table.rows[0])) if i not in taken]
        if not used or len(used) % 3:
            found = "" if table.header is None else f" ({_some(table.header)})"
            raise TableError(
                f"{path}: {len(used)} columns of coordinates{found} are not x, y and z of each "
                "joint; name the columns in the mapping, table: {coordinates: ...}"
            )
        return None, used
    if table.header is None:
        raise TableError(
            f"{path}, line 1: a header expected, whose columns look like {columns.coordinates}"
        )
    pattern = column_pattern(columns.coordinates, "joint", "axis")
    places: dict[str, dict[str, int]] = {}
    for i, name in enumerate(table.header):
        if i in taken or (match := pattern.fullmatch(name)) is None:
            continue
        axes = places.setdefault(match["joint"], {})
        if match["axis"].lower() in axes:
            raise TableError(f"{path}, line 1: column {name} is there twice")
        axes[match["axis"].lower()] = i
    partial = [name for name, axes in places.items() if len(axes) < 3]
    if not places or partial:
        told = f"joint {partial[0]} lacks x, y or z" if partial else "none found"
        raise TableError(
            f"{path}, line 1: columns like {columns.coordinates} expected for x, y and z of each "
            f"joint, {told}; the columns are {_some(table.header)}"
        )
    names = list(places)
    if all(name.isdecimal() for name in names):  # joint numbers say the order
        names.sort(key=int)
    return tuple(names), [places[name][axis] for name in names for axis in "xyz"]


def _confidence(
    table: Table,
    confidence: Confidence,
    names: tuple[str, ...] | None,
    path: Path | str,
    missing: bool,
) -> np.ndarray:
    """(R, V) of the columns that the pattern names."""
    if confidence.name is None or names is None or table.header is None:
        raise TableError(
            f"{path}: confidence in a table needs names: a pattern of columns with {{joint}}, and "
            "table: {coordinates: ...} with the same joints"
        )
    column_pattern(confidence.name, "joint")
    wanted = [confidence.name.replace("{joint}", name) for name in names]
    lacking = [name for name in wanted if name not in table.header]
    if lacking:
        raise TableError(
            f"{path}, line 1: no column {lacking[0]!r} for confidence; found {_some(table.header)}"
        )
    return _numbers(table, [table.header.index(name) for name in wanted], path, missing)


def _numbers(table: Table, used: Sequence[int], path: Path | str, missing: bool) -> np.ndarray:
    """(R, columns) float64; an empty cell is NaN, which only ``missing`` allows."""
    whole = len(used) == len(table.rows[0]) and list(used) == list(range(len(used)))
    rows = table.rows if whole else [[row[i] for i in used] for row in table.rows]
    try:
        values = np.array(rows, np.float64)
    except ValueError:
        values = _number_by_number(table, rows, used, path)
    if missing or not np.isnan(values).any():
        return values
    row, column = np.argwhere(np.isnan(values))[0]
    raise TableError(
        f"{path}, line {table.lines[row]}: {_name(table, used[column])} is empty or not a number; "
        "if that means a joint that was not seen, say so in the mapping: missing: nan"
    )


def _number_by_number(
    table: Table, rows: Sequence[Sequence[str]], used: Sequence[int], path: Path | str
) -> np.ndarray:
    """What :func:`_numbers` does where cells are empty or no numbers; the latter are told."""
    values = np.full((len(rows), len(used)), np.nan)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            if cell and not _is_number(cell):
                raise TableError(
                    f"{path}, line {table.lines[r]}: {_name(table, used[c])} must be a number with "
                    f"a decimal point, not {cell[:30]!r}"
                )
            values[r, c] = float(cell) if cell else np.nan
    return values


def _slots(
    table: Table, frame: int | None, body: int | None, path: Path | str
) -> tuple[np.ndarray, np.ndarray]:
    """(R,) body from 0 in order of appearance, and (R,) frame from 0 in order of its number."""
    rows = len(table.rows)
    slots = np.zeros(rows, np.int64)
    if body is not None:
        known: dict[str, int] = {}
        slots = np.array([known.setdefault(row[body], len(known)) for row in table.rows])
    if frame is None:
        if body is not None:
            raise TableError(
                f"{path}: rows of several bodies need the number of their frame, too: "
                "table: {frame: ..., body: ...}"
            )
        return slots, np.arange(rows)
    numbers = _numbers(table, [frame], path, False)[:, 0]
    _, times = np.unique(numbers, return_inverse=True)
    seen: dict[tuple[int, int], int] = {}
    for row, key in enumerate(zip(slots.tolist(), times.tolist(), strict=True)):
        if key in seen:
            who = "" if body is None else f" of body {table.rows[row][body]}"
            raise TableError(
                f"{path}, line {table.lines[row]}: frame {table.rows[row][frame]}{who} stands "
                f"already in line {seen[key]}; name the column that tells bodies apart, or remove "
                "the row"
            )
        seen[key] = table.lines[row]
    return slots, times


def _name(table: Table, column: int) -> str:
    return f"column {column + 1}" if table.header is None else f"column {table.header[column]!r}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN))
