"""Temporal detection: mean average precision at thresholds of temporal overlap.

As in ActivityNet's evaluation: predictions of a class are taken by falling score; each finds the
ground-truth segment of its video and class with the largest overlap that is still free, and is
right if their temporal intersection over union (tIoU) reaches the threshold. Average precision is
the area under the interpolated precision-recall curve; the mean is over the classes of the ground
truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ski_eval import files
from ski_eval.bootstrap import group_weights, percentiles
from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.text_files import NAMES, read_records, text_of

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Segment:
    """A stretch of a video, in seconds; ``score`` is for predictions."""

    video: str
    label: str
    start: float
    end: float
    score: float = 1.0

    def __post_init__(self) -> None:
        finite = all(math.isfinite(v) for v in (self.start, self.end, self.score))
        if not finite or not 0.0 <= self.start < self.end:
            raise InputError(
                f"segment of {self.video!r}: {self.start} to {self.end}, score {self.score}; "
                "expected finite numbers, 0 <= start < end"
            )


@dataclass(frozen=True)
class DetectionScore:
    """mAP at one threshold, or the mean over all (``threshold`` None)."""

    threshold: float | None
    value: float
    interval: Interval | None
    by_class: Mapping[str, float]


def t_iou(a: Segment, b: Segment) -> float:
    """Temporal intersection over union of two segments."""
    shared = max(0.0, min(a.end, b.end) - max(a.start, b.start))
    return shared / (a.end - a.start + b.end - b.start - shared)


def detection(
    predicted: Sequence[Segment],
    truth: Sequence[Segment],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
    samples: int = 1000,
) -> list[DetectionScore]:
    """mAP at each threshold and its mean over them, with bootstrap intervals over videos.

    Args:
        predicted: segments with scores; classes that the ground truth lacks are refused.
        truth: all segments of the ground truth.
        thresholds: tIoU from which a prediction is right.
        rng: source of resamples; None makes no intervals. A class that a resample does not meet is
            left out of that resample's mean.
        level: coverage.
        samples: number of resamples.

    Raises:
        InputError: no ground truth, unknown classes, thresholds outside 0..1.
    """
    if not truth:
        raise InputError("segments: no ground truth")
    if not thresholds or not all(0.0 < t <= 1.0 for t in thresholds):
        raise InputError(f"thresholds: {list(thresholds)}; allowed: more than 0, at most 1")
    labels = list(dict.fromkeys(segment.label for segment in truth))
    unknown = sorted({segment.label for segment in predicted} - set(labels))
    if unknown:
        raise InputError(
            f"segments: class {unknown[0]!r} is predicted but not in the ground truth; leave out "
            "such classes on purpose, or correct their names"
        )
    videos = list(dict.fromkeys(segment.video for segment in [*truth, *predicted]))
    number = {video: i for i, video in enumerate(videos)}
    classes = [_matched(label, predicted, truth, thresholds, number) for label in labels]
    ones = np.ones((1, len(videos)))
    own = np.stack([_precisions(*one, ones)[0] for one in classes])  # (classes, thresholds)
    draws = None
    if rng is not None:
        blocks = []
        for weights in group_weights(len(videos), samples, rng):
            parts = np.stack([_precisions(*one, weights) for one in classes])
            met = ~np.isnan(parts[:, :, 0]).all(axis=0)  # resamples with any ground truth
            blocks.append(np.nanmean(parts[:, met], axis=0))
        draws = np.concatenate(blocks)  # (samples, thresholds)
    found = []
    for i, threshold in enumerate([*thresholds, None]):
        column = own[:, i] if threshold is not None else own.mean(axis=1)
        value = float(column.mean())
        interval = None
        if draws is not None:
            drawn = draws[:, i] if threshold is not None else draws.mean(axis=1)
            interval = percentiles(drawn, value, level, f"bootstrap, {len(videos)} videos")
        by_class = dict(zip(labels, column.tolist(), strict=True))
        found.append(DetectionScore(threshold, value, interval, by_class))
    return found


def average_precision(correct: NDArray[np.bool_], n_truth: int) -> float:
    """Area under the interpolated precision-recall curve.

    Args:
        correct: whether each prediction is right, by falling score, ``(n,)``.
        n_truth: segments of the ground truth, at least one.
    """
    flags = np.asarray(correct, bool)
    weights = np.ones((1, flags.size + 1))
    place = np.arange(flags.size)
    per_video = np.zeros(flags.size + 1)
    per_video[-1] = n_truth
    return float(_precisions(flags[:, None], place, per_video, weights)[0, 0])


def read_segments(path: str | Path, *, scored: bool) -> list[Segment]:
    """Segments from ActivityNet's JSON or from records.

    Either ``{"results": {video: [{"label", "segment": [start, end], "score"}]}}`` (predictions) or
    ``{"database": {video: {"annotations": [...]}}}`` (ground truth), or JSON or JSON lines of
    records with name, label, start, end and, for predictions, score, or of ski-data's timed labels
    (name and ``actions``, a list of label, start, end). Seconds; whole-number labels become text.

    Raises:
        MissingFileError: no such file.
        InputError: another form, no segments, or values that `Segment` refuses.
    """
    path = Path(path)
    rows: list[dict[str, Any]] = []
    content = None if path.suffix == ".jsonl" else files.read_json(path)
    if isinstance(content, dict):
        key = "results" if scored else "database"
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path}: no {key!r} by video in it; expected ActivityNet's form")
        for video, entries in content[key].items():
            known = isinstance(entries, dict)
            inner = entries if scored else entries.get("annotations") if known else None
            if not isinstance(inner, list) or not all(isinstance(e, dict) for e in inner):
                raise InputError(f"{path}: video {video!r} holds no list of segments")
            rows += [{"name": video, **entry} for entry in inner]
    else:
        for record in read_records(path):
            entries = record.get("actions", [record])
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise InputError(
                    f"{path}: actions of {record.get('name')!r} are no list of records"
                )
            name = {key: record[key] for key in NAMES if key in record}
            rows += [{**name, **entry} for entry in entries]
    found = []
    for i, row in enumerate(rows):
        where = f"{path}: segment {i}"
        ends = row.get("segment", [row.get("start"), row.get("end")])
        values = [
            *(ends if isinstance(ends, list) else [ends]),
            row.get("score") if scored else 1.0,
        ]
        if len(values) != 3 or not all(
            isinstance(v, (int, float)) and not isinstance(v, bool) for v in values
        ):
            wanted = "start, end and score" if scored else "start and end"
            raise InputError(f"{where}: {wanted} must be numbers, got {values}")
        if isinstance(row.get("label"), int):
            row = {**row, "label": str(row["label"])}
        name, label = text_of(row, NAMES, where), text_of(row, ("label",), where)
        try:
            found.append(Segment(name, label, *map(float, values)))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    if not found and not scored:
        raise InputError(f"{path}: no segments")
    return found


def _matched(
    label: str,
    predicted: Sequence[Segment],
    truth: Sequence[Segment],
    thresholds: Sequence[float],
    number: Mapping[str, int],
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
    """Of one class by falling score: right or not ``(n, thresholds)``, video numbers ``(n,)``.

    Third: segments of the ground truth per video ``(videos,)``.
    """
    mine = sorted((s for s in predicted if s.label == label), key=lambda s: -s.score)
    theirs: dict[str, list[Segment]] = {}
    for segment in truth:
        if segment.label == label:
            theirs.setdefault(segment.video, []).append(segment)
    correct = np.zeros((len(mine), len(thresholds)), bool)
    taken = {video: np.zeros((len(thresholds), len(own)), bool) for video, own in theirs.items()}
    for i, segment in enumerate(mine):
        overlaps = np.array([t_iou(segment, other) for other in theirs.get(segment.video, [])])
        for j in np.argsort(-overlaps, kind="stable"):
            free = ~taken[segment.video][:, j] & ~correct[i]
            now = free & (overlaps[j] >= np.array(thresholds))
            correct[i] |= now
            taken[segment.video][now, j] = True
    place = np.array([number[segment.video] for segment in mine], np.int64)
    counts = np.zeros(len(number))
    for video, own in theirs.items():
        counts[number[video]] = len(own)
    return correct, place, counts


def _precisions(
    correct: NDArray[np.bool_],
    place: NDArray[np.int64],
    counts: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Interpolated average precision ``(B, thresholds)`` with videos weighted ``(B, videos)``.

    NaN where the weighted ground truth is empty.
    """
    truth = weights @ counts
    result = np.zeros((len(weights), correct.shape[1]))
    drawn = weights[:, place]
    total = np.maximum(np.cumsum(drawn, axis=1), 1e-12)
    for column in range(correct.shape[1]):
        gained = drawn * correct[:, column]
        precision = np.cumsum(gained, axis=1) / total
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result[:, column] = (gained * envelope).sum(axis=1) / np.maximum(truth, 1e-12)
    return np.where(truth[:, None] > 0, result, np.nan)
