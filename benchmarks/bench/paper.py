"""The paper's tables as data: rows, columns, published values, and what runs each row.

The files lie in ``benchmarks/paper``. A value that is not at hand is null and shown as not
transcribed; none is filled in from elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError

FOLDER = Path(__file__).parents[1] / "paper"
ORDER = (
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "figure3",
    "figure5",
    "c2vl",
    "anchors",
)
"""Names of the tables, as they are run and reported."""
HEADINGS = {"c2vl": "C2VL", "anchors": "Anchors"}
"""Of those that the harness adds."""
Method = Literal["video", "skeleton", "zeroshot", "lvlm", "c2vl", "attention"]
"""How a row comes about: a recipe of ski-vlm, SkeletonCLIP, a method of ``ski-skeleton zeroshot``,
a recipe of ski-lvlm, a protocol on a C2VL encoder, pictures of a video recipe."""


@dataclass(frozen=True)
class Column:
    """One figure of every row."""

    id: str
    """Data set and split (``ntu60/48-12``), or data set and metric (``charades/correctness``)."""
    title: str

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.id.partition("/")[0]


@dataclass(frozen=True)
class Row:
    """One method of a table."""

    id: str
    title: str
    method: Method | None = None
    """None: a published figure that is not run here."""
    recipe: str | None = None
    """First part of a recipe's file name; of ``zeroshot`` and ``c2vl`` the method or protocol."""
    answer: str = "video"
    """Which answer of the run counts: video, skeleton, or one of late fusion's."""
    changes: tuple[str, ...] = ()
    """Changes of single settings, as ``method.alpha=0.1``."""
    adl_mini: str | None = None
    """The same on adl-mini: a row of ``benchmarks.adl_mini_vlm``, a method or a protocol; None:
    it has no counterpart there."""
    values: dict[str, float | None] | None = None
    """Published values by column, in the table's unit, null where not at hand; None: the row is not
    in the paper."""
    source: str | None = None
    """Where the values stand, if not in the table itself."""
    note: str | None = None


@dataclass(frozen=True)
class PaperTable:
    """A table or figure of the paper, or one that the harness adds."""

    id: str
    title: str
    metric: str
    unit: Literal["percent", "score"]
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    page: int | None = None
    tolerance: float = 1.0
    """Difference to a published value that counts as the same, in the table's unit. Ours: the paper
    gives neither seeds nor intervals."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [*_doubled("column", self.columns), *_doubled("row", self.rows)]
        if not self.tolerance >= 0:
            wrong.append(f"tolerance {self.tolerance} is below 0")
        known = {column.id for column in self.columns}
        for row in self.rows:
            if not re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", row.id):
                wrong.append(f"row {row.id!r} is not lower case words joined by hyphens")
            if (row.method is None) != (row.recipe is None):
                wrong.append(f"row {row.id} needs both method and recipe, or neither")
            values = row.values or {}
            odd = sorted(set(values) - known)
            if odd:
                wrong.append(f"row {row.id} has values for unknown columns {odd}")
            high = [v for v in values.values() if v is not None and not 0 <= v <= 100]
            if high:
                wrong.append(f"row {row.id} has values outside 0..100: {high}")
            if row.method is None and not values:
                wrong.append(f"row {row.id} is neither run nor published")
        if wrong:
            raise InputError(f"{self.id}: " + "; ".join(wrong))

    def row(self, name: str) -> Row:
        """The row with an id.

        Raises:
            InputError: no such row; the text lists them.
        """
        for row in self.rows:
            if row.id == name:
                return row
        raise InputError(
            f"{self.id} has no row {name!r}; rows: {', '.join(r.id for r in self.rows)}"
        )


def _doubled(what: str, items: tuple[Column, ...] | tuple[Row, ...]) -> list[str]:
    names = [item.id for item in items]
    return [
        f"{what} {name} stands twice" for name in sorted({n for n in names if names.count(n) > 1})
    ]


def read_table(name: str) -> PaperTable:
    """One table.

    Raises:
        InputError: no such table, or a damaged file.
    """
    if name not in ORDER:
        raise InputError(f"no table {name!r}; there are {', '.join(ORDER)}")
    path = FOLDER / f"{name}.yaml"
    table = from_plain(PaperTable, read_yaml(path), str(path))
    if table.id != name:
        raise InputError(f"{path}: its id is {table.id!r}, not {name!r}")
    return table


def chosen_tables(names: tuple[str, ...], only: str | None) -> tuple[PaperTable, ...]:
    """The named tables, each with the rows that ``only`` names (commas between them).

    Raises:
        InputError: an unknown table, or a row that none of the tables has.
    """
    tables = [read_table(name) for name in names]
    if only is None:
        return tuple(tables)
    wanted = only.split(",")
    known = [row.id for table in tables for row in table.rows]
    odd = sorted(set(wanted) - set(known))
    if odd:
        raise InputError(f"no rows {odd}; there are {', '.join(dict.fromkeys(known))}")
    kept = [replace(t, rows=tuple(r for r in t.rows if r.id in wanted)) for t in tables]
    return tuple(table for table in kept if table.rows)


def heading(table: str) -> str:
    """How a table is called in a report."""
    name = table.replace("table", "Table ").replace("figure", "Figure ")
    return HEADINGS.get(table, name)
