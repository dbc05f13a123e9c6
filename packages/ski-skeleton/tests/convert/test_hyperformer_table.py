from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_skeleton.convert.hyperformer import OFFICIAL_HEAD, SKI_HEAD, hyperformer_table
from ski_skeleton.convert.table import from_published, to_published
from ski_skeleton.errors import CheckpointError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig


@settings(max_examples=10, deadline=None)
@given(
    heads=st.integers(1, 3),
    strides=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    persons=st.integers(1, 2),
    head=st.sampled_from([OFFICIAL_HEAD, SKI_HEAD]),
    output=st.sampled_from([None, 5]),
)
def test_round_trip(heads, strides, persons, head, output):
    config = HyperformerConfig(heads=heads, strides=tuple(strides), persons=persons, output=output)
    state = Hyperformer(config).state_dict()
    table = hyperformer_table(config, head)
    assert {entry.name for entry in table} == set(state)
    published = to_published(table, state, "ours")
    assert not any(key.startswith("blocks") for key in published)
    back = from_published(table, published, "theirs")
    assert all(torch.equal(back[k], v) for k, v in state.items())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda s: s.pop("l1.vit1.attn.alpha"), "missing"),
        (lambda s: s.update(extra=torch.ones(1)), "unknown"),
        (lambda s: s.update({"l1.vit1.attn.alpha": torch.ones(2)}), "another shape"),
    ],
)
def test_foreign_checkpoint_is_refused(change, word):
    config = HyperformerConfig(heads=1, strides=(1,), output=4)
    table = hyperformer_table(config, SKI_HEAD)
    published = to_published(table, Hyperformer(config).state_dict(), "ours")
    change(published)
    with pytest.raises(CheckpointError, match=word):
        from_published(table, published, "file.pth")


def test_head_of_the_other_class_is_refused():
    config = HyperformerConfig(heads=1, strides=(1,), output=4)
    state = Hyperformer(config).state_dict()
    published = to_published(hyperformer_table(config, OFFICIAL_HEAD), state, "ours")
    with pytest.raises(CheckpointError, match="fc2"):
        from_published(hyperformer_table(config, SKI_HEAD), published, "file.pth")
