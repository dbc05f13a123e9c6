"""Tables over splits: means with intervals, the null, and methods compared split by split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.real_skeletons.split_run import ENCODER, METHODS, Record
from ski_data.errors import InputError, MissingFileError
from ski_eval import (
    Interval,
    Table,
    bootstrap_interval,
    format_interval,
    format_value,
    holm,
    paired_difference,
)

FIGURES = {"zero_shot": "ZSL", "seen": "S", "new": "U", "harmonic": "H"}
"""Columns of the table of methods."""
DRAWS = 10_000


class Results:
    """Records of the splits that every method has done, in the order of the splits.

    Args:
        folder: of a data set.
        splits: labels of the unseen classes of each split.

    Raises:
        MissingFileError: no split is done.
    """

    def __init__(self, folder: Path, splits: Sequence[tuple[int, ...]]) -> None:
        self.splits: list[tuple[int, ...]] = []
        self.records: dict[str, list[Record]] = {kind: [] for kind in METHODS}
        self.encoder: list[float] = []
        for split in splits:
            place = folder / "splits" / "-".join(map(str, split))
            paths = [place / f"{kind}.json" for kind in (*METHODS, ENCODER)]
            if not all(path.is_file() for path in paths):
                continue
            self.splits.append(split)
            *found, encoder = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
            for kind, plain in zip(METHODS, found, strict=True):
                self.records[kind].append(_record(plain))
            self.encoder.append(encoder["accuracy"])
        if not self.splits:
            raise MissingFileError(f"{folder}: no split is done; run zero-shot first")

    def values(self, kind: str, figure: str) -> NDArray[np.float64]:
        """A figure of a method, one number per split."""
        return np.array([getattr(record, figure) for record in self.records[kind]])


def _record(plain: dict[str, Any]) -> Record:
    names = {field.name for field in fields(Record)}
    if set(plain) != names:
        raise InputError(f"a record has {sorted(plain)}, expected {sorted(names)}")
    return Record(**plain)


def methods_table(results: Results) -> Table:
    """One row per method: means over splits with their intervals, and the null of ZSL."""
    rows = []
    for kind, title in METHODS.items():
        cells = [title]
        for figure in FIGURES:
            values = results.values(kind, figure)
            cells.append(format_interval(values.mean(), over_splits(values)))
        real, null = results.values(kind, "zero_shot"), results.values(kind, "null")
        wide = over_classes(real, results.splits)
        cells.append(f"{format_value(wide.low)} to {format_value(wide.high)}")
        cells.append(format_interval(null.mean(), over_splits(null)))
        found = paired_difference(real, null, rng=np.random.default_rng(0), samples=DRAWS)
        cells.append(_p(found.p))
        rows.append(tuple(cells))
    chance = 1 / len(results.splits[0])
    seen = np.array(results.encoder)
    low, high = 100 * np.quantile(seen, [0.1, 0.9])
    return Table(
        ("method", *FIGURES.values(), "ZSL, interval over classes", "ZSL of the null", "p"),
        tuple(rows),
        (
            f"{len(results.splits)} splits; chance of ZSL {format_value(chance)}",
            f"the encoders alone tell the seen classes apart: {format_value(seen.mean())} on "
            f"average over splits (tenth to ninth tenth {low:.1f} to {high:.1f})",
        ),
    )


def over_splits(values: ArrayLike) -> Interval:
    """Bootstrap interval of a mean over splits, as if splits were independent."""
    return bootstrap_interval(values, rng=np.random.default_rng(0))


def over_classes(
    values: NDArray[np.float64], splits: Sequence[tuple[int, ...]], *, level: float = 0.95
) -> Interval:
    """Bootstrap interval of a mean over splits when classes are drawn again, not splits.

    Splits share classes, so they are not independent. Each resample draws classes with replacement;
    a split weighs the product of the draws of its classes. Resamples without a split are left out.

    Args:
        values: one number per split ``(N,)``.
        splits: labels of the unseen classes of each split.
        level: coverage.
    """
    labels = sorted({label for split in splits for label in split})
    member = np.array([[labels.index(label) for label in split] for split in splits])
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), DRAWS)
    weights = drawn[:, member].prod(-1).astype(np.float64)  # (draws, N)
    weights = weights[weights.sum(1) > 0]
    means = weights @ values / weights.sum(1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    mean = float(values.mean())
    return Interval(
        min(float(low), mean), max(float(high), mean), level, f"bootstrap, {len(labels)} classes"
    )


def pairs_table(results: Results, figure: str) -> Table:
    """Every two methods split by split: difference, its interval and p after Holm."""
    found = []
    for a, b in combinations(METHODS, 2):
        one, other = results.values(a, figure), results.values(b, figure)
        difference = paired_difference(one, other, rng=np.random.default_rng(0), samples=DRAWS)
        wins = int((one > other).sum()), int((one < other).sum())
        found.append((f"{METHODS[a]} - {METHODS[b]}", difference, wins))
    adjusted = holm([difference.p for _, difference, _ in found])
    rows = tuple(
        (
            name,
            format_interval(difference.difference, difference.interval),
            f"{more} : {less}",
            _p(difference.p),
            _p(p),
        )
        for (name, difference, (more, less)), p in zip(found, adjusted, strict=True)
    )
    title = f"{FIGURES[figure]}, points"
    return Table(("pair", title, "splits won : lost", "p", "p (Holm)"), rows)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
