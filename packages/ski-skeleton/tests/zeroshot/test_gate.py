from __future__ import annotations

import numpy as np
import pytest

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.gate import (
    Gate,
    GateConfig,
    gate_features,
    gated_scores,
    logistic_regression,
    sigmoid,
    softmax,
    tune_gate,
)


def test_features_are_the_largest_of_each_side():
    prob = np.array([[0.2, 0.7, 0.1]])
    logits = np.log([[0.1, 0.2, 0.3, 0.4]])
    found = gate_features(prob, logits, 1.0, 2)
    assert np.allclose(found, [[0.7, 0.2, 0.4, 0.3]])
    hot = gate_features(prob, logits, 2.0, 2)[0, 2:]
    root = np.sqrt([0.1, 0.2, 0.3, 0.4])
    assert np.allclose(hot, [root[3] / root.sum(), root[2] / root.sum()])
    with pytest.raises(ConfigError, match="4 seen and unseen"):
        gate_features(prob, logits, 1.0, 4)


def test_regression_meets_its_optimality_condition():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = x[:, 0] + 0.5 * rng.normal(size=60) > 0
    weight, bias = logistic_regression(x, y, penalty=2.0)
    residual = sigmoid(x @ weight + bias) - y
    assert np.abs(weight + 2.0 * x.T @ residual).max() < 1e-2
    assert abs(residual.sum()) < 1e-2
    with pytest.raises(ConfigError, match="of seen and of unseen"):
        logistic_regression(x, np.ones(60, bool))


def test_rules_agree_at_one_half_alone():
    rng = np.random.default_rng(1)
    prob, logits = softmax(rng.normal(size=(200, 3))), rng.normal(size=(200, 5))
    weight = rng.normal(size=4)
    for threshold, same in ((0.5, True), (0.7, False)):
        answers = [
            Gate(weight, 0.1, 2.0, threshold, rule).is_seen(prob, logits)
            for rule in ("consistent", "official")
        ]
        assert (answers[0] == answers[1]).all() == same


def test_the_gate_decides_and_its_branch_answers():
    prob = np.array([[0.9, 0.1], [0.4, 0.6]])
    logits = np.log([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1]])
    always = Gate(np.zeros(2), 9.0, 1.0, 0.5)
    never = Gate(np.zeros(2), -9.0, 1.0, 0.5)
    seen, unseen = [0, 2, 4], [1, 3]
    assert gated_scores(always, prob, logits, seen, unseen).argmax(1).tolist() == [4, 2]
    assert gated_scores(never, prob, logits, seen, unseen).argmax(1).tolist() == [1, 3]
    # even where the other branch is sure
    assert gated_scores(always, np.eye(2), logits * 0, seen, unseen).argmax(1).tolist() == [0, 0]


def test_tuning_tells_sharp_from_flat():
    rng = np.random.default_rng(2)
    seen = np.arange(80) < 40
    logits = rng.normal(size=(80, 6))
    logits[seen, rng.integers(6, size=40)] += 8
    prob = softmax(rng.normal(size=(80, 3)) + np.where(seen, 0, 8)[:, None] * np.eye(3)[0])
    gate = tune_gate(prob, logits, seen, GateConfig(), rng=np.random.default_rng(0))
    assert (gate.is_seen(prob, logits) == seen).mean() > 0.95
    assert gate.threshold == 0.5  # of equally good ones
    with pytest.raises(ConfigError, match="two samples"):
        tune_gate(prob, logits, np.ones(80, bool), GateConfig(), rng=rng)


@pytest.mark.parametrize("wrong", [{"temperatures": ()}, {"thresholds": (1.5,)}, {"penalty": 0.0}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GateConfig(**wrong)
