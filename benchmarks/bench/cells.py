"""Cells: what stands in one row and column, which jobs it needs, and the figure that they left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.bench.jobs import Job, filled, finished, ordered
from ski_data.errors import InputError
from ski_eval import Interval, bootstrap_interval, load_predictions, read_cards, seeds_summary

Kind = Literal["predictions", "metrics", "cards", "pictures"]
LEVEL = 0.95
METRICS = ("correctness", "detail", "context", "temporal", "consistency")
"""Of the judge."""
AVERAGE = "average"
"""Their mean."""


@dataclass(frozen=True)
class Result:
    """Where one seed's outcome is found, once its job is done."""

    job: Job
    place: str
    """Pattern of files, with stand-ins; several predictions are draws, whose mean counts."""
    kind: Kind = "predictions"
    metric: str | None = None
    """Which figure of metrics or cards."""

    def paths(self, runs: Path) -> list[Path]:
        """Its files.

        Raises:
            InputError: none there, though the job is done.
        """
        pattern = Path(filled(self.place, self.job, runs))
        found = sorted(runs.glob(str(pattern.relative_to(runs))))
        if not found:
            raise InputError(
                f"{pattern}: not there, though {self.job.id} is done; remove its folder"
            )
        return found


@dataclass(frozen=True)
class Cell:
    """One row and column of a table on given data."""

    table: str
    row: str
    column: str
    """Title of the column."""
    dataset: str
    """ntu60, ntu120, charades, adl-mini, or the name of an own folder."""
    results: tuple[Result, ...] = ()
    """One per seed."""
    missing: tuple[str, ...] = ()
    """What it lacks and how to get it; then it has no results."""
    published: str | None = None
    """Id of the paper's column that these data are; None: not comparable."""

    @property
    def jobs(self) -> list[Job]:
        """All its jobs, what is needed first."""
        return ordered(result.job for result in self.results)

    @property
    def counterpart(self) -> bool:
        """Whether there is anything to run."""
        return bool(self.results or self.missing)


@dataclass(frozen=True)
class Figure:
    """A measured value, 0..1 or as its metric has it."""

    value: float
    interval: Interval | None
    n: int
    seeds: int
    sd: float | None = None
    """Over seeds."""
    chance: float | None = None


def done_results(cell: Cell, runs: Path) -> list[Result]:
    """The seeds that are finished."""
    return [result for result in cell.results if finished(result.job, runs)]


def figure(cell: Cell, runs: Path) -> Figure | None:
    """Mean over the finished seeds; None where there is none, or pictures only."""
    results = done_results(cell, runs)
    if not results or results[0].kind == "pictures":
        return None
    kind = results[0].kind
    if kind == "predictions":
        return _from_predictions([result.paths(runs) for result in results])
    read = _from_metrics if kind == "metrics" else _from_cards
    found = [read(result.paths(runs)[0], str(result.metric)) for result in results]
    if len(found) == 1:
        return found[0]
    several = seeds_summary([one.value for one in found])
    return Figure(several.mean, several.interval, found[0].n, len(found), several.sd)


def _from_predictions(paths: Sequence[Sequence[Path]]) -> Figure:
    """Top-1: mean over seeds and draws; interval over groups of clips that belong together.

    The interval does not know that other seeds might be drawn; ``sd`` tells how they differ.

    Raises:
        InputError: seeds that were tested on different clips.
    """
    hits, names, groups, classes = [], None, None, 0
    for of_seed in paths:
        draws = []
        for path in of_seed:
            found = load_predictions(path)
            if names is not None and found.names != names:
                raise InputError(f"{path}: other clips than those of the other seeds")
            names, classes = found.names, len(found.classes)
            groups = found.groups
            draws.append(found.predicted == found.labels)
        hits.append(np.mean(draws, axis=0))
    each = np.array(hits, np.float64)
    interval = bootstrap_interval(each.mean(0), groups, level=LEVEL, rng=np.random.default_rng(0))
    spread = seeds_summary(each.mean(1)).sd
    return Figure(float(each.mean()), interval, each.shape[1], len(each), spread, 1 / classes)


def _from_metrics(path: Path, metric: str) -> Figure:
    found = json.loads(path.read_text(encoding="utf-8"))[metric]
    ends = found["interval"]
    interval = None if ends is None else Interval(*ends, LEVEL, found["method"])
    return Figure(found["value"], interval, found["n"], 1)


def _from_cards(folder: Path, metric: str) -> Figure:
    if metric == AVERAGE:
        parts = [_from_cards(folder, part) for part in METRICS]
        return Figure(float(np.mean([part.value for part in parts])), None, parts[0].n, 1)
    for _, card in read_cards(folder):
        if card.metric == metric and card.value is not None:
            return Figure(card.value, card.interval, card.n, 1)
    raise InputError(f"{folder}: no card of {metric}")
