from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_skeleton.errors import CheckpointError, ConfigError
from ski_skeleton.text import ClipConfig, ClipSizes, ClipTextTower, build_clip, tokenize
from ski_skeleton.weights import write_weights

SIZES = ClipSizes(
    embed=32,
    image=32,
    patch=16,
    vision_width=32,
    vision_layers=1,
    vision_head=16,
    text_width=32,
    text_layers=2,
    text_heads=2,
)


@pytest.fixture(scope="module")
def clip():
    return build_clip(ClipConfig(architecture=None, sizes=SIZES)).eval()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(["sit", "drink from cup", "a", "", "clap twice"]), min_size=1))
def test_short_prompts_equal_the_whole_context(clip, texts):
    tower = ClipTextTower(clip).eval()
    with torch.no_grad():
        ours, whole = tower.encode_text(texts), clip.encode_text(tokenize(texts))
    torch.testing.assert_close(ours, whole, rtol=1e-5, atol=1e-6)


def test_frozen_tower_computes_once_and_trains_nothing(clip):
    tower = ClipTextTower(clip).freeze()
    first = tower.encode_text(["sit", "stand"])
    assert tower.encode_text(["sit", "stand"]) is first
    assert not first.requires_grad
    assert not any(p.requires_grad for p in tower.parameters())
    assert not tower.train().training


def test_tokens_end_with_the_vector_of_the_text(clip):
    tower, texts = ClipTextTower(clip).freeze(), ["sit", "drink from cup", "a"]
    tokens, lengths = tower.token_text(texts)
    assert lengths.tolist() == [3, 5, 3]  # with those that begin and end a text
    assert tokens.shape == (3, 5, 32)
    torch.testing.assert_close(tokens[[0, 1, 2], lengths - 1], tower.encode_text(texts))
    alone, one = tower.token_text(texts[:1])
    assert one.tolist() == [3]
    torch.testing.assert_close(tokens[0, :3], alone[0], rtol=1e-5, atol=1e-6)


def test_cache_is_dropped_when_weights_change(clip):
    tower = ClipTextTower(clip).freeze()
    before = tower.encode_text(["sit"])
    state = {k: v * 0.5 for k, v in tower.state_dict().items()}
    tower.load_state_dict(state)
    assert not torch.allclose(before, tower.encode_text(["sit"]))
    assert tower.double().encode_text(["sit"]).dtype == torch.float64


def test_timm_image_tower():
    model = build_clip(ClipConfig(architecture=None, sizes=replace(SIZES, timm="lcnet_035")))
    assert model.encode_image(torch.randn(2, 3, 32, 32)).shape == (2, 32)
    with pytest.raises(ConfigError, match="timm has no model 'lcnet'"):
        replace(SIZES, timm="lcnet")


def test_token_embedding_never_trains(clip):
    tower = ClipTextTower(clip)
    tower.encode_text(["sit"]).sum().backward()
    assert tower.token_embedding.weight.grad is None
    assert tower.text_projection.grad is not None


def test_too_long_text():
    with pytest.raises(ConfigError, match="longer than"):
        tokenize(["sit " * 100])
    ids = tokenize(["sit " * 100], truncate=True)
    assert ids.shape == (1, 77)
    assert ids[0, -1] == 49407


def test_local_weights_are_loaded_strictly(tmp_path, clip):
    path = tmp_path / "clip.safetensors"
    write_weights(path, clip.state_dict())
    again = build_clip(ClipConfig(architecture=None, sizes=SIZES, pretrained=str(path)))
    assert torch.equal(again.text_projection, clip.text_projection)
    smaller = ClipSizes(**{**SIZES.__dict__, "text_layers": 1})
    with pytest.raises(CheckpointError, match="unknown"):
        build_clip(ClipConfig(architecture=None, sizes=smaller, pretrained=str(path)))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: build_clip(ClipConfig(architecture="ViT-Z-99")), "ViT-Z-99"),
        (lambda: build_clip(ClipConfig(architecture="ViT-B-32", pretrained="nowhere")), "openai"),
        (lambda: ClipConfig(architecture=None), "either"),
        (lambda: ClipSizes(image=30, patch=16), "multiple"),
    ],
)
def test_wrong_settings_name_the_allowed(make, word):
    with pytest.raises(ConfigError, match=word):
        make()


def test_cached_texts_are_full_precision_whatever_asked_first(clip):
    tower = ClipTextTower(clip).freeze()
    with torch.autocast("cpu", torch.bfloat16):
        first = tower.encode_text(["sit down", "stand up"])
    assert first.dtype == torch.float32
    assert torch.equal(tower.encode_text(["sit down", "stand up"]), first)
