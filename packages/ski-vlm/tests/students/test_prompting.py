from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.text import ClipConfig, tokenize
from ski_skeleton.train import write_model
from ski_vlm.errors import ConfigError
from ski_vlm.students import PromptedConfig, PromptedViFiClip, add_prompts
from ski_vlm.students.prompting import base_to_novel_preset, few_shot_preset, prompted_text
from ski_vlm.students.registry import folder_config, load_student


@pytest.fixture
def prompted(sizes):
    sizes = replace(sizes, text_layers=2)
    clip = ClipConfig(architecture=None, sizes=sizes)
    return PromptedConfig(
        clip=clip,
        frames=4,
        short_side=32,
        text_vectors=5,
        image_vectors=3,
        text_depth=2,
        image_depth=2,
    )


@pytest.fixture
def model(prompted):
    return PromptedViFiClip(prompted).eval()


def test_only_vectors_train(model, batch, names):
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"image_context", "text_context"}
    model(model.normalise(batch["video"]), names).logits.sum().backward()
    assert model.image_context.grad.flatten(1).abs().sum(1).min() > 0
    assert model.text_context.grad.flatten(1).abs().sum(1).min() > 0


@pytest.mark.parametrize(
    ("train", "image", "text"), [("image", True, False), ("text", False, True)]
)
def test_one_side(prompted, train, image, text):
    model = PromptedViFiClip(replace(prompted, train=train))
    assert model.image_context.requires_grad is image
    assert model.text_context.requires_grad is text
    assert not model.logit_scale.requires_grad


def test_image_vectors_stand_behind_the_patches_and_are_replaced(model, batch):
    video = model.normalise(batch["video"])
    tower = model.image
    with torch.no_grad():
        patches = tower._embeds(video.flatten(0, 1))
        first = tower.ln_pre(model.image_context[0]).expand(12, -1, -1)
        x = tower.transformer.resblocks[0](torch.cat([patches, first], 1))
        second = model.image_context[1].expand(12, -1, -1)
        x = tower.transformer.resblocks[1](torch.cat([x[:, :5], second], 1))
        wanted = (tower.ln_post(x[:, 0]) @ tower.proj).view(3, 4, -1)
        torch.testing.assert_close(model.frame_features(video), wanted, rtol=1e-4, atol=1e-5)
        pooled = F.normalize(wanted.mean(1), dim=-1)
        torch.testing.assert_close(model.encode_video(video), pooled, rtol=1e-4, atol=1e-5)


def test_text_vectors_stand_before_the_name_and_are_replaced(model):
    tower, n = model.text, 5
    ids = tokenize(["clap."])
    with torch.no_grad():
        word = tower.token_embedding(ids[:, :72])
        x = torch.cat([word[:, :1], model.text_context[:1], word[:, 1:]], 1)
        x = x + tower.positional_embedding
        x = tower.transformer.resblocks[0](x, attn_mask=tower.attn_mask)
        x = torch.cat([x[:, :1], model.text_context[1:], x[:, 1 + n :]], 1)
        x = tower.transformer.resblocks[1](x, attn_mask=tower.attn_mask)
        end = int(ids.argmax()) + n
        wanted = F.normalize(tower.ln_final(x[:, end]) @ tower.text_projection, dim=-1)
        torch.testing.assert_close(model.encode_classes(["clap"]), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4])
def test_few_vectors_start_as_words(prompted, count):
    model = PromptedViFiClip(replace(prompted, text_vectors=count, text_depth=1))
    words = tokenize(["a photo of a"])[0, 1 : 1 + count]
    torch.testing.assert_close(model.text_context[0], model.text.token_embedding(words))
    if count == 4:  # nothing is learned yet: the usual prompt
        prompts = ["a photo of a clap."]
        found = prompted_text(model.text, model.text_context, ["clap."])
        torch.testing.assert_close(found, model.text.encode_text(prompts), rtol=1e-4, atol=1e-5)


def test_many_vectors_start_small(prompted):
    model = PromptedViFiClip(replace(prompted, text_vectors=16, image_vectors=64))
    assert model.text_context.detach().std() == pytest.approx(0.02, rel=0.2)
    assert model.image_context.detach().std() == pytest.approx(0.02, rel=0.2)


def test_second_stage_from_a_first_one(student, batch, names):
    model = add_prompts(student, text_vectors=4, image_vectors=2, text_depth=1, image_depth=1)
    assert type(model) is PromptedViFiClip
    assert not model.training
    assert model.config.frames == student.config.frames
    own = student.state_dict()
    assert all(torch.equal(v, own[k]) for k, v in model.state_dict().items() if k in own)
    torch.testing.assert_close(
        model.encode_classes(names), student.encode_classes(names), rtol=1e-4, atol=1e-5
    )


def test_published_sizes(prompted):
    novel, few = base_to_novel_preset(prompted), few_shot_preset(prompted)
    assert (novel.text_vectors, novel.image_vectors, novel.text_depth) == (16, 16, 9)
    assert (few.text_vectors, few.image_vectors, few.image_depth) == (10, 10, 12)


@pytest.mark.parametrize("change", [{"text_vectors": 0}, {"image_depth": 0}, {"text_vectors": 70}])
def test_bad_settings(prompted, change):
    with pytest.raises(ConfigError):
        replace(prompted, **change)


def test_too_deep(prompted):
    with pytest.raises(ConfigError, match="text_depth 3 of 2"):
        PromptedViFiClip(replace(prompted, text_depth=3))


def test_folder_round_trip(tmp_path, model, batch, names):
    write_model(tmp_path / "m", "vifi-clip-prompted", folder_config(model), model.state_dict(), {})
    loaded, _ = load_student(tmp_path / "m")
    assert type(loaded) is PromptedViFiClip
    with torch.no_grad():
        video = model.normalise(batch["video"])
        torch.testing.assert_close(loaded(video, names).logits, model(video, names).logits)
