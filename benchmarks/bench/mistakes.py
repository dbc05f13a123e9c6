"""What methods take each class for, from the answers that a table's figures are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.cells import Cell, done_results
from benchmarks.bench.paper import heading, read_table
from ski_eval import Report, confusion_matrix, confusion_matrix_figure, load_predictions

READABLE = 24
"""Classes up to which a row's matrix is drawn: the larger number of unseen classes of NTU."""


@dataclass(frozen=True)
class Mistakes:
    """Counts of one method, over its seeds and draws."""

    title: str
    classes: tuple[str, ...]
    matrix: NDArray[np.int64]
    """``(K, K)``, row = true class."""

    @property
    def by_class(self) -> list[str]:
        """Share of each class that is named rightly, percent; empty for a class without clips."""
        support = self.matrix.sum(axis=1)
        right = self.matrix.diagonal()
        return [f"{100 * r / n:.1f}" if n else "" for r, n in zip(right, support, strict=True)]


def mistakes_of(cell: Cell, runs: Path) -> Mistakes | None:
    """Counts over the finished seeds of a cell; None where it has no answers by class."""
    results = done_results(cell, runs)
    if not results or results[0].kind != "predictions":
        return None
    found = [load_predictions(path) for result in results for path in result.paths(runs)]
    classes = tuple(found[0].classes)
    matrix = sum(confusion_matrix(one.predicted, one.labels, len(classes)) for one in found)
    title = f"{heading(cell.table)}: {read_table(cell.table).row(cell.row).title}"
    return Mistakes(title, classes, np.asarray(matrix))


def by_column(cells: Iterable[Cell], runs: Path) -> dict[tuple[str, str], list[Mistakes]]:
    """Counts of all methods by data set and column; jobs that several tables share come once."""
    grouped: dict[tuple[str, str], list[Mistakes]] = {}
    for cell in _different(cells):
        found = mistakes_of(cell, runs)
        if found is not None:
            grouped.setdefault((cell.dataset, cell.column), []).append(found)
    return grouped


def add_mistakes(report: Report, cells: Iterable[Cell], runs: Path) -> None:
    """A section for each column: accuracy within each class, and what is taken for what."""
    for (dataset, column), methods in by_column(cells, runs).items():
        name = column if dataset in column.lower() else f"{dataset}, {column}"
        report.add_text(f"Class by class, {name}")
        for classes, group in _of_same_classes(methods):
            rows = [(one.title, *one.by_class) for one in group]
            report.add_table("Accuracy within each class, percent", ("", *classes), rows)
            if len(classes) <= READABLE:
                report.add_gallery(
                    "Which class is taken for which, percent of the true class",
                    [_picture(one) for one in group],
                    wide=True,
                )


def _picture(one: Mistakes) -> tuple[bytes, str, str]:
    told = ", ".join(
        f"{name} {share} %" for name, share in zip(one.classes, one.by_class, strict=True) if share
    )
    return (
        confusion_matrix_figure(one.matrix, one.classes),
        one.title,
        f"Confusion matrix of {one.title}; named rightly: {told}.",
    )


def _different(cells: Iterable[Cell]) -> Iterator[Cell]:
    seen = set()
    for cell in cells:
        key = (cell.column, *(result.place + result.job.id for result in cell.results))
        if cell.results and key not in seen:
            seen.add(key)
            yield cell


def _of_same_classes(
    methods: Sequence[Mistakes],
) -> Iterator[tuple[tuple[str, ...], list[Mistakes]]]:
    for classes in dict.fromkeys(one.classes for one in methods):
        yield classes, [one for one in methods if one.classes == classes]
