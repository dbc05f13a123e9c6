from __future__ import annotations

import pytest
import torch

from ski_skeleton.convert.table import from_published, to_published
from ski_skeleton.errors import CheckpointError
from ski_skeleton.text import ClipConfig
from ski_vlm.convert.xclip import xclip_table
from ski_vlm.students import XClip, XClipConfig


@pytest.fixture
def model(sizes):
    return XClip(XClipConfig(clip=ClipConfig(architecture=None, sizes=sizes), frames=4))


def test_round_trip(model):
    table = xclip_table(model)
    published = to_published(table, model.state_dict(), "ours")
    assert len(published) == len(model.state_dict())
    assert {
        "token_embedding.weight",
        "visual.transformer.resblocks.1.message_attn.in_proj_weight",
        "visual.transformer.resblocks.1.attn.in_proj_weight",
        "mit.positional_embedding",
        "mit.resblocks.0.mlp.c_fc.bias",
        "prompts_visual_ln.weight",
        "prompts_visual_proj",
        "prompts_generator.alpha",
        "prompts_generator.decoder.1.cross_attn.proj.bias",
        "prompts_generator.decoder.1.mlp.3.weight",
        "prompts_generator.decoder.1.norm3.weight",
    } <= set(published)
    back = from_published(table, published, "theirs")
    assert set(back) == set(model.state_dict())
    assert all(torch.equal(back[k], v) for k, v in model.state_dict().items())


def test_a_bare_clip_is_told(model):
    published = to_published(xclip_table(model), model.state_dict(), "ours")
    new = ("mit.", "prompts_", "visual.transformer.resblocks.0.message")
    clip = {k: v for k, v in published.items() if not k.startswith(new)}
    with pytest.raises(CheckpointError, match=r"clip\.pt.*message_fc"):
        from_published(xclip_table(model), clip, "clip.pt")


def test_weights_of_other_frames_are_told(model, sizes):
    published = to_published(xclip_table(model), model.state_dict(), "ours")
    other = XClip(XClipConfig(clip=model.config.clip, frames=8))
    with pytest.raises(CheckpointError, match=r"mit\.positional_embedding.*\(1, 4, 16\)"):
        from_published(xclip_table(other), published, "xclip.pth")
