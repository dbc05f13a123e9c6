"""Figures of reports as SVG or PNG bytes: confusion matrix, curves, bars with intervals.

Drawn with matplotlib's figure objects, never its global state, so that they work in threads and on
machines without a display. The same data give the same bytes. All stand on a white ground.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.errors import InputError
from ski_eval.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["svg", "png"]

# Okabe and Ito's colours, told apart with every kind of colour vision; yellow left out on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")
_INK, _FAINT, _CHANCE = "#1f2933", "#d5dae0", "#b3541e"
_STYLE = {
    "svg.hashsalt": "ski-eval",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "grid.linewidth": 0.8,
}


def confusion_matrix_figure(
    matrix: ArrayLike, class_names: Sequence[str], title: str = "", *, form: Form = "svg"
) -> bytes:
    """Row-normalised confusion matrix; cells show percent of their true class.

    Args:
        matrix: counts ``(K, K)``, row = true class.
        class_names: ``(K,)``.
        title: headline of the figure.
        form: file format of the result.

    Raises:
        InputError: a matrix that is not square, negative counts, another number of names.
    """
    counts = np.asarray(matrix)
    k = len(class_names)
    if counts.shape != (k, k) or k < 2 or counts.dtype.kind not in "iuf" or (counts < 0).any():
        raise InputError(
            f"matrix: expected counts of shape ({k}, {k}) for {k} names, got "
            f"{counts.dtype} {counts.shape}"
        )
    support = counts.sum(axis=1)
    shares = 100.0 * counts / np.maximum(support, 1)[:, None]
    names = [_short(name, 30) for name in class_names]
    cell = float(np.clip(8.6 / k, 0.15, 0.62))
    small = 10.0 if cell > 0.4 else 9.0 if cell > 0.25 else 6.0
    with _styled():
        # Only the grid has a fixed size; the file is cut to what is drawn around it.
        figure = _new_figure(cell * k, cell * k, layout="none")
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=100.0)
        slanted = k <= 12
        axes.set_xticks(range(k), names, rotation=40 if slanted else 90, fontsize=small)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right" if slanted else "center")
            label.set_rotation_mode("anchor" if slanted else "default")
        rows = [f"{name} ({int(n)})" for name, n in zip(names, support, strict=True)]
        axes.set_yticks(range(k), rows, fontsize=small)
        axes.set_xlabel("predicted; cells: % of the true class", labelpad=8)
        axes.set_ylabel("true (samples)", labelpad=8)
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5 if k <= 30 else 0.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_color(_FAINT)
        axes.spines[:].set_visible(True)
        axes.set_title(title, pad=12)
        if k > 30:
            bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=25, pad=0.02)
            bar.set_label("% of true class")
            return _rendered(figure, form)
        for row, column in np.argwhere(counts > 0):
            share = shares[row, column]
            colour = "white" if share > 55.0 else _INK
            weight = "bold" if row == column else "normal"
            place = {"ha": "center", "va": "center", "fontsize": small}
            axes.text(column, row, f"{share:.0f}", color=colour, fontweight=weight, **place)
        return _rendered(figure, form)


def training_curves_figure(
    stages: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    title: str = "",
    *,
    form: Form = "svg",
) -> bytes:
    """One panel per stage of training, one line per series.

    Args:
        stages: ``{stage: {series: (steps, values)}}``; values that are not finite leave a gap.
        title: headline of the figure.
        form: file format of the result.

    Raises:
        InputError: no stage, a stage without series, steps and values of different length.
    """
    if not stages or not all(stages.values()):
        raise InputError("stages: expected at least one stage with at least one series")
    columns = min(2, len(stages))
    rows = math.ceil(len(stages) / columns)
    with _styled():
        figure = _new_figure(4.6 * columns if columns > 1 else 7.0, 2.9 * rows)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (stage, series) in zip(panels, stages.items(), strict=False):
            _curves(axes, stage, series)
        for axes in panels[len(stages) :]:
            axes.set_axis_off()
        _headline(figure, title)
        return _rendered(figure, form)


def accuracy_bars_figure(
    rows: Sequence[tuple[str, float, Interval | None]],
    chance: float | None = None,
    title: str = "",
    *,
    form: Form = "svg",
) -> bytes:
    """Horizontal bars of accuracies (0..1, drawn as percent) with intervals and a chance line.

    Args:
        rows: label, accuracy and interval of each bar, from top to bottom.
        chance: accuracy of guessing, or None for no line.
        title: headline of the figure.
        form: file format of the result.

    Raises:
        InputError: no rows, or accuracies outside 0..1.
    """
    if not rows:
        raise InputError("rows: no bars to draw")
    figures = [value for _, value, _ in rows] + ([] if chance is None else [chance])
    if not all(math.isfinite(v) and 0.0 <= v <= 1.0 for v in figures):
        raise InputError("rows: accuracies and chance must lie in 0..1 (not percent)")
    with _styled():
        figure = _new_figure(5.5, 0.66 * len(rows) + 0.9 + (0.35 if title else 0.0))
        axes = figure.subplots()
        for i, (label, value, interval) in enumerate(rows):
            axes.barh(i, 100.0 * value, height=0.42, color=COLOURS[0], zorder=2)
            end = value
            if interval is not None:
                end = max(value, interval.high)
                ends = (100.0 * interval.low, 100.0 * interval.high)
                axes.hlines(i, *ends, color=_INK, lw=1.6, zorder=5)
                axes.vlines(ends, i - 0.11, i + 0.11, color=_INK, lw=1.6, zorder=5)
            axes.text(100 * end + 1.5, i, f"{100 * value:.1f}", va="center", fontweight="bold")
            # Labels stand above the bars: long method names then need no margin of their own.
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            axes.text(0.0, i - 0.29, _short(label, 60), va="bottom", bbox=ground, zorder=6)
        _percent_axis(axes, [""] * len(rows))
        if chance is not None:
            _chance_line(axes, chance)
        _headline(figure, title)
        return _rendered(figure, form)


def per_class_bars_figure(
    class_names: Sequence[str],
    accuracies: ArrayLike,
    counts: ArrayLike,
    title: str = "",
    *,
    chance: float | None = None,
    form: Form = "svg",
) -> bytes:
    """Accuracy within each class, best first; classes without samples stand last, said so.

    Args:
        class_names: ``(K,)``.
        accuracies: ``(K,)`` in 0..1, NaN for a class without samples.
        counts: samples per class ``(K,)``.
        title: headline of the figure.
        chance: accuracy of guessing, or None for no line.
        form: file format of the result.

    Raises:
        InputError: arrays of different length, accuracies outside 0..1.
    """
    values, numbers = np.asarray(accuracies, np.float64), np.asarray(counts)
    k = len(class_names)
    if k == 0 or values.shape != (k,) or numbers.shape != (k,):
        raise InputError(
            f"per-class bars: {k} names, accuracies {values.shape}, counts {numbers.shape}; "
            "expected one of each per class"
        )
    known = np.isfinite(values)
    if ((values[known] < 0.0) | (values[known] > 1.0)).any():
        raise InputError("accuracies: values outside 0..1 (not percent)")
    order = np.argsort(-np.where(known, values, -1.0), kind="stable")
    labels = [f"{_short(class_names[i], 34)} ({int(numbers[i])})" for i in order]
    with _styled():
        figure = _new_figure(5.5, 0.3 * k + 1.0 + (0.35 if title else 0.0))
        axes = figure.subplots()
        for row, i in enumerate(order):
            if known[i]:
                axes.barh(row, 100.0 * values[i], height=0.66, color=COLOURS[0], zorder=2)
            text = f"{100 * values[i]:.0f}" if known[i] else "no samples"
            end = 100.0 * values[i] if known[i] else 0.0
            axes.text(end + 1.2, row, text, va="center", fontsize=9)
        _percent_axis(axes, labels)
        if chance is not None:
            _chance_line(axes, chance)
        _headline(figure, title)
        return _rendered(figure, form)


def _curves(axes: Axes, stage: str, series: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    from matplotlib.ticker import MaxNLocator

    for i, (name, (steps, values)) in enumerate(series.items()):
        x, y = np.asarray(steps, np.float64), np.asarray(values, np.float64)
        if x.ndim != 1 or x.shape != y.shape or x.size == 0:
            raise InputError(
                f"stages: {stage!r}, {name!r}: steps {x.shape} and values {y.shape}; expected two "
                "sequences of the same length"
            )
        colour = COLOURS[i % len(COLOURS)]
        if x.size >= 40:  # the raw line faint behind its running mean
            axes.plot(x, y, color=colour, lw=0.8, alpha=0.3)
            axes.plot(x, _running_mean(y), color=colour, lw=1.8, label=name)
        else:
            mark = "o" if x.size <= 12 else None
            axes.plot(x, y, color=colour, lw=1.8, marker=mark, ms=4, label=name)
    axes.set_title(stage)
    axes.set_xlabel("step")
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.margins(x=0.02)
    axes.legend(frameon=False, fontsize=9)


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the finite values in a centred window of a fifteenth of the length."""
    half = max(2, values.size // 30)
    finite = np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    at = np.arange(values.size)
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, values.size)
    n = counts[high] - counts[low]
    return np.where(finite, (totals[high] - totals[low]) / np.maximum(n, 1), np.nan)


def _percent_axis(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.55, -0.75)
    axes.set_xlim(0.0, 108.0)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("accuracy, %")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", zorder=0)
    axes.set_axisbelow(True)


def _chance_line(axes: Axes, chance: float) -> None:
    axes.axvline(100.0 * chance, color=_CHANCE, lw=1.5, ls=(0, (4, 3)), zorder=4)
    axes.text(
        100.0 * chance,
        1.0,
        f" chance {100.0 * chance:.3g} %",
        color=_CHANCE,
        fontsize=9,
        va="bottom",
        ha="left" if chance < 0.8 else "right",
        transform=axes.get_xaxis_transform(),
    )


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _styled() -> object:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """An empty figure of the given size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def _headline(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")


def _rendered(figure: Figure, form: Form) -> bytes:
    if form not in ("svg", "png"):
        raise InputError(f"form: {form!r}; allowed: svg, png")
    buffer = io.BytesIO()
    tight = figure.get_layout_engine() is None
    box = {"bbox_inches": "tight", "pad_inches": 0.12} if tight else {}
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, dpi=144, metadata=metadata, **box)
    return buffer.getvalue()
