"""BLEU-1 to 4, ROUGE-L and CIDEr-D of captions, with bootstrap intervals over clips.

The numbers are those of the field's evaluation code (pycocoevalcap 1.2) on the same tokens; n-grams
of BLEU are counted by sacrebleu. Each clip has one prediction and one or more references, as token
sequences from `caption_tokens`. All are scores from 0 to 1, CIDEr-D from 0 to 10.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ski_eval.bootstrap import bootstrap_sums
from ski_eval.caption_tokens import caption_tokens
from ski_eval.errors import InputError
from ski_eval.intervals import Interval

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

Tokens = Sequence[str]
ORDERS = 4
"""Longest n-gram of BLEU and CIDEr-D."""
_BETA, _SIGMA = 1.2, 6.0


@dataclass(frozen=True)
class CaptionScore:
    """One figure over ``n`` clips."""

    metric: str
    value: float
    interval: Interval | None
    n: int


def bleu_counts(prediction: Tokens, references: Sequence[Tokens]) -> NDArray[np.float64]:
    """What one clip adds to corpus BLEU, ``(10,)``.

    Its length, the length of the closest reference (the shorter of two equally close), then the
    n-grams found in the references (clipped to their largest count in one reference) for n = 1..4,
    then all its n-grams for n = 1..4; counted by sacrebleu.
    """
    found = _bleu().sentence_score(
        " ".join(prediction), [" ".join(tokens) for tokens in references]
    )
    return np.array([found.sys_len, found.ref_len, *found.counts, *found.totals], np.float64)


@cache
def _bleu() -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", smooth_method="none", max_ngram_order=ORDERS, effective_order=True)


def bleu_from_counts(counts: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """BLEU-``order`` of summed counts ``(..., 10)``, without smoothing, shape ``(...)``.

    The geometric mean of the n-gram precisions times the brevity penalty exp(1 - r/c) for
    candidates shorter than their references (Papineni et al. 2002). 0 when an order has no match
    at all; pycocoevalcap adds 1e-15 there, which gives up to some 1e-4 for BLEU-4.
    """
    length, closest = counts[..., 0], counts[..., 1]
    matched, total = counts[..., 2 : 2 + order], counts[..., 6 : 6 + order]
    found = (matched > 0).all(axis=-1)
    logs = np.log(np.where(matched > 0, matched, 1.0)) - np.log(np.maximum(total, 1.0))
    brevity = np.minimum(0.0, 1.0 - closest / np.maximum(length, 1.0))
    return np.where(found, np.exp(logs.mean(axis=-1) + brevity), 0.0)


def rouge_l(prediction: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L of one clip: F measure, beta 1.2, of the longest common subsequence.

    Precision and recall are each the best over the references (Lin 2004, as in the COCO
    evaluation). 0 for an empty prediction.
    """
    if not prediction:
        return 0.0
    common = [_common_length(prediction, reference) for reference in references]
    precision = max(common) / len(prediction)
    recall = max(n / len(r) if r else 0.0 for n, r in zip(common, references, strict=True))
    if precision == 0.0 or recall == 0.0:
        return 0.0
    return (1.0 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def cider_d(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> NDArray[np.float64]:
    """CIDEr-D ``(N,)`` of each clip (Vedantam et al. 2015): n = 1..4, sigma 6, times 10.

    An n-gram's weight is log N - log(clips whose references hold it), over the references given
    here: the figure depends on the whole set, and with one clip all of it is 0. Lengths in the
    Gaussian penalty are counted in bigrams, as in the published code.
    """
    frequency: Counter[tuple[str, ...]] = Counter()
    counted = [[_ngrams(reference) for reference in group] for group in references]
    for group in counted:
        frequency.update(set().union(*group))
    size = math.log(len(predictions)) if predictions else 0.0

    def weighted(counts: Counter[tuple[str, ...]]) -> list[dict[tuple[str, ...], float]]:
        parts: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDERS)]
        for ngram, count in counts.items():
            parts[len(ngram) - 1][ngram] = count * (size - math.log(max(1, frequency[ngram])))
        return parts

    scores = np.zeros(len(predictions))
    for i, (prediction, group) in enumerate(zip(predictions, counted, strict=True)):
        own = weighted(_ngrams(prediction))
        own_norm = [_norm(part) for part in own]
        for tokens, counts in zip(references[i], group, strict=True):
            other = weighted(counts)
            delta = max(0, len(prediction) - 1) - max(0, len(tokens) - 1)
            penalty = math.exp(-(delta**2) / (2.0 * _SIGMA**2))
            for mine, norm, theirs in zip(own, own_norm, other, strict=True):
                scale = norm * _norm(theirs)
                if scale > 0.0:
                    shared = sum(
                        min(weight, theirs[ngram]) * theirs[ngram]
                        for ngram, weight in mine.items()
                        if ngram in theirs
                    )
                    scores[i] += penalty * shared / scale
        scores[i] *= 10.0 / (ORDERS * len(group))
    return scores


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    rng: np.random.Generator,
    groups: Mapping[str, str] | None = None,
    level: float = 0.95,
    samples: int = 2000,
    allow_empty: bool = False,
) -> list[CaptionScore]:
    """BLEU-1 to 4, ROUGE-L and CIDEr-D with percentile bootstrap intervals over clips.

    Args:
        predictions: one text per clip.
        references: one or more texts per clip.
        rng: source of the resamples.
        groups: what was drawn independently, by clip; None takes each clip as one.
        level: coverage.
        samples: number of resamples; CIDEr-D keeps the n-gram weights of the whole set in all.
        allow_empty: count predictions without a word as wrong rather than refuse them.

    Raises:
        InputError: as in `tokenized_captions`, or a clip without a group.
    """
    names, own, theirs = tokenized_captions(predictions, references, allow_empty=allow_empty)
    if groups is not None and (lacking := [name for name in names if name not in groups]):
        raise InputError(f"captions: {len(lacking)} clips without a group (first: {lacking[0]!r})")
    counts = np.stack([bleu_counts(p, r) for p, r in zip(own, theirs, strict=True)])
    means = {
        "ROUGE-L": np.array([rouge_l(p, r) for p, r in zip(own, theirs, strict=True)]),
        "CIDEr-D": cider_d(own, theirs),
    }
    codes = None if groups is None else [groups[name] for name in names]
    found: list[CaptionScore] = []
    for order in range(1, ORDERS + 1):
        interval = bootstrap_sums(
            counts,
            lambda sums, order=order: bleu_from_counts(sums, order),
            codes,
            rng=rng,
            level=level,
            samples=samples,
        )
        value = float(bleu_from_counts(counts.sum(axis=0), order))
        found.append(CaptionScore(f"BLEU-{order}", value, interval, len(names)))
    for metric, values in means.items():
        found.append(mean_score(metric, values, codes, rng=rng, level=level, samples=samples))
    return found


