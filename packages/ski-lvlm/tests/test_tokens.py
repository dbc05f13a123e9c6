from __future__ import annotations

import pytest
import torch

from ski_lvlm.errors import TokenError
from ski_lvlm.tokens import (
    ADDED_TOKENS,
    BOUNDARY_TOKENS,
    TokenStyle,
    added_token_ids,
    expand_placeholders,
    splice,
    with_boundary_rows,
)

BASE = 10
IDS = added_token_ids(BASE)
V, P = IDS["<vid_patch>"], IDS["<pose_patch>"]
VS, VE, PS, PE = (IDS[f"<{t}>"] for t in ("vid_start", "vid_end", "pose_start", "pose_end"))


@pytest.mark.golden
def test_tokens_of_the_published_models(golden):
    case, _ = golden("lvlm_prompt")
    first = case["vocabulary"] - len(ADDED_TOKENS)
    assert added_token_ids(first) == case["added_tokens"]
    assert added_token_ids(32003)["<pose_end>"] == 32011
    assert len(BOUNDARY_TOKENS) == 6


def test_styles_of_placeholders():
    text = "<video><pose> Q"
    assert expand_placeholders(text, 1, 1) == (
        "<vid_start><vid_patch><vid_end><pose_start><pose_patch><pose_end> Q"
    )
    assert expand_placeholders(text, 2, 0, TokenStyle(framed=False, named=True)) == (
        " video: <vid_patch><vid_patch> Q"
    )


def test_features_without_start_and_end():
    ids = torch.tensor([[1, V, V, P, 2]])
    video, skeleton = torch.randn(1, 2, 4), torch.randn(1, 1, 4)
    result = splice(torch.zeros(1, 5, 4), ids, (video, skeleton), BASE)
    assert torch.equal(result[0, 1:4], torch.cat([video[0], skeleton[0]]))


@pytest.mark.parametrize(
    ("text", "counts"),
    [("no place", (3, 0)), ("<video> <video>", (3, 0)), ("<video>", (3, 2)), ("<pose>", (0, -1))],
)
def test_placeholders_that_do_not_fit(text, counts):
    with pytest.raises(TokenError, match=r"<(video|pose)>"):
        expand_placeholders(text, *counts)


def prompt(*ids):
    return torch.tensor([ids])


def test_splice_in_either_order():
    for ids in ((1, VS, V, V, VE, 2, PS, P, PE, 3), (1, PS, P, PE, 2, VS, V, V, VE, 3)):
        embeddings = torch.randn(1, len(ids), 4)
        video, skeleton = torch.randn(1, 2, 4), torch.randn(1, 1, 4)
        result = splice(embeddings, prompt(*ids), (video, skeleton), BASE)
        at = torch.tensor(ids)
        assert torch.equal(result[0, at == V], video[0])
        assert torch.equal(result[0, at == P], skeleton[0])
        text = (at != V) & (at != P)
        assert torch.equal(result[0, text], embeddings[0, text])


def test_splice_of_prompts_with_and_without():
    ids = torch.tensor([[VS, V, VE, 1], [1, 2, 3, 4]])
    embeddings = torch.randn(2, 4, 3)
    result = splice(embeddings, ids, ([torch.zeros(1, 3), None], None), BASE)
    assert not result[0, 1].any()
    assert torch.equal(result[1], embeddings[1])
    assert torch.equal(splice(embeddings[1:], ids[1:], (None, None), BASE), embeddings[1:])


@pytest.mark.parametrize(
    ("ids", "rows", "word"),
    [
        ((VS, V, VE), 2, "1 video patch tokens for 2"),
        ((VS, V, VE), 0, "1 video patch tokens for 0"),
        ((1, 2, 3), 1, "0 video patch tokens for 1"),
        ((VS, V, V), 2, "cut"),
        ((VS, V, VE, VS, V, VE), 1, "2 video start"),
        ((VS, V, 1, V, VE), 2, "without a gap"),
        ((V, VS, VE), 1, "without a gap"),
        ((VE, V, VS), 1, "without a gap"),
    ],
)
def test_spans_that_do_not_fit(ids, rows, word):
    video = [torch.randn(rows, 4)] if rows else None
    with pytest.raises(TokenError, match=word):
        splice(torch.randn(1, len(ids), 4), prompt(*ids), (video, None), BASE)


def test_shapes_that_do_not_fit():
    ids = prompt(VS, V, VE)
    with pytest.raises(TokenError, match="4 wide"):
        splice(torch.randn(1, 3, 4), ids, (torch.randn(1, 1, 5), None), BASE)
    with pytest.raises(TokenError, match="wanted"):
        splice(torch.randn(1, 4, 4), ids, (None, None), BASE)
    with pytest.raises(TokenError, match="2 for 1 prompts"):
        splice(torch.randn(1, 3, 4), ids, (torch.randn(2, 1, 4), None), BASE)


def test_gradients_reach_features_and_boundary_rows_alone():
    ids = prompt(1, VS, V, V, VE, 2)
    table = torch.randn(1, 6, 4, requires_grad=True)
    rows = torch.randn(6, 4, requires_grad=True)
    video = torch.randn(1, 2, 4, requires_grad=True)
    embeddings = with_boundary_rows(table.detach(), ids, rows, BASE)
    splice(embeddings, ids, (video, None), BASE).sum().backward()
    assert table.grad is None
    assert torch.equal(video.grad, torch.ones_like(video))
    used = [token in ("<vid_start>", "<vid_end>") for token in BOUNDARY_TOKENS]
    assert torch.equal(rows.grad, torch.tensor(used, dtype=torch.float32)[:, None].expand(6, 4))
