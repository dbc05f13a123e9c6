from __future__ import annotations

import pytest
import torch
from tiny_run import TINY_CLIP

from ski_skeleton.errors import ConfigError
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import (
    SkeletonClip,
    SkeletonClipConfig,
    official_preset,
    paper_preset,
)
from ski_skeleton.text import ClipConfig

CLIP = ClipConfig(architecture=None, sizes=TINY_CLIP)
CONFIG = SkeletonClipConfig(HyperformerConfig(heads=1, strides=(2,), output=16), CLIP)
NAMES = ["sit down", "stand up", "clap"]


def test_paper_logits_are_cosines_over_temperature():
    model = SkeletonClip(paper_preset(CONFIG)).eval()
    logits = model.logits(torch.randn(4, 3, 8, 25, 2), NAMES)
    assert logits.shape == (4, 3)
    assert logits.abs().max() <= 100 * (1 + 1e-5)


def test_official_logits_keep_the_embedding_length():
    model = SkeletonClip(official_preset(CONFIG)).eval()
    clips = torch.randn(2, 3, 8, 25, 2)
    with torch.no_grad():
        text = model.text.unit_text([f"a photo of a {name}." for name in NAMES])
        torch.testing.assert_close(model.logits(clips, NAMES), model.embed(clips) @ text.T)


@pytest.mark.parametrize(("preset", "trains"), [(paper_preset, False), (official_preset, True)])
def test_which_text_tower_trains(preset, trains):
    model = SkeletonClip(preset(CONFIG)).train()
    assert model.text.training is trains
    assert any(p.requires_grad for p in model.text.parameters()) is trains


def test_head_must_fit_the_text_width():
    wrong = SkeletonClipConfig(HyperformerConfig(heads=1, strides=(2,), output=20), CLIP)
    with pytest.raises(ConfigError, match=r"set encoder\.output to 16"):
        SkeletonClip(wrong)


def test_bad_temperature():
    with pytest.raises(ConfigError, match="temperature"):
        SkeletonClipConfig(CONFIG.encoder, CLIP, temperature=0.0)
