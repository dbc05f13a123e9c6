from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_skeleton.convert.shift_gcn import shift_gcn_constants, shift_gcn_table
from ski_skeleton.convert.stgcn import stgcn_constants, stgcn_table
from ski_skeleton.convert.table import from_published, to_published, without_constants
from ski_skeleton.encoders import build_encoder
from ski_skeleton.errors import CheckpointError
from ski_skeleton.shift_gcn import ShiftGcnConfig
from ski_skeleton.stgcn import StgcnConfig

KINDS = {
    "stgcn": (StgcnConfig, stgcn_table, stgcn_constants),
    "shift_gcn": (ShiftGcnConfig, shift_gcn_table, shift_gcn_constants),
}


@settings(max_examples=10, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    blocks=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=3),
    persons=st.integers(1, 2),
    layout=st.sampled_from(["kinect25", "coco17"]),
    output=st.sampled_from([None, 5]),
)
def test_round_trip(kind, blocks, persons, layout, output):
    make, table_of, constants_of = KINDS[kind]
    channels, strides = zip(*blocks, strict=True)
    config = make(channels=channels, strides=strides, persons=persons, layout=layout, output=output)
    state = build_encoder(config).state_dict()
    table = table_of(config)
    assert {entry.name for entry in table} == set(state)
    published = to_published(table, state, "ours")
    assert not any(key.startswith("blocks") for key in published)
    whole = {**published, **constants_of(config)}
    assert len(whole) == len(published) + len(constants_of(config))
    back = from_published(table, without_constants(whole, constants_of(config), "x"), "theirs")
    assert all(torch.equal(back[k], v) for k, v in state.items())


def test_constants_may_be_absent_and_nearly_zero():
    config = ShiftGcnConfig(channels=(4,), strides=(1,))
    constants = shift_gcn_constants(config)
    rest = {"w": torch.ones(1)}
    assert without_constants(rest, constants, "x") == rest
    name = "l1.tcn1.shift_in.xpos"
    assert without_constants({**rest, name: torch.full((4,), -1e-8)}, constants, "x") == rest


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("stgcn", "A", torch.ones(3, 25, 25)),
        ("stgcn", "A", torch.ones(3, 18, 18)),
        ("shift_gcn", "l1.gcn1.shift_in", torch.arange(75)),
        ("shift_gcn", "l1.gcn1.shift_out", torch.arange(3)),
        ("shift_gcn", "l1.tcn1.shift_in.xpos", torch.full((4,), 0.1)),
    ],
)
def test_other_constants_are_another_model(kind, name, value):
    make, _, constants_of = KINDS[kind]
    constants = constants_of(make(channels=(4,), strides=(1,)))
    assert name in constants
    with pytest.raises(CheckpointError, match=rf"file\.pth: {name} is not the constant"):
        without_constants({name: value}, constants, "file.pth")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_foreign_checkpoint_is_refused(kind):
    make, table_of, _ = KINDS[kind]
    config = make(channels=(4,), strides=(1,), output=None)
    table = table_of(config)
    published = to_published(table, build_encoder(config).state_dict(), "ours")
    with pytest.raises(CheckpointError, match="unknown"):
        from_published(table, {**published, "extra": torch.ones(1)}, "file.pth")
    with pytest.raises(CheckpointError, match="missing"):
        from_published(table, {k: published[k] for k in list(published)[1:]}, "file.pth")
