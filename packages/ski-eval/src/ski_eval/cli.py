"""Command line of ski-eval."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ski_eval import __version__, command, scoring
from ski_eval.accuracy import confusion_matrix, per_class_accuracy
from ski_eval.calibration import calibration_error
from ski_eval.comparison import compare_files
from ski_eval.predictions import load_predictions
from ski_eval.rejection import reject_unseen
from ski_eval.results import ResultCard, card_json, read_card, read_cards
from ski_eval.seeds import over_seeds
from ski_eval.segments import THRESHOLDS, detection, read_segments
from ski_eval.tables import accuracy_table, format_interval, format_value
from ski_eval.terminal import (
    generator,
    headline,
    naming,
    print_json,
    print_missing_intervals,
    print_table,
)


def show(cards: list[str], json: bool = False) -> None:
    """Print result cards.

    Args:
        cards: files with result cards.
        json: print JSON instead of text.
    """
    found = [read_card(path) for path in cards]
    if json:
        print_json([json_format.loads(card_json(card)) for card in found])
    else:
        print("\n\n".join("\n".join(_lines(card)) for card in found))


def table(folder: Path, json: bool = False) -> None:
    """Print all result cards under a folder as one table of methods by metrics.

    Cards that differ in their seeds only are one figure: the mean and its interval over the seeds.

    Args:
        folder: e.g. the results of a run.
        json: print JSON instead of Markdown.
    """
    cards = [card for _, card in read_cards(folder)]
    with naming(folder):
        made = accuracy_table(over_seeds(cards))
    if json:
        print_json(made)
        return
    print(made.markdown(), end="")


def score(
    predictions: Path,
    factor: float = 0.0,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Print the accuracies of a predictions file with their intervals.

    Args:
        predictions: file written by an evaluation.
        factor: subtracted from the scores of seen classes in the generalised protocol.
        level: coverage of the intervals.
        samples: bootstrap resamples.
        seed: of the resampling.
        json: print JSON instead of a table.
    """
    found = scoring.score(
        load_predictions(predictions),
        rng=generator(seed),
        factor=factor,
        level=level,
        samples=samples,
    )
    if json:
        print_json(found)
        return
    rows = [
        (
            s.protocol,
            s.metric,
            format_interval(s.value, s.interval),
            s.n,
            s.n_classes,
            s.interval.method if s.interval else "",
        )
        for s in found
    ]
    headers = ("protocol", "metric", headline("%", level), "samples", "candidates", "interval from")
    print_table(headers, rows)


def classes(predictions: Path, json: bool = False) -> None:
    """Print the accuracy within each class, and what its clips are taken for.

    Args:
        predictions: file written by an evaluation.
        json: print JSON (with the whole confusion matrix) instead of a table.
    """
    read = load_predictions(predictions)
    matrix = confusion_matrix(read.predicted, read.labels, len(read.classes))
    accuracies = per_class_accuracy(read.predicted, read.labels, len(read.classes))
    known = [None if np.isnan(value) else float(value) for value in accuracies]
    if json:
        found = {"classes": read.classes, "accuracy": known, "confusion": matrix.tolist()}
        print_json(found)
        return
    rows = []
    for k, (name, value) in enumerate(zip(read.classes, known, strict=True)):
        others = [i for i in np.argsort(-matrix[k], kind="stable") if i != k and matrix[k, i] > 0]
        taken = ", ".join(f"{read.classes[i]} {matrix[k, i]}" for i in others[:3])
        rows.append((name, format_value(value), int(matrix[k].sum()), taken))
    print_table(("class", "right %", "samples", "most often taken for"), rows)


