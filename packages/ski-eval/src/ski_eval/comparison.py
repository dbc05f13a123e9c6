"""Comparison of two models from what their evaluations left on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import numpy as np

from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.predictions import load_predictions
from ski_eval.results import ResultCard, read_card
from ski_eval.scoring import compare
from ski_eval.significance import PairedDifference, Verdict, holm, paired_difference
from ski_eval.text_files import NAMES, read_records, text_of


@dataclass(frozen=True)
class Comparison:
    """One metric of two models; ``p`` is adjusted where several metrics are compared."""

    metric: str
    a: float
    b: float
    unit: Literal["fraction", "score"]
    found: PairedDifference
    p: float
    verdict: Verdict


def compare_files(
    a: str | Path,
    b: str | Path,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 2000,
) -> list[Comparison]:
    """Say whether the model of ``a`` is better than that of ``b``, metric by metric.

    Two predictions files (.npz) or two files of scores by clip (.jsonl, from ``judge --scores`` or
    ``captions --scores``) are compared sample by sample (`paired_difference`). Two result cards
    (.json) hold no single samples: the difference is then judged by their intervals as if they
    were of different samples, which is too careful for two models on the same ones.

    Raises:
        MissingFileError: no such file.
        InputError: files of different kinds, or that do not belong to the same test set.
    """
    kinds = {Path(path).suffix for path in (a, b)}
    if kinds == {".npz"}:
        first, second = load_predictions(a), load_predictions(b)
        try:
            found = compare(first, second, rng=rng, level=level, samples=samples)
        except InputError as error:
            raise InputError(f"{a} and {b}: {error}") from error
        values = float(first.correct.mean()), float(second.correct.mean())
        return [Comparison("top-1", *values, "fraction", found, found.p, found.verdict)]
    if kinds == {".json"}:
        return [compare_cards(read_card(a), read_card(b), level=level)]
    if kinds == {".jsonl"}:
        return _compare_scores(a, b, rng=rng, level=level, samples=samples)
    raise InputError(
        f"{a} and {b}: give two predictions files (.npz), two files of scores (.jsonl) or two "
        "result cards (.json)"
    )


def compare_cards(a: ResultCard, b: ResultCard, *, level: float = 0.95) -> Comparison:
    """Difference of two cards' figures, judged by their intervals as if samples were different.

    Raises:
        InputError: another metric, data, split or protocol, an undefined value, no interval.
    """
    for what in (
        "dataset",
        "split",
        "protocol",
        "metric",
        "unit",
        "n",
        "n_classes",
        "data_hash",
        "split_hash",
    ):
        if getattr(a, what) != getattr(b, what):
            raise InputError(
                f"compare: cards {a.name!r} and {b.name!r} differ in {what} "
                f"({getattr(a, what)!r}, {getattr(b, what)!r}); their figures cannot be compared"
            )
    spread = 0.0
    for card in (a, b):
        if card.value is None or card.interval is None:
            lacking = "value" if card.value is None else "interval"
            raise InputError(f"compare: card {card.name!r} has no {lacking}; give predictions")
        width = card.interval.high - card.interval.low
        spread += (width / (2.0 * _normal(card.interval.level))) ** 2
    value, other = float(a.value or 0.0), float(b.value or 0.0)
    difference, error = value - other, math.sqrt(spread)
    if error > 0.0:
        p = math.erfc(abs(difference) / error / math.sqrt(2.0))
    else:
        p = 1.0 if difference == 0.0 else 0.0
    half = _normal(level) * error
    method = "from both intervals, as if unpaired"
    found = PairedDifference(
        difference=difference,
        interval=Interval(difference - half, difference + half, level, method),
        p=p,
        n=a.n,
        n_groups=a.n,
        test="normal approximation from both intervals, as if of different samples",
        verdict=_verdict(difference, p, level),
    )
    return Comparison(a.metric, value, other, a.unit, found, p, found.verdict)


def _compare_scores(
    a: str | Path, b: str | Path, *, rng: np.random.Generator, level: float, samples: int
) -> list[Comparison]:
    first, second = _read_scores(a), _read_scores(b)
    if first.keys() != second.keys():
        only = sorted(first.keys() ^ second.keys())
        raise InputError(
            f"{a} and {b}: {len(only)} scores are in only one of the two (first: {only[0]}); "
            "evaluate both models on the same test set"
        )
    found: list[Comparison] = []
    for metric in dict.fromkeys(key[0] for key in first):
        keys = [
            key
            for key in first
            if key[0] == metric and first[key] is not None and second[key] is not None
        ]
        if not keys:
            raise InputError(f"{a} and {b}: no sample has a score for {metric} in both")
        mine = np.array([first[key] for key in keys], np.float64)
        theirs = np.array([second[key] for key in keys], np.float64)
        groups = [key[1] for key in keys]
        one = paired_difference(mine, theirs, groups, rng=rng, level=level, samples=samples)
        values = float(mine.mean()), float(theirs.mean())
        found.append(Comparison(metric, *values, "score", one, one.p, one.verdict))
    adjusted = holm([one.p for one in found])
    return [
        replace(one, p=p, verdict=_verdict(one.found.difference, p, level))
        for one, p in zip(found, adjusted, strict=True)
    ]


def _read_scores(path: str | Path) -> Mapping[tuple[str, str, str], float | None]:
    """Scores by metric, clip and question; None where there is none."""
    found: dict[tuple[str, str, str], float | None] = {}
    for i, record in enumerate(read_records(path)):
        where = f"{path}: record {i}"
        key = (
            text_of(record, ("metric",), where),
            text_of(record, NAMES, where),
            text_of({"question": "", **record}, ("question",), where),
        )
        score = record.get("score")
        number = isinstance(score, (int, float)) and not isinstance(score, bool)
        if "score" not in record or not (score is None or (number and math.isfinite(score))):
            raise InputError(f"{where}: score is {score!r}, expected a number or null")
        if key in found:
            raise InputError(f"{where}: {key[0]} of {key[1]!r} stands there twice")
        found[key] = score
    if not found:
        raise InputError(f"{path}: no scores")
    return found


def _verdict(difference: float, p: float, level: float) -> Verdict:
    if p < 1.0 - level and difference != 0.0:
        return "better" if difference > 0.0 else "worse"
    return "not distinguishable"


def _normal(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2.0)
