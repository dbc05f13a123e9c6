from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.splits import zero_shot_split
from ski_eval import gzsl
from ski_skeleton.errors import ConfigError
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.zeroshot import protocol
from ski_skeleton.zeroshot.protocol import ClassSplit, LeakError, ProtocolConfig

UNSEEN = (0, 6, 12, 18, 24)
RULE = TrainRule(subjects=(0, 1, 2, 3, 4))


@pytest.fixture
def split(classes):
    seen = tuple(k for k in range(30) if k not in UNSEEN)
    return ClassSplit("own", classes[0], seen, UNSEEN, "0" * 64)


def test_clips_are_divided_by_class_and_person(clips, split):
    rows = protocol.divide(clips, split, RULE, "test")
    assert not np.isin(clips.labels[rows.train], UNSEEN).any()
    assert (clips.subjects[rows.train] < 5).all()
    assert (clips.subjects[rows.test_seen] >= 5).all()
    assert (clips.subjects[rows.test_unseen] >= 5).all()
    assert np.isin(clips.labels[rows.test_unseen], UNSEEN).all()
    whole = protocol.divide(clips, split, RULE, "all").test_unseen
    assert len(whole) == 2 * len(rows.test_unseen)


def test_clips_are_divided_by_a_further_column(clips, split):
    styled = replace(clips, columns={"style": clips.subjects % 3})
    rows = protocol.divide(styled, split, TrainRule(where={"style": (0, 2)}), "test")
    assert set(styled.columns["style"][rows.train]) == {0, 2}
    assert set(styled.columns["style"][rows.test_unseen]) == {1}
    with pytest.raises(InputError, match="no column 'take'"):
        protocol.divide(styled, split, TrainRule(where={"take": (1,)}), "test")


@pytest.mark.parametrize(
    ("changed", "rule", "text"),
    [
        ({"subjects": -1}, RULE, "subject of clip clip0 is not known"),
        ({}, TrainRule(cameras=(1,)), "camera of clip"),
        ({}, TrainRule(subjects=(77,)), "no clips for train"),
        ({"labels": 1}, RULE, "no clips for test_unseen"),
    ],
)
def test_parts_that_would_be_empty(clips, split, changed, rule, text):
    changed = {k: np.full(len(clips), v) for k, v in changed.items()}
    with pytest.raises(InputError, match=text):
        protocol.divide(replace(clips, **changed), split, rule, "test")


def test_leak_guard(split):
    seen = [split.names[k] for k in split.seen]
    assert protocol.guard_leak(seen, split, allow_unknown=False) is None
    assert protocol.guard_leak([], split, allow_unknown=False) is None
    for allow in (False, True):
        with pytest.raises(LeakError, match="verb1 noun1"):
            protocol.guard_leak([*seen, " Verb1  NOUN1 "], split, allow_unknown=allow)
    with pytest.raises(LeakError, match="does not say"):
        protocol.guard_leak(None, split, allow_unknown=False)
    mark = protocol.guard_leak(None, split, allow_unknown=True)
    assert mark == protocol.UNKNOWN_ENCODER


def test_leak_guard_knows_the_other_names_of_ntu_actions():
    published = zero_shot_split("ntu120/96-24")
    names = dict(zip(published.seen_actions, published.seen.names, strict=True))
    names |= dict(zip(published.unseen_actions, published.unseen.names, strict=True))
    other = zero_shot_split("ntu60/55-5")
    both = dict(zip(other.seen_actions, other.seen.names, strict=True))
    assert names[25] != both[25]  # one action, two names
    split = ClassSplit("ntu120/own", tuple(names[k] for k in range(1, 121)), (0, 1), (24, 3), "")
    with pytest.raises(LeakError):
        protocol.guard_leak([both[25]], split, allow_unknown=False)
    assert protocol.guard_leak([both[24]], split, allow_unknown=False) is None


def test_tuning_looks_at_no_test_class_or_person(clips, split):
    train = protocol.divide(clips, split, RULE, "test").train
    for seed in range(5):
        task = protocol.tuning_task(clips, split, train, ProtocolConfig(), seed=seed)
        assert set(task.seen) | set(task.unseen) == set(split.seen)
        assert len(task.unseen) == 5
        used = np.concatenate([task.fit, task.check_seen, task.check_unseen])
        assert sorted(used) == sorted(train)
        assert set(clips.labels[task.check_unseen]) == set(task.unseen)
        assert set(clips.labels[task.fit]) == set(task.seen)
        held = set(clips.subjects[task.check_seen])
        assert len(held) == 1
        assert not held & set(clips.subjects[task.fit])


def test_tuning_without_people_holds_clips_out(clips, split):
    nameless = replace(clips, subjects=np.full(len(clips), -1))
    task = protocol.tuning_task(
        nameless, split, np.arange(400), ProtocolConfig(pseudo_unseen=2), seed=0
    )
    assert len(task.unseen) == 2
    assert 0.15 < len(task.check_seen) / (len(task.check_seen) + len(task.fit)) < 0.25


@pytest.mark.parametrize(("seen", "config"), [(3, {}), (9, {"pseudo_unseen": 8})])
def test_too_few_seen_classes_to_tune_on(clips, split, seen, config):
    few = split._replace(seen=split.seen[:seen])
    with pytest.raises(InputError, match="at least two must stay"):
        protocol.tuning_task(clips, few, np.arange(50), ProtocolConfig(**config), seed=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_no_factor_is_better_than_the_best(seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(4, size=20)])
    logits = rng.normal(size=(24, 4)) + 1.5 * np.eye(4)[labels] + [2, 0, 2, 0]
    factor, harmonic = protocol.best_factor(logits, labels, [1, 3])
    assert gzsl(logits, labels, [1, 3], factor).harmonic == harmonic
    tries = [gzsl(logits, labels, [1, 3], float(f)).harmonic for f in np.linspace(-9, 9, 60)]
    assert harmonic >= max(tries) - 1e-12


def test_temperature_is_tried_and_used():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    logits = rng.normal(size=(40, 4)) + np.eye(4)[labels]
    found = protocol.calibrate(logits, labels, [0, 1], (0.1, 1.0))
    assert found.temperature in (0.1, 1.0)
    scores = found.apply(logits, [0, 1])
    soft = np.exp(logits / found.temperature)
    soft /= soft.sum(1, keepdims=True)
    assert np.allclose(scores[:, 0], soft[:, 0])
    assert np.allclose(scores[:, 2], soft[:, 2] - found.factor)
    assert protocol.calibrate(logits, labels, [0, 1]).temperature is None


@given(st.integers(2, 40), st.integers(0, 99))
def test_derangements_move_everything(count, seed):
    order = protocol.derangement(count, np.random.default_rng(seed))
    assert sorted(order) == list(range(count))
    assert (order != np.arange(count)).all()


@pytest.mark.parametrize(
    "wrong", [{"pseudo_unseen": 1}, {"holdout": 1.0}, {"temperatures": (0.0,)}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ProtocolConfig(**wrong)
