"""Batches are the same whoever loads them, and balanced ones show every class equally often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import write_store

from ski_data.manifest import Record
from ski_data.paired import PairedDataset
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore
from ski_skeleton.errors import ConfigError
from ski_skeleton.train.data import epoch_batches, labels_to_balance, load


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Skeletons of five classes, of which the first has most clips."""
    store = SkeletonStore(write_store(tmp_path_factory.mktemp("data") / "store"))
    labels = store.index["label"].tolist()
    rows = [i for i, label in enumerate(labels) if label == 0 or i % 4 == 0]
    records = [Record(store.names[i], label=labels[i]) for i in rows]
    feeder = FeederConfig(window=8, min_crop=4, rotation=0.3)
    return PairedDataset(records, skeletons=store, feeder=feeder, train=True, seed=4)


def epoch(source, number, workers, start=0, balanced=True):
    source.set_epoch(number)
    labels = labels_to_balance(source) if balanced else None
    batches = epoch_batches(len(source), 4, seed=1, epoch=number, labels=labels)
    return list(load(source, batches[start:], workers=workers))


def assert_same(one, other):
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_epochs(source, workers):
    whole = [epoch(source, number, 0) for number in (0, 1)]
    assert not torch.equal(whole[0][0]["skeleton"], whole[1][0]["skeleton"])
    for number in (0, 1):
        assert_same(epoch(source, number, workers), whole[number])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_in_its_middle(source, workers):
    whole = epoch(source, 3, 0)
    assert len(whole) >= 3
    assert_same(epoch(source, 3, workers, start=2), whole[2:])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 3))
def test_balanced_batches_hold_every_class_equally_often(labels, batch_size, number):
    labels = np.array(labels)
    batches = epoch_batches(len(labels), batch_size, seed=0, epoch=number, labels=labels)
    drawn = np.array([i for batch in batches for i in batch])
    counts = np.bincount(labels[drawn], minlength=4)[np.unique(labels)]
    dropped = len(labels) - len(drawn)
    assert counts.max() - counts.min() <= 1 + dropped
    assert dropped < batch_size


def test_without_labels_the_order_is_the_permutation():
    order = np.random.default_rng([3, 1]).permutation(12).tolist()
    batches = epoch_batches(12, 4, seed=3, epoch=1)
    assert [i for batch in batches for i in batch] == order


class Unlabelled:
    def __len__(self):
        return 2


class Partly(Unlabelled):
    labels = np.array([0, -1])


def test_balance_needs_labels():
    with pytest.raises(ConfigError, match="needs a data set with labels"):
        labels_to_balance(Unlabelled())
    with pytest.raises(ConfigError, match="every sample; 1 has none"):
        labels_to_balance(Partly())