def mean_score(
    metric: str,
    values: NDArray[np.float64],
    groups: Sequence[str] | None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 2000,
) -> CaptionScore:
    """Mean of one score per clip ``(N,)`` with its bootstrap interval."""
    table = np.stack([values, np.ones_like(values)], axis=1)
    interval = bootstrap_sums(
        table, lambda s: s[:, 0] / s[:, 1], groups, rng=rng, level=level, samples=samples
    )
    return CaptionScore(metric, float(values.mean()), interval, len(values))


def tokenized_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    allow_empty: bool = False,
) -> tuple[list[str], list[tuple[str, ...]], list[list[tuple[str, ...]]]]:
    """Clips in the references' order, tokens of their predictions and of their references.

    Raises:
        InputError: no clips, clips that only one of the two holds, a clip without references, a
            text without a word (predictions only where ``allow_empty`` is not set).
    """
    if not references:
        raise InputError("captions: no references")
    missing = [name for name in references if name not in predictions]
    if missing:
        raise InputError(
            f"captions: {len(missing)} of {len(references)} clips have no prediction (first: "
            f"{missing[0]!r}); caption them all, or leave them out of the references on purpose"
        )
    unknown = [name for name in predictions if name not in references]
    if unknown:
        raise InputError(
            f"captions: {len(unknown)} predictions have no reference (first: {unknown[0]!r}); "
            "give the references that belong to them"
        )
    names = list(references)
    own = [caption_tokens(predictions[name]) for name in names]
    empty = [name for name, tokens in zip(names, own, strict=True) if not tokens]
    if empty and not allow_empty:
        raise InputError(
            f"captions: {len(empty)} predictions hold no word (first: {empty[0]!r}); make them "
            "again, or allow empty ones to count as wrong"
        )
    theirs = [[caption_tokens(text) for text in references[name]] for name in names]
    for name, group in zip(names, theirs, strict=True):
        if not group or not all(group):
            raise InputError(
                f"captions: clip {name!r} has {'an empty reference' if group else 'no references'}"
            )
    return names, own, theirs


def _ngrams(tokens: Tokens) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(tokens[i : i + n]) for n in range(1, ORDERS + 1) for i in range(len(tokens) - n + 1)
    )


def _norm(weights: Mapping[tuple[str, ...], float]) -> float:
    return math.sqrt(sum(weight * weight for weight in weights.values()))


def _common_length(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence."""
    line = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, start=1):
            above = line[j]
            line[j] = before + 1 if word == other else max(above, line[j - 1])
            before = above
    return line[-1]
