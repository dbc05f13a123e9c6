"""Further figures of reports: sweeps of a setting, reliability, embeddings on a plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ski_eval.calibration import Calibration
from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.plots import (
    _FAINT,
    _INK,
    COLOURS,
    Form,
    _headline,
    _new_figure,
    _rendered,
    _short,
    _styled,
)

Point = tuple[float, float, "Interval | None"]
_MARKS = "os^Dv*"
_MANY_POINTS = 2000
_LEGEND, _LEGEND_COLUMNS = 30, 3


def sweep_figure(
    series: Mapping[str, Sequence[Point]],
    setting: str,
    title: str = "",
    *,
    chance: float | None = None,
    form: Form = "svg",
) -> bytes:
    """Accuracy against a setting, e.g. the weight of a loss; the best of each series is marked.

    The axis is logarithmic where all values are positive and span a factor of 20 or more.

    Args:
        series: ``{name: [(setting, accuracy in 0..1, interval or None)]}``.
        setting: name of the axis.
        title: headline of the figure.
        chance: accuracy of guessing, or None for no line.
        form: file format of the result.

    Raises:
        InputError: no series, fewer than two points in one, accuracies outside 0..1.
    """
    if not series or any(len({x for x, _, _ in points}) < 2 for points in series.values()):
        raise InputError("sweep: expected at least one series of at least two settings")
    every = [point for points in series.values() for point in points]
    if not all(math.isfinite(x) and 0.0 <= y <= 1.0 for x, y, _ in every):
        raise InputError("sweep: accuracies must lie in 0..1 (not percent), settings be finite")
    settings = [x for x, _, _ in every]
    with _styled():
        figure = _new_figure(5.5, 3.6)
        axes = figure.subplots()
        if min(settings) > 0.0 and max(settings) >= 20.0 * min(settings):
            axes.set_xscale("log")
            axes.set_xticks(sorted(set(settings)), [f"{x:g}" for x in sorted(set(settings))])
            axes.minorticks_off()
        for i, (name, points) in enumerate(series.items()):
            x, y, intervals = zip(*sorted(points, key=lambda point: point[0]), strict=True)
            colour = COLOURS[i % len(COLOURS)]
            line = 100.0 * np.array(y)
            axes.plot(x, line, color=colour, marker=_MARKS[i % len(_MARKS)], ms=5, label=name)
            spans = [(a, s) for a, s in zip(x, intervals, strict=True) if s is not None]
            for place, span in spans:
                ends = 100.0 * span.low, 100.0 * span.high
                axes.vlines(place, *ends, color=colour, lw=1.2, alpha=0.5)
            best = int(line.argmax())
            axes.annotate(
                f"{line[best]:.1f}",
                (x[best], line[best]),
                textcoords="offset points",
                xytext=(0, 7),
                ha="center",
                color=colour,
                fontweight="bold",
            )
        if chance is not None:
            axes.axhline(100.0 * chance, color=_INK, lw=1.2, ls=(0, (4, 3)), label="chance")
        axes.set_xlabel(setting)
        axes.set_ylabel("accuracy, %")
        axes.grid(axis="y")
        axes.margins(x=0.05, y=0.15)
        axes.legend(frameon=False, fontsize=9)
        _headline(figure, title)
        return _rendered(figure, form)


def reliability_figure(found: Calibration, title: str = "", *, form: Form = "svg") -> bytes:
    """Accuracy against confidence in each bin; bars below the diagonal are overconfident."""
    with _styled():
        figure = _new_figure(4.6, 4.4)
        axes = figure.subplots()
        for line in found.table:
            low, width = 100.0 * line.low, 100.0 * (line.high - line.low)
            axes.bar(
                low,
                100.0 * line.accuracy,
                width,
                align="edge",
                color=COLOURS[0],
                edgecolor="white",
                zorder=2,
            )
            middle = 100.0 * line.confidence
            axes.plot([middle, middle], [100.0 * line.accuracy, middle], color=COLOURS[1], zorder=3)
        axes.plot([0, 100], [0, 100], color=_INK, lw=1.2, ls=(0, (4, 3)), zorder=4)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("confidence, %")
        axes.set_ylabel("right, %")
        axes.grid(color=_FAINT, zorder=0)
        axes.set_title(f"calibration error {100 * found.ece:.1f} %")
        _headline(figure, title)
        return _rendered(figure, form)


def embedding_figure(
    points: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    title: str = "",
    *,
    form: Form = "svg",
) -> bytes:
    """Points on a plane, a colour and mark per class.

    Args:
        points: ``(N, 2)``, e.g. from `project`.
        labels: class numbers ``(N,)``.
        class_names: ``(K,)``.
        title: headline of the figure.
        form: file format of the result.

    Raises:
        InputError: other shapes, labels out of range.
    """
    places, classes = np.asarray(points, np.float64), np.asarray(labels)
    if places.ndim != 2 or places.shape[1] != 2 or classes.shape != places.shape[:1]:
        raise InputError(f"points {places.shape} and labels {classes.shape}; expected (N, 2), (N,)")
    if classes.size == 0 or classes.min() < 0 or classes.max() >= len(class_names):
        raise InputError(f"labels: out of range for {len(class_names)} classes, or none")
    present = np.unique(classes)
    with _styled():
        lines = math.ceil(min(len(present), _LEGEND) / _LEGEND_COLUMNS)
        figure = _new_figure(5.5, 4.4 + 0.22 * lines)
        axes = figure.subplots()
        for i, label in enumerate(present):
            mine = places[classes == label]
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                s=22 if classes.size < _MANY_POINTS else 6,
                color=COLOURS[i % len(COLOURS)],
                marker=_MARKS[i // len(COLOURS) % len(_MARKS)],
                alpha=0.8,
                linewidths=0,
                label=_short(class_names[label], 24) if i < _LEGEND else None,
                rasterized=classes.size >= _MANY_POINTS,
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        axes.margins(0.06)
        more = len(present) - _LEGEND
        figure.legend(
            loc="outside lower center",
            frameon=False,
            fontsize=9,
            ncols=_LEGEND_COLUMNS,
            handletextpad=0.2,
            columnspacing=1.2,
            title=f"and {more} more" if more > 0 else None,
        )
        _headline(figure, title)
        return _rendered(figure, form)
