from __future__ import annotations

import numpy as np
import pytest
import torch
from open_clip.model import CLIP

from ski_skeleton.text import ClipConfig
from ski_vlm.attention_map import _block_with_attention, attention_maps
from ski_vlm.errors import ConfigError
from ski_vlm.students import ViFiClip, ViFiClipConfig


def test_open_block_equals_the_fused_one(student):
    block, x = student.image.transformer.resblocks[0], torch.randn(2, 5, 32)
    ours, attention = _block_with_attention(block, x)
    torch.testing.assert_close(ours, block(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 2, 5))


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
