from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from open_clip.model import CLIP

from ski_skeleton.text import ClipConfig, blocks
from ski_vlm.errors import ConfigError
from ski_vlm.students import (
    Froster,
    FrosterConfig,
    PromptedConfig,
    ViFiClipConfig,
    XClip,
    XClipConfig,
    build_student,
)
from ski_vlm.students.base import Student
from ski_vlm.students.transformer import (
    Watch,
    check_plain,
    plain_block,
)


def of_kind(config, sizes, **more):
    depth = {"image_depth": 2, "text_depth": 1} if config is PromptedConfig else {}
    return config(clip=ClipConfig(architecture=None, sizes=sizes), frames=4, **depth, **more)


CONFIGS = [ViFiClipConfig, XClipConfig, FrosterConfig, PromptedConfig]


def test_a_watched_block_equals_the_fused_one(student):
    block, x, watch = student.image.transformer.resblocks[0], torch.randn(2, 5, 32), Watch(1)
    ours = plain_block(block, x, watch)
    torch.testing.assert_close(ours, block(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, plain_block(block, x), rtol=1e-5, atol=1e-5)
    (attention,) = watch.kept
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 2, 5))


def test_block_by_block_equals_the_tower(student, batch):
    video = student.normalise(batch["video"])
    with torch.no_grad():
        blocks = student.class_features(student.tokens(video))
        torch.testing.assert_close(blocks, student.frame_features(video), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_blocks_computed_twice_change_nothing(sizes, batch, names, config, build):
    model = build(of_kind(config, sizes)).train()
    if config is XClipConfig:
        model.drops = [0.3, 0.6]
    leaves = [p for p in model.parameters() if p.requires_grad]
    found = []
    for twice in (False, True):
        if twice:
            model.checkpoint_blocks()
        torch.manual_seed(0)
        output = model(model.normalise(batch["video"]), names)
        gradients = torch.autograd.grad(output.logits.square().sum(), leaves, allow_unused=True)
        found.append((output.logits.detach(), *(g for g in gradients if g is not None)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_watching_changes_nothing(sizes, batch, names, config, blocks, build):
    model = build(of_kind(config, sizes))
    video, text = model.normalise(batch["video"]), model.encode_classes(names)
    watch = Watch(blocks)
    watched = model.score_tokens(model.tokens(video, watch), text)
    assert len(watch.kept) == blocks
    torch.testing.assert_close(watched.cosines, model.score(video, text).cosines)
    assert model.own_attention(watch.kept[0]).shape == (12, 2, 5, 5)


@pytest.mark.parametrize(
    ("vision", "told"),
    [
        ({"timm_model_name": "mobilenetv3_small_050", "timm_proj": ""}, "MobileNetV3"),
        ({"width": 32, "head_width": 16, "pool_type": "avg", "layers": 1}, "another pooling"),
        (
            {"width": 32, "head_width": 16, "layers": 1, "block_type": "custom"},
            "CustomResidualAttentionBlock",
        ),
    ],
)
@pytest.mark.parametrize(("model", "config"), [(XClip, XClipConfig), (Froster, FrosterConfig)])
def test_other_towers_are_told(sizes, model, config, vision, told):
    text = {"width": 16, "heads": 1, "layers": 1}
    clip = CLIP(sizes.embed, {"image_size": 32, "patch_size": 16, **vision}, text)
    with pytest.raises(ConfigError, match=told):
        model(config(clip=ClipConfig(architecture=None, sizes=sizes)), clip)


def test_a_plain_tower_passes(student):
    assert check_plain(student.image) is student.image


def test_every_kind_of_student_is_its_own_model(sizes, batch, names, build):
    clip = ClipConfig(architecture=None, sizes=replace(sizes, embed=24))
    for config in (XClipConfig(clip=clip, frames=4), FrosterConfig(clip=clip, frames=4)):
        model: Student = build(config)
        output = model(model.normalise(batch["video"]), names)
        assert output.cosines.shape == (3, 3)
        assert output.cosines.abs().max() <= 1 + 1e-5
        output.logits.sum().backward()
        silent = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert silent == []


@pytest.mark.parametrize("config", CONFIGS[1:])
def test_the_score_is_exported_for_any_number_of_clips(sizes, batch, names, config, build):
    class Score(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, video, text):
            return self.model.score(video, text).logits

    model = build(of_kind(config, sizes)).requires_grad_(False)
    video, text = model.normalise(batch["video"]), model.encode_classes(names)
    free = {0: torch.export.Dim("clips")}
    exported = torch.export.export(Score(model), (video[:2], text), dynamic_shapes=(free, None))
    torch.testing.assert_close(exported.module()(video, text), model.score(video, text).logits)


@pytest.mark.parametrize("config", CONFIGS)
def test_half_precision_trains_close_to_single(sizes, batch, names, config, build):
    model = build(of_kind(config, sizes, train="both"))
    video = model.normalise(batch["video"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(video, names)
        output.cosines.float().sum().backward()
    torch.testing.assert_close(
        output.cosines.float(), model(video, names).cosines, rtol=0, atol=2e-2
    )


@pytest.mark.parametrize("config", CONFIGS)
def test_built_without_memory(sizes, config):
    with torch.device("meta"):
        model = build_student(of_kind(config, sizes))
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_an_exported_tower_keeps_its_layers(monkeypatch, student, batch):
    """Readers of such graphs look for products of weights as they are."""

    class Frames(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = student.requires_grad_(False)

        def forward(self, video):
            return self.model.frame_features(video)

    monkeypatch.setattr(blocks, "CONVOLVES", True)
    video = student.normalise(batch["video"])
    program = torch.export.export(Frames(), (video,))
    names = [str(node.target) for node in program.graph.nodes]
    assert sum(name.startswith("aten.conv") for name in names) == 1  # the patches
    assert not any("silu" in name for name in names)
    torch.testing.assert_close(
        program.module()(video), student.frame_features(video), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("config", [ViFiClipConfig, XClipConfig, FrosterConfig])
def test_half_precision_leaves_the_cosines_alone(sizes, batch, names, config, build):
    """The products at both ends are float32, so nothing is rounded to three digits there."""
    model = build(of_kind(config, sizes))
    with torch.no_grad():
        video, text = model.normalise(batch["video"]), model.encode_classes(names)
        exact = model.score(video, text)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.score(video, text)
    assert half.cosines.dtype == torch.float32
    torch.testing.assert_close(half.cosines, exact.cosines, rtol=0, atol=5e-3)


def test_timm_towers_compute_blocks_twice_or_say_that_they_cannot(sizes, batch, names):
    towers = ClipConfig(architecture=None, sizes=replace(sizes, timm="mobilenetv3_small_050"))
    model = build_student(ViFiClipConfig(clip=towers, frames=4)).eval()
    video, leaves, found = model.normalise(batch["video"]), list(model.image.parameters()), []
    for twice in (False, True):
        if twice:
            model.checkpoint_blocks()
        output = model(video, names)
        found.append(torch.autograd.grad(output.cosines.square().sum(), leaves))
    assert model.image.trunk.grad_checkpointing
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    model.image.trunk = torch.nn.Identity()
    with pytest.raises(ConfigError, match="Identity cannot compute its blocks twice"):
        model.checkpoint_blocks()
