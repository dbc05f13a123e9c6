"""The seen-or-unseen gate of SynSE's generalised recognition.

A logistic regression on sorted probabilities of an unseen-class head and of a seen-class
classifier says whether a sample is of a seen class; the answer is then that branch's best class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ski_skeleton.errors import ConfigError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GateConfig:
    """How the gate is tuned, on seen classes held out as pseudo-unseen ones."""

    temperatures: tuple[float, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Divide the seen logits before the softmax."""
    thresholds: tuple[float, ...] = tuple(i / 100 for i in range(25, 75))
    rule: Literal["consistent", "official"] = "consistent"
    """``official`` tunes P(unseen) > threshold, but then takes 1 - P(unseen) > threshold as seen,
    as released; the two agree at 0.5 alone."""
    penalty: float = 1.0
    """Inverse strength C of the regression's squared penalty on the weights."""

    def __post_init__(self) -> None:
        if not self.temperatures or min(self.temperatures) <= 0:
            raise ConfigError(f"gate: temperatures must be positive, got {self.temperatures}")
        if not self.thresholds or not 0 < min(self.thresholds) <= max(self.thresholds) < 1:
            raise ConfigError(f"gate: thresholds must be within 0..1, got {self.thresholds}")
        if self.penalty <= 0:
            raise ConfigError(f"gate: penalty must be positive, got {self.penalty}")


@dataclass(frozen=True, eq=False)
class Gate:
    """A fitted gate."""

    weight: Array
    """``(2f,)``: of the f largest unseen probabilities, then of the f largest seen ones."""
    bias: float
    temperature: float
    threshold: float
    rule: Literal["consistent", "official"] = "consistent"

    def seen_probability(self, unseen_prob: NDArray, seen_logits: NDArray) -> Array:
        """P(seen) ``(N,)`` from unseen probabilities ``(N, U)`` and seen logits ``(N, S)``."""
        x = gate_features(unseen_prob, seen_logits, self.temperature, len(self.weight) // 2)
        return sigmoid(x @ self.weight + self.bias)

    def is_seen(self, unseen_prob: NDArray, seen_logits: NDArray) -> NDArray[np.bool_]:
        """Whether each sample ``(N,)`` is taken as one of a seen class."""
        seen = self.seen_probability(unseen_prob, seen_logits)
        if self.rule == "official":
            return seen > self.threshold
        return 1 - seen <= self.threshold


def softmax(logits: NDArray) -> Array:
    """Row-wise softmax in float64."""
    x = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True))
    return x / x.sum(1, keepdims=True)


def sigmoid(x: NDArray) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, np.float64)))


def gate_features(
    unseen_prob: NDArray, seen_logits: NDArray, temperature: float, count: int
) -> Array:
    """``(N, 2 count)``: the largest unseen probabilities, then the largest seen ones, descending.

    Raises:
        ConfigError: fewer than ``count`` classes on a side.
    """
    sides = [np.asarray(unseen_prob, np.float64), softmax(np.asarray(seen_logits) / temperature)]
    if min(side.shape[1] for side in sides) < count:
        raise ConfigError(f"the gate needs {count} seen and unseen classes")
    return np.concatenate([-np.sort(-side, axis=1)[:, :count] for side in sides], axis=1)


def logistic_regression(x: NDArray, y: NDArray, *, penalty: float = 1.0) -> tuple[Array, float]:
    """Weights ``(D,)`` and bias of P(y = 1) for ``x`` ``(N, D)``; squared penalty of strength 1/C.

    Raises:
        ConfigError: only one of the two values in ``y``.
    """
    from sklearn.linear_model import LogisticRegression

    y = np.asarray(y, bool)
    if y.all() or not y.any():
        raise ConfigError("the gate needs samples of seen and of unseen classes")
    model = LogisticRegression(C=penalty, max_iter=1000).fit(np.asarray(x, np.float64), y)
    return model.coef_[0], float(model.intercept_[0])


def tune_gate(
    unseen_prob: NDArray,
    seen_logits: NDArray,
    seen: NDArray[np.bool_],
    config: GateConfig,
    *,
    rng: np.random.Generator,
) -> Gate:
    """Fit and tune a gate on pseudo-unseen and seen samples, none of them of a test class.

    Half of the samples of either kind fit the regression, the others choose temperature and
    threshold by accuracy (the mean of both kinds' accuracies).

    Args:
        unseen_prob: ``(N, U)`` of the head for the pseudo-unseen classes.
        seen_logits: ``(N, S)`` of the classifier of the classes that stayed seen.
        seen: ``(N,)`` whether a sample is of a class that stayed seen.
        config: grid and rule.
        rng: of the halves.

    Raises:
        ConfigError: fewer than two samples of a kind.
    """
    seen = np.asarray(seen, bool)
    half = np.zeros(len(seen), bool)
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(seen == kind))
        if len(rows) < 2:
            raise ConfigError("tuning the gate needs two samples of seen and of unseen classes")
        half[rows[: len(rows) // 2]] = True
    count = min(unseen_prob.shape[1], seen_logits.shape[1])
    best: tuple[float, float] = (-1.0, 0.0)
    chosen: Gate | None = None
    for temperature in config.temperatures:
        x = gate_features(unseen_prob, seen_logits, temperature, count)
        weight, bias = logistic_regression(x[half], seen[half], penalty=config.penalty)
        unseen = 1 - sigmoid(x[~half] @ weight + bias)
        truth = ~seen[~half]
        for threshold in config.thresholds:
            answer = unseen > threshold
            accuracy = 0.5 * (answer[truth].mean() + (~answer[~truth]).mean())
            key = (float(accuracy), -abs(threshold - 0.5))  # of equal ones the nearest to 0.5
            if key > best:
                best = key
                chosen = Gate(weight, bias, float(temperature), float(threshold), config.rule)
    assert chosen is not None
    return chosen


def gated_scores(
    gate: Gate, unseen_prob: NDArray, seen_logits: NDArray, seen: list[int], unseen: list[int]
) -> Array:
    """Scores ``(N, K)`` over all classes whose best column is the gate's answer.

    Probabilities of each branch, plus one in the branch that the gate takes.

    Args:
        gate: fitted.
        unseen_prob: ``(N, U)``.
        seen_logits: ``(N, S)``.
        seen: column of the result for each of the S.
        unseen: the same for the U.
    """
    is_seen = gate.is_seen(unseen_prob, seen_logits)
    scores = np.zeros((len(is_seen), len(seen) + len(unseen)))
    scores[:, seen] = softmax(np.asarray(seen_logits) / gate.temperature) + is_seen[:, None]
    scores[:, unseen] = np.asarray(unseen_prob, np.float64) + ~is_seen[:, None]
    return scores
