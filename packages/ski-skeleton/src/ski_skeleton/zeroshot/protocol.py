"""Zero-shot protocols: who trains and tests, leak guard, and calibration without test classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ski_data.errors import InputError
from ski_data.splits import dataset_classes, split_names, zero_shot_split
from ski_eval.accuracy import calibrated, gzsl
from ski_skeleton.errors import ConfigError
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.gate import softmax

UNKNOWN_ENCODER = "the encoder does not say which classes it was trained on: unseen may be seen"
PSEUDO_SEEN = (
    "tuned on pseudo-unseen classes that the encoder was trained on; an encoder per tuning split "
    "would be stricter"
)
BEST_ON_TEST = "best-on-test"


class LeakError(InputError):
    """A zero-shot run whose encoder has seen an unseen class, or does not say."""


@dataclass(frozen=True)
class ProtocolConfig:
    """How a method is measured."""

    generalised: bool = True
    """Measure with all classes as candidates too (S, U, H); trains a second time, for tuning."""
    unseen_clips: Literal["test", "all"] = "test"
    """Clips of unseen classes that test: those of the test side, or all."""
    pseudo_unseen: int | None = None
    """Seen classes held out to tune; None: as many as are unseen, at most half of the seen."""
    holdout: float = 0.2
    """Share of the other seen classes' training clips held out to tune, by person if known."""
    temperatures: tuple[float, ...] = ()
    """Divide the scores before a softmax that is calibrated; tried one by one. Empty: the scores
    themselves are calibrated."""
    best_on_test: bool = False
    """Also print H with the factor chosen on the test set, under that label."""
    allow_unknown_encoder: bool = False
    """Go on, with a mark on every result, if the encoder does not say what trained it."""
    permute_names: int | None = None
    """Seed of a permutation of the class texts, none staying in place: the null of any method."""

    def __post_init__(self) -> None:
        wrong = []
        if self.pseudo_unseen is not None and self.pseudo_unseen < 2:
            wrong.append(f"pseudo_unseen must be at least 2, got {self.pseudo_unseen}")
        if not 0 < self.holdout < 1:
            wrong.append(f"holdout must be within 0..1, got {self.holdout}")
        if any(t <= 0 for t in self.temperatures):
            wrong.append(f"temperatures must be positive, got {self.temperatures}")
        if wrong:
            raise ConfigError("protocol: " + "; ".join(wrong))


class ClassSplit(NamedTuple):
    """Classes of a run."""

    name: str
    names: tuple[str, ...]
    """Of all classes, as their texts are made: ``(K,)``."""
    seen: tuple[int, ...]
    unseen: tuple[int, ...]
    hash: str


class Rows(NamedTuple):
    """Clips of a run, as positions."""

    train: NDArray[np.int64]
    """Seen classes, training side."""
    test_seen: NDArray[np.int64]
    """Seen classes, test side."""
    test_unseen: NDArray[np.int64]


def divide(
    features: FeatureSet,
    split: ClassSplit,
    rule: TrainRule,
    unseen_clips: Literal["test", "all"],
) -> Rows:
    """Which clips train and which test.

    Raises:
        InputError: a clip of unknown person (camera, setup), a column that the features do not
            have, or a part without clips.
    """
    column = features.column(rule.column)
    if (column < 0).any():
        first = features.names[int((column < 0).argmax())]
        raise InputError(f"the {rule.column} of clip {first} is not known")
    train_side = np.isin(column, rule.numbers)
    seen = np.isin(features.labels, split.seen)
    unseen = np.isin(features.labels, split.unseen)
    rows = Rows(
        np.flatnonzero(seen & train_side),
        np.flatnonzero(seen & ~train_side),
        np.flatnonzero(unseen if unseen_clips == "all" else unseen & ~train_side),
    )
    for name, part in rows._asdict().items():
        if not len(part):
            raise InputError(
                f"no clips for {name}: {rule.column}s {list(rule.numbers)} train, there are "
                f"{np.unique(column).tolist()}"
            )
    absent = sorted(set(split.seen) - set(features.labels[rows.train].tolist()))
    if absent:
        raise InputError(f"seen classes without training clips: {[split.names[k] for k in absent]}")
    return rows


def guard_leak(
    trained_on: Sequence[str] | None, split: ClassSplit, *, allow_unknown: bool
) -> str | None:
    """Refuse an encoder that has seen an unseen class; a mark for results of one that is silent.

    Names are compared without case and surrounding space; for published splits of NTU, every name
    that the label files have for an action counts.

    Raises:
        LeakError: trained on an unseen class, or silent and ``allow_unknown`` is not set.
    """
    if trained_on is None:
        if allow_unknown:
            return UNKNOWN_ENCODER
        raise LeakError(
            f"{UNKNOWN_ENCODER}; train it with this package, or set "
            "protocol.allow_unknown_encoder to go on with marked results"
        )
    known = {_key(name) for name in trained_on}
    leaked = [split.names[k] for k in split.unseen if known & _other_names(split, k)]
    if leaked:
        raise LeakError(
            f"the encoder was trained on {leaked}, which this run calls unseen; train it on the "
            "seen classes only"
        )
    return None


def _key(name: str) -> str:
    return " ".join(name.lower().split())