def compare(
    a: Path,
    b: Path,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Say whether the first of two models is better than the second on the same samples.

    Args:
        a: predictions (.npz), scores by clip (.jsonl) or a result card (.json) of the first model.
        b: the same of the second model.
        level: coverage of the interval; the verdict needs p < 1 - level.
        samples: bootstrap resamples.
        seed: of the resampling.
        json: print JSON instead of text.
    """
    found = compare_files(a, b, rng=generator(seed), level=level, samples=samples)
    if json:
        print_json(found)
        return
    rows = [
        (
            one.metric,
            format_value(one.a, one.unit),
            format_value(one.b, one.unit),
            format_interval(one.found.difference, one.found.interval, one.unit),
            f"{one.p:.4f}",
            one.found.n,
            one.verdict,
        )
        for one in found
    ]
    headers = ("metric", "a", "b", headline("a - b", level), "p", "n", "a is")
    print_table(headers, rows)
    for test in dict.fromkeys(f"{one.found.test}, {one.found.n_groups} groups" for one in found):
        print(f"\nTest: {test}.")
    if len(found) > 1:
        print("\np and verdicts are adjusted for the number of metrics (Holm).")


def calibration(
    predictions: Path,
    bins: int = 15,
    binning: Literal["width", "mass"] = "width",
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Print the expected calibration error of a predictions file and its reliability table.

    Args:
        predictions: file written by an evaluation.
        bins: number of bins of confidence.
        binning: bins of equal width, or of about equal numbers of answers (mass).
        level: coverage of the interval.
        samples: bootstrap resamples.
        seed: of the resampling.
        json: print JSON instead of a table.
    """
    read = load_predictions(predictions)
    found = calibration_error(
        read.logits,
        read.labels,
        bins,
        binning,
        groups=read.groups,
        rng=generator(seed),
        level=level,
        samples=samples,
    )
    if json:
        print_json(found)
        return
    rows = [
        (
            f"{line.low:.3f} to {line.high:.3f}",
            line.n,
            format_value(line.confidence),
            format_value(line.accuracy),
            f"{100 * (line.confidence - line.accuracy):+.1f}",
        )
        for line in found.table
    ]
    headers = ("confidence", "answers", "mean confidence %", "right %", "difference")
    print_table(headers, rows)
    print_missing_intervals([(found.ece, found.interval)])
    text = format_interval(found.ece, found.interval)
    print(f"\nExpected calibration error: {text} %; largest of a bin: {100 * found.largest:.1f} %.")


def reject(
    predictions: Path,
    confidence: Literal["probability", "logit", "energy"] = "probability",
    recall: float = 0.95,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Print how well unseen classes are rejected as unknown when only seen ones are candidates.

    Args:
        predictions: file written by an evaluation that names unseen classes.
        confidence: what tells known from unknown.
        recall: share of known samples to accept for the rate of false acceptance.
        level: coverage of the intervals.
        samples: bootstrap resamples.
        seed: of the resampling.
        json: print JSON instead of a table.
    """
    read = load_predictions(predictions)
    with naming(predictions):
        found = reject_unseen(
            read, confidence, recall, rng=generator(seed), level=level, samples=samples
        )
    if json:
        print_json(found)
        return
    rows = [
        ("AUROC", format_interval(found.auroc, found.auroc_interval), "50.0"),
        (
            f"false acceptance at {100 * recall:g} % recall",
            format_interval(found.fpr, found.fpr_interval),
            format_value(recall),
        ),
    ]
    headers = ("metric", headline("%", level), "guessing")
    print_table(headers, rows)
    print_missing_intervals([(found.auroc, found.auroc_interval), (found.fpr, found.fpr_interval)])
    print(f"\n{found.n_known} known and {found.n_unknown} unknown samples.")


def segments(
    predictions: Path,
    truth: Path,
    tiou: Sequence[float] = THRESHOLDS,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Print the mean average precision of temporal detections at thresholds of overlap.

    Args:
        predictions: ActivityNet's JSON with results, or records (name, label, start, end, score).
        truth: ActivityNet's JSON with a database, or records (name, label, start, end).
        tiou: temporal intersection over union from which a detection is right.
        level: coverage of the intervals.
        samples: bootstrap resamples over videos.
        seed: of the resampling.
        json: print JSON instead of a table.
    """
    own, theirs = read_segments(predictions, scored=True), read_segments(truth, scored=False)
    with naming(f"{predictions} and {truth}"):
        found = detection(own, theirs, tiou, rng=generator(seed), level=level, samples=samples)
    if json:
        print_json(found)
        return
    rows = [
        (
            "mean" if line.threshold is None else f"{line.threshold:g}",
            format_interval(line.value, line.interval),
        )
        for line in found
    ]
    print_table(("tIoU", headline("mAP %", level)), rows)
    print_missing_intervals([(line.value, line.interval) for line in found])
    n = len({s.video for s in theirs})
    print(f"\n{len(theirs)} segments of {len(found[0].by_class)} classes in {n} videos.")


COMMANDS: dict[str, Callable[..., object] | str] = {
    "show": show,
    "table": table,
    "score": score,
    "classes": classes,
    "compare": compare,
    "calibration": calibration,
    "reject": reject,
    "segments": segments,
    "report": "ski_eval.report_command:report",
    "captions": "ski_eval.caption_command:captions",
    "judge": "ski_eval.judge_command:judge",
}
"""Functions, or where they are: these are imported when the command runs or is listed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-eval`` script."""
    return command.run(
        COMMANDS,
        argv,
        prog="ski-eval",
        version=__version__,
        description="Score predictions, compare models, read result cards and make tables of them.",
    )


def _lines(card: ResultCard) -> list[str]:
    """The fields of a card that are set, one a line."""
    unit = " %" if card.unit == "fraction" else ""
    where = card.environment
    git = where.get("git")
    commit = f"{git.get('commit')}" if isinstance(git, dict) else git
    changed = isinstance(git, dict) and git.get("dirty")
    fields: list[tuple[str, object]] = [
        ("name", card.name),
        ("method", card.method),
        ("data", card.dataset),
        ("split", card.split),
        ("protocol", card.protocol),
        (card.metric + unit, format_interval(card.value, card.interval, card.unit)),
        ("interval", card.interval and f"{100 * card.interval.level:g} %, {card.interval.method}"),
        ("samples", card.n),
        ("candidate classes", card.n_classes),
        ("seeds", ", ".join(map(str, card.seeds))),
        ("paper" + unit, None if card.paper_value is None else format_value(card.paper_value)),
        ("comparable to paper", "yes" if card.comparable_to_paper else "no"),
        ("data hash", card.data_hash),
        ("split hash", card.split_hash),
        ("config hash", card.config_hash),
        ("config", json_format.dumps(card.config, ensure_ascii=False) if card.config else None),
        ("git", git and f"{commit}{' with changes' if changed else ''}"),
        ("versions", _joined(where.get("versions"))),
        ("hardware", _joined(where.get("hardware"))),
        ("wall time", None if card.wall_time_s is None else f"{card.wall_time_s:.1f} s"),
        *(("note", note) for note in card.notes),
    ]
    return [f"{name + ':':<21}{value}" for name, value in fields if value not in (None, "")]


def _joined(values: object) -> str | None:
    if not isinstance(values, dict):
        return None
    return ", ".join(
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in values.items()
        if value not in (None, [])
    )
