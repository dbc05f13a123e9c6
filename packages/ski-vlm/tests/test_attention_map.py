from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from students_of_every_kind import KINDS, of_kind

from ski_skeleton.text import ClipConfig
from ski_vlm.attention_map import attention_maps
from ski_vlm.errors import ConfigError
from ski_vlm.students import ViFiClip, ViFiClipConfig
from ski_vlm.students.transformer import Watch


@pytest.mark.parametrize("blocks", [1, 2])
def test_one_map_per_frame(student, batch, names, blocks):
    maps = attention_maps(student, batch["video"][0], names, 1, blocks=blocks)
    assert maps.shape == (4, 2, 2)
    assert maps.dtype == np.float32
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1)


def with_tower(sizes, **vision) -> ViFiClip:
    vision_cfg = {"image_size": 64, **vision}
    text_cfg = {"width": sizes.text_width, "heads": sizes.text_heads, "layers": sizes.text_layers}
    clip = CLIP(sizes.embed, vision_cfg, text_cfg)
    config = ViFiClipConfig(clip=ClipConfig(architecture=None, sizes=sizes), frames=2)
    model = ViFiClip(config, clip)
    for module in model.image.modules():  # the last norm of a block starts at zero
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight)
    return model


@pytest.mark.parametrize(
    "vision",
    [
        {"width": 4, "layers": (1, 1, 1, 1), "head_width": 32},
        {"timm_model_name": "mobilenetv3_small_050", "timm_proj": ""},
        {"timm_model_name": "convnext_atto"},
    ],
    ids=["resnet", "mobilenet", "convnext"],
)
def test_convolutional_towers_have_maps_too(sizes, names, vision):
    frames = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    maps = attention_maps(with_tower(sizes, **vision), frames, names, 0)
    assert maps.shape == (2, 4, 4)
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1)


def test_a_timm_transformer_has_no_map(sizes, names):
    model = with_tower(sizes, image_size=224, timm_model_name="vit_tiny_patch16_224")
    frames = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    with pytest.raises(ConfigError, match="VisionTransformer"):
        attention_maps(model, frames, names, 0)


def test_target_matters(student, batch, names):
    maps = [attention_maps(student, batch["video"][0], names, k) for k in range(2)]
    assert not np.allclose(*maps)


@pytest.mark.parametrize(("target", "blocks"), [(3, 1), (-1, 1), (0, 0), (0, 9)])
def test_out_of_range(student, batch, names, target, blocks):
    with pytest.raises(ConfigError):
        attention_maps(student, batch["video"][0], names, target, blocks=blocks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_every_student_has_maps(kind, sizes, batch, names, blocks):
    maps = attention_maps(of_kind(kind, sizes), batch["video"][0], names, 1, blocks=blocks)
    assert maps.shape == (4, 2, 2)
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_student_has_the_same_maps(kind, sizes, batch, names):
    model = of_kind(kind, sizes)
    before = attention_maps(model, batch["video"][0], names, 1)
    model.requires_grad_(False)
    after = attention_maps(model, batch["video"][0], names, 1)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-6)


class Nudge(Watch):
    """Adds a step to one entry of the attention it would keep."""

    def __init__(self, at, step):
        super().__init__(1)
        self.at, self.step = at, step

    def keep(self, attention):
        nudged = attention.detach().clone()
        nudged[self.at] += self.step
        self.kept.append(nudged)
        return nudged


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame", [0, 2])
def test_gradient_of_the_attention_equals_finite_differences(kind, sizes, batch, names, frame):
    model = of_kind(kind, sizes).double()
    video, text = model.normalise(batch["video"][:1]), model.encode_classes(names)[1:2]
    watch = Watch(1)
    score = model.score_tokens(model.tokens(video, watch), text).cosines[0, 0]
    (gradient,) = torch.autograd.grad(score, watch.kept)
    for at in ((frame, 1, 0, 3), (frame, 0, 0, -1), (frame, 1, 0, 0)):
        moved = [
            model.score_tokens(model.tokens(video, Nudge(at, step)), text).cosines[0, 0].item()
            for step in (1e-5, -1e-5)
        ]
        assert gradient[at].item() == pytest.approx(
            (moved[0] - moved[1]) / 2e-5, rel=1e-5, abs=1e-9
        )


@pytest.mark.parametrize("kind", KINDS)
def test_map_of_the_last_block_is_its_formula(kind, sizes, batch, names):
    model = of_kind(kind, sizes)
    video, text = model.normalise(batch["video"][:1]), model.encode_classes(names)[1:2]
    watch = Watch(1)
    score = model.score_tokens(model.tokens(video, watch), text).cosines[0, 0]
    (gradient,) = torch.autograd.grad(score, watch.kept)
    cam = (gradient * watch.kept[0]).clamp(min=0).mean(1)[:, 0]
    keys = {"froster": slice(11, 15)}.get(kind, slice(1, 5))  # 2 x 5 neighbours stand before
    wanted = cam[:, keys].reshape(4, 2, 2).detach()
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    found = attention_maps(model, batch["video"][0], names, 1)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-6)
