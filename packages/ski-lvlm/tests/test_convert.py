from __future__ import annotations

import pytest
import torch

from ski_lvlm.convert import EMBEDDING, from_published_file, to_published_state
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_skeleton.errors import CheckpointError


@pytest.fixture
def published():
    return {
        "model.mm_projector.weight": torch.randn(8, 6),
        "model.mm_projector.bias": torch.randn(8),
        "model.mm_projector_forpose.weight": torch.randn(8, 5),
        "model.mm_projector_forpose.bias": torch.randn(8),
    }


@pytest.mark.parametrize("names", [4, 2])
def test_round_trip(published, names):
    state = dict(list(published.items())[:names])
    projectors = from_published_file(state, "file")
    assert projectors.config == ProjectorConfig(
        8, 6, 5 if names == 4 else None, boundary_rows=False
    )
    assert torch.equal(projectors.video.weight, state["model.mm_projector.weight"])
    back = to_published_state(projectors)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[k], state[k]) for k in state)


def test_round_trip_of_ours():
    ours = Projectors(ProjectorConfig(4, 3, 2, layers=3, boundary_rows=False))
    again = from_published_file(to_published_state(ours), "file")
    assert again.config == ours.config
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in again.state_dict().items())


@pytest.mark.parametrize("added", [9, 3])
def test_rows_of_start_and_end_tokens_are_kept(published, added):
    embedding = torch.randn(20 + added, 8)
    projectors = from_published_file({**published, EMBEDDING: embedding}, "file", vocabulary=20)
    rows = projectors.boundary
    assert torch.equal(rows[0], embedding[23 if added == 9 else 21])
    assert torch.equal(rows[1], embedding[24 if added == 9 else 22])
    last = embedding[28] if added == 9 else embedding[:20].mean(0)
    torch.testing.assert_close(rows[5].data, last)
    assert EMBEDDING not in to_published_state(projectors)


def test_embedding_of_another_vocabulary(published):
    for shape in ((30, 8), (29, 7), (29,)):
        with pytest.raises(CheckpointError, match="right vocabulary"):
            from_published_file({**published, EMBEDDING: torch.zeros(shape)}, "file", vocabulary=20)


def test_wrong_entries(published):
    with pytest.raises(CheckpointError, match=r"file: .*unknown entries \(lm_head.weight\)"):
        from_published_file({**published, "lm_head.weight": torch.zeros(1)}, "file")
    with pytest.raises(CheckpointError, match=r"missing \(model.mm_projector_forpose.bias\)"):
        from_published_file(dict(list(published.items())[:3]), "file")
    with pytest.raises(CheckpointError, match=r"no model.mm_projector.weight"):
        from_published_file({"model.mm_projector.bias": torch.zeros(8)}, "file")
    with pytest.raises(CheckpointError, match="matrix"):
        from_published_file({"model.mm_projector.weight": torch.zeros(8)}, "file")
    narrow = {**published, "model.mm_projector_forpose.weight": torch.zeros(7, 5)}
    with pytest.raises(CheckpointError, match="another shape"):
        from_published_file(narrow, "file")
