from __future__ import annotations

import pytest
import torch

from ski_skeleton.convert.published import entries_under
from ski_skeleton.convert.table import from_published, to_published
from ski_skeleton.errors import CheckpointError
from ski_skeleton.zeroshot import checkpoints
from ski_skeleton.zeroshot.smie import Smie, SmieConfig
from ski_skeleton.zeroshot.star import Star, StarConfig
from ski_skeleton.zeroshot.synse import LatentClassifier, Synse, SynseConfig

STAR = StarConfig(part_names=("a", "b"), part_joints=((0,), (1,)), attributes=5, heads=2, hidden=7)
MODELS = {
    "synse": (Synse(SynseConfig(latent=4), 7, 5), checkpoints.synse_table),
    "classifier": (LatentClassifier(4, 3, relu=True), checkpoints.synse_classifier_table),
    "smie": (Smie(SmieConfig(hidden=(9, 8)), 6, 5), checkpoints.smie_table),
    "star": (Star(STAR, 8, 6, 4), checkpoints.star_table),
    "star of one width": (Star(STAR, 6, 6, 4), checkpoints.star_table),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_covers_every_entry(name):
    model, table_of = MODELS[name]
    state = model.state_dict()
    theirs = to_published(table_of(model), state, name)
    assert not set(theirs) & set(state)
    ours = from_published(table_of(model), theirs, name)
    assert set(ours) == set(state)
    assert all(torch.equal(ours[key], value) for key, value in state.items())
    with pytest.raises(CheckpointError, match="unknown"):
        from_published(table_of(model), theirs | {"other": torch.zeros(1)}, name)
    with pytest.raises(CheckpointError, match="missing"):
        from_published(table_of(model), dict(list(theirs.items())[1:]), name)


def test_star_files_hold_an_encoder_and_entries_that_nothing_depends_on():
    state = {
        "pretraining_model.fc.weight": torch.zeros(1),
        "global_fc1.bias": torch.zeros(1),
        "body_part_index_list.3": torch.zeros(1),
        "crossmodal_align1.bias": torch.ones(2),
    }
    assert set(checkpoints.star_head_state(state)) == {"crossmodal_align1.bias"}
    found = entries_under(checkpoints.STAR_ENCODER, state, "file.pth")
    assert set(found) == {"fc.weight"}
