"""Orders depend on seed and epoch alone; balanced ones give every class its share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.orders import epoch_order


@given(st.integers(0, 50), st.integers(0, 9), st.integers(0, 9))
def test_a_permutation_of_its_own(length, seed, epoch):
    order = epoch_order(length, seed=seed, epoch=epoch)
    assert sorted(order) == list(range(length))
    np.testing.assert_array_equal(order, epoch_order(length, seed=seed, epoch=epoch))


def test_epochs_and_seeds_differ():
    orders = [epoch_order(40, seed=s, epoch=e).tolist() for s in (0, 1) for e in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@given(st.lists(st.sampled_from([0, 2, 3, 9]), min_size=0, max_size=60), st.integers(0, 5))
def test_balanced(labels, epoch):
    labels = np.array(labels, np.int64)
    order = epoch_order(len(labels), seed=3, epoch=epoch, labels=labels)
    assert order.shape == labels.shape
    if len(labels):
        classes = np.unique(labels)
        counts = np.array([(labels[order] == k).sum() for k in classes])
        assert counts.max() - counts.min() <= 1
    for label in set(labels.tolist()):
        times = np.bincount(order, minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1


def test_wrong_labels():
    with pytest.raises(InputError, match="3 labels"):
        epoch_order(3, seed=0, epoch=0, labels=np.array([0, 1]))
    with pytest.raises(InputError, match="labels from 0"):
        epoch_order(2, seed=0, epoch=0, labels=np.array([0, -1]))
    with pytest.raises(InputError, match="from 0"):
        epoch_order(2, seed=-1, epoch=0)
