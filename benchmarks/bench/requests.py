"""What was asked of a folder of runs, kept there, so that its report can be made without asking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bench import adl_rows, rows
from benchmarks.bench.adl import NAME, AdlMini, Scale
from benchmarks.bench.cells import Cell
from benchmarks.bench.jobs import write_text
from benchmarks.bench.paper import chosen_tables
from benchmarks.bench.places import read_given
from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError, MissingFileError

FILE = "requests.json"
SEEDS = 3


@dataclass(frozen=True)
class Request:
    """Tables on data."""

    tables: tuple[str, ...]
    data: tuple[str, ...]
    """Folders are absolute."""
    seeds: int | None = None
    """Of each row; None: 3, or what the scale of adl-mini says."""
    only: str | None = None
    scale: Scale = "full"
    weights: str | None = None
    judge: str | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise InputError(f"--seeds must be at least 1, got {self.seeds}")

    def cells(self) -> list[Cell]:
        """All cells that it asks for.

        Raises:
            InputError, MissingFileError: unknown tables or rows, or data that cannot be used.
        """
        given = read_given(self.data, self.weights)
        found: list[Cell] = []
        adl = AdlMini(self.scale)
        for table in chosen_tables(self.tables, self.only):
            for row in table.rows:
                if row.method is None:
                    continue
                if given.adl_mini:
                    found += adl_rows.cells(adl, table, row, self.seeds or adl.seeds)
                found += rows.cells(table, row, given, self.seeds or SEEDS, self.judge)
        return found


def remember(request: Request, runs: Path) -> None:
    """Add a request to those of the folder."""
    known = requests_of(runs) if (runs / FILE).exists() else []
    if request not in known:
        plain = [to_plain(one) for one in (*known, request)]
        write_text(runs / FILE, json.dumps(plain, indent=1) + "\n")


def requests_of(runs: Path) -> list[Request]:
    """All requests of a folder.

    Raises:
        MissingFileError: nothing was asked there.
        InputError: a damaged file.
    """
    path = runs / FILE
    if not path.is_file():
        raise MissingFileError(f"{runs}: no runs of this harness (no {FILE})")
    try:
        return [from_plain(Request, plain, str(path)) for plain in json.loads(path.read_text())]
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); remove it and ask again") from error


def all_cells(requests: Sequence[Request]) -> list[Cell]:
    """Cells of several requests, each once; the one with more seeds counts."""
    found: dict[tuple[str, str, str, str], Cell] = {}
    for request in requests:
        for cell in request.cells():
            key = (cell.table, cell.row, cell.column, cell.dataset)
            if key not in found or len(cell.results) > len(found[key].results):
                found[key] = cell
    return list(found.values())


def absolute(request: Request) -> Request:
    """The request with folders that mean the same from anywhere."""

    def resolved(word: str) -> str:
        name, equals, folder = word.partition("=")
        if word == NAME:
            return word
        return f"{name}={Path(folder).resolve()}" if equals else str(Path(word).resolve())

    weights = None if request.weights is None else str(Path(request.weights).resolve())
    return replace(request, data=tuple(map(resolved, request.data)), weights=weights)