def _other_names(split: ClassSplit, label: int) -> set[str]:
    """All names of a class; NTU's label files differ in a few words."""
    names = {_key(split.names[label])}
    if split.name.partition("/")[0] in ("ntu60", "ntu120"):
        whole = dataset_classes("ntu120").names
        names |= {_key(whole[label])}
        for name in split_names():
            if name.startswith("ntu"):
                other = zero_shot_split(name)
                for classes, actions in (
                    (other.seen, other.seen_actions),
                    (other.unseen, other.unseen_actions),
                ):
                    if label + 1 in actions:
                        names.add(_key(classes.names[actions.index(label + 1)]))
    return names


class Tuning(NamedTuple):
    """Seen classes and training clips as a small zero-shot task of their own."""

    seen: tuple[int, ...]
    """Classes that stay seen."""
    unseen: tuple[int, ...]
    """Pseudo-unseen ones."""
    fit: NDArray[np.int64]
    """Clips that train."""
    check_seen: NDArray[np.int64]
    """Held-out clips of classes that stay seen."""
    check_unseen: NDArray[np.int64]


def tuning_task(
    features: FeatureSet,
    split: ClassSplit,
    train: NDArray[np.int64],
    config: ProtocolConfig,
    *,
    seed: int,
) -> Tuning:
    """Hold seen classes and training clips out; no clip of a test class or side is looked at.

    Raises:
        InputError: too few seen classes or clips.
    """
    rng = np.random.default_rng([seed, 77])
    count = config.pseudo_unseen
    if count is None:
        count = min(len(split.unseen), len(split.seen) // 2)
    if count < 2 or len(split.seen) - count < 2:
        raise InputError(
            f"{len(split.seen)} seen classes cannot be tuned on with {count} of them held out; "
            "at least two must stay on either side (or set protocol.generalised to false)"
        )
    unseen = tuple(sorted(rng.choice(split.seen, count, replace=False).tolist()))
    seen = tuple(k for k in split.seen if k not in unseen)
    labels = features.labels[train]
    rest, pseudo = train[np.isin(labels, seen)], train[np.isin(labels, unseen)]
    people = features.subjects[rest]
    groups = people if (people >= 0).all() and len(np.unique(people)) > 2 else np.arange(len(rest))
    order = rng.permutation(np.unique(groups))
    held = order[: max(1, round(config.holdout * len(order)))]
    out = np.isin(groups, held)
    if out.all() or not out.any() or not len(pseudo):
        raise InputError("too few training clips to hold some out for tuning")
    return Tuning(seen, unseen, rest[~out], rest[out], pseudo)


class Calibration(NamedTuple):
    """Factor of calibrated stacking, and the temperature of the softmax before it."""

    factor: float
    temperature: float | None

    def scores(self, logits: NDArray) -> NDArray:
        """The scores that the factor is meant for."""
        return scaled(logits, self.temperature)

    def apply(self, logits: NDArray, unseen: Sequence[int]) -> NDArray:
        """Calibrated scores ``(N, K)``, the seen columns lowered by the factor."""
        return calibrated(self.scores(logits), unseen, self.factor)


def scaled(logits: NDArray, temperature: float | None) -> NDArray:
    """Scores as they are, or their softmax over all classes at a temperature."""
    return logits if temperature is None else softmax(np.asarray(logits) / temperature)


def best_factor(logits: NDArray, labels: NDArray, unseen: Sequence[int]) -> tuple[float, float]:
    """The factor with the best H, and that H; of equal ones the one in the middle.

    S and U change only where the best seen score passes the best unseen one of a sample, so all
    factors between two such gaps are alike and one of each interval is tried.
    """
    scores = np.asarray(logits, np.float64)
    mask = np.isin(np.arange(scores.shape[1]), unseen)
    gaps = np.unique(scores[:, ~mask].max(1) - scores[:, mask].max(1))
    margin = max(float(np.ptp(gaps)), 1e-6) * 0.05
    tries = np.concatenate([[gaps[0] - margin], (gaps[1:] + gaps[:-1]) / 2, [gaps[-1] + margin]])
    if len(tries) > 400:
        tries = tries[np.linspace(0, len(tries) - 1, 400).round().astype(int)]
    found = np.array([gzsl(scores, labels, unseen, float(t)).harmonic for t in tries])
    equal = np.flatnonzero(found >= found.max() - 1e-12)
    return float(tries[equal[len(equal) // 2]]), float(found.max())


def calibrate(
    logits: NDArray, labels: NDArray, unseen: Sequence[int], temperatures: Sequence[float] = ()
) -> Calibration:
    """Factor (and temperature) with the best H on samples of a tuning task.

    Args:
        logits: ``(N, K)`` over the tuning task's classes.
        labels: ``(N,)``.
        unseen: the pseudo-unseen columns.
        temperatures: tried one by one; none calibrates the scores themselves.
    """
    tried = []
    for temperature in temperatures or (None,):
        factor, harmonic = best_factor(scaled(logits, temperature), labels, unseen)
        tried.append((harmonic, Calibration(factor, temperature)))
    return max(tried, key=lambda pair: pair[0])[1]


def derangement(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random permutation that leaves nothing in place.

    Raises:
        InputError: fewer than two things.
    """
    if count < 2:
        raise InputError("a permutation needs at least two classes")
    while True:
        order = rng.permutation(count)
        if (order != np.arange(count)).all():
            return order
