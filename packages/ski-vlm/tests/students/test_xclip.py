from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.text import ClipConfig
from ski_skeleton.train import write_model
from ski_vlm.errors import ConfigError
from ski_vlm.students import XClip, XClipConfig
from ski_vlm.students.registry import folder_config, load_student
from ski_vlm.students.xclip import NEW_PARTS_SCALE, drop_clips


@pytest.fixture
def config(sizes):
    return XClipConfig(clip=ClipConfig(architecture=None, sizes=sizes), frames=4, short_side=32)


@pytest.fixture
def model(config):
    return XClip(config).eval()


def quick_gelu(x):
    return x / (1 + torch.exp(-1.702 * x))


def heads(q, k, v, count):
    """Attention of one sequence, head by head: ``(L, D)`` queries, ``(S, D)`` keys and values."""
    width = q.shape[1] // count
    parts = []
    for h in range(count):
        at = slice(h * width, (h + 1) * width)
        weight = torch.softmax(q[:, at] @ k[:, at].T / width**0.5, -1)
        parts.append(weight @ v[:, at])
    return torch.cat(parts, 1)


def mha(attn, x):
    q, k, v = (x @ attn.in_proj_weight.T + attn.in_proj_bias).chunk(3, -1)
    return attn.out_proj(heads(q, k, v, attn.num_heads))


def plain_cosines(model, video, text):
    """The published formulas for one clip, one token sequence after the other."""
    tower, T = model.image, video.shape[1]
    x = list(tower._embeds(video[0]))
    for number, block in enumerate(tower.transformer.resblocks):
        message = model.messages[number]
        said = torch.stack([message.fc(x[t][0]) for t in range(T)])
        said = said + mha(message.attn, message.norm(said))
        for t in range(T):
            joined = torch.cat([x[t], said[t : t + 1]])
            x[t] = (joined + mha(block.attn, block.ln_1(joined)))[:-1]
            hidden = quick_gelu(block.mlp.c_fc(block.ln_2(x[t])))
            x[t] = x[t] + block.mlp.c_proj(hidden)
    frames = torch.stack([tower.ln_post(x[t][0]) @ tower.proj for t in range(T)])
    joint = frames + model.integration.position[0]
    for block in model.integration.blocks:
        joint = joint + mha(block.attn, block.ln_1(joint))
        joint = joint + block.mlp.c_proj(quick_gelu(block.mlp.c_fc(block.ln_2(joint))))
    vector = (joint + frames).mean(0)
    prompts = model.prompts
    patches = sum(prompts.image_norm(x[t][1:]) @ prompts.image_proj for t in range(T)) / T
    patches, changed = prompts.norm(patches), text
    for layer in prompts.layers:
        q, k, v = layer.query(layer.norm_1(changed)), layer.key(patches), layer.value(patches)
        changed = changed + layer.out(heads(q, k, v, layer.heads))
        first, _, second = layer.mlp
        changed = changed + second(quick_gelu(first(layer.norm_2(changed))))
    changed = text + prompts.alpha * changed
    return F.cosine_similarity(vector[None], changed, dim=-1)


@pytest.mark.parametrize("frames", [1, 4])
def test_equals_the_published_formulas_term_by_term(config, batch, names, frames):
    settings = replace(config, frames=frames, prompt_layers=3, integration_layers=2)
    model = XClip(settings).double().eval()
    video, text = model.normalise(batch["video"][:1, :frames]), model.encode_classes(names)
    torch.testing.assert_close(
        model.score(video, text).cosines[0], plain_cosines(model, video, text), rtol=1e-9, atol=1e-9
    )


def test_gradients_equal_those_of_the_formulas(config, batch, names):
    model = XClip(replace(config, train="both")).double().eval()
    video, weight = model.normalise(batch["video"][:1]), torch.randn(3, dtype=torch.double)
    parameters = [p for p in model.parameters() if p.requires_grad and p is not model.logit_scale]
    ours = model.score(video, model.encode_classes(names)).cosines[0] @ weight
    theirs = plain_cosines(model, video, model.encode_classes(names)) @ weight
    for a, b in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


def test_messages_carry_other_frames(model, batch):
    video = model.normalise(batch["video"][:1])
    other = video.clone()
    other[:, 3] = -other[:, 3]
    with torch.no_grad():
        before, after = model.frame_features(video), model.frame_features(other)
    assert not torch.allclose(before[:, 0], after[:, 0])


def test_without_attention_messages_tell_nothing_of_others(model, batch):
    video = model.normalise(batch["video"][:1])
    other = video.clone()
    other[:, 3] = -other[:, 3]
    with torch.no_grad():
        for message in model.messages:
            message.attn.out_proj.weight.zero_()
            message.attn.out_proj.bias.zero_()
        before, after = model.frame_features(video), model.frame_features(other)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_class_texts_depend_on_the_clip_and_not_on_each_other(model, batch, names):
    video = model.normalise(batch["video"])
    with torch.no_grad():
        text = model.encode_classes(names)
        output = model.score(video, text)
        assert output.text.shape == (3, 3, 16)
        torch.testing.assert_close(output.text.norm(dim=-1), torch.ones(3, 3))
        assert not torch.allclose(output.text[0], output.text[1])
        torch.testing.assert_close(model.score(video, text[1:2]).cosines, output.cosines[:, 1:2])


def test_without_prompts_it_is_a_cosine_with_the_names(model, batch, names):
    with torch.no_grad():
        model.prompts.alpha.zero_()
        video, text = model.normalise(batch["video"]), model.encode_classes(names)
        cosines = model.encode_video(video) @ F.normalize(text, dim=-1).T
        torch.testing.assert_close(model.score(video, text).cosines, cosines)


def test_text_is_the_bare_name_and_not_unit_length(model, names):
    text = model.encode_classes(names)
    torch.testing.assert_close(text, model.text.encode_text(names))
    assert (text.norm(dim=-1) - 1).abs().max() > 1e-3


def test_another_number_of_frames_is_told(model, batch, names):
    with pytest.raises(ConfigError, match="4 frames, got 3"):
        model(model.normalise(batch["video"][:, :3]), names)


def test_groups_as_published(config):
    model = XClip(config)
    groups = model.parameter_groups()
    owner = {id(p): n for n, p in model.named_parameters()}
    seen = [owner[id(p)] for group in groups for p in group["params"]]
    assert sorted(seen) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    for group in groups:
        for parameter in group["params"]:
            name = owner[id(parameter)]
            assert (group["scale"] == NEW_PARTS_SCALE) is not name.startswith("image.")
            free = parameter.ndim < 2 or "position" in name
            assert (group.get("weight_decay") == 0.0) is free, name


@pytest.mark.parametrize(
    ("train", "image", "text", "new", "scale"),
    [
        ("image", True, False, True, False),
        ("text", False, True, False, True),
        ("both", True, True, True, True),
    ],
)
def test_what_trains(config, train, image, text, new, scale):
    model = XClip(replace(config, train=train))
    assert all(p.requires_grad is image for p in model.image.parameters())
    assert any(p.requires_grad for p in model.text.parameters()) is text
    for part in (model.messages, model.integration, model.prompts):
        assert all(p.requires_grad is new for p in part.parameters())
    assert model.logit_scale.requires_grad is scale


def test_dropped_branches_only_in_training(config, batch):
    model = XClip(replace(config, drop_path=0.9))
    assert model.drops == pytest.approx([0.0, 0.9])
    video = model.normalise(batch["video"])
    with torch.no_grad():
        model.eval()
        torch.testing.assert_close(model.frame_features(video), model.frame_features(video))
        model.train()
        drawn = [model.frame_features(video) for _ in range(4)]
    assert any(not torch.allclose(drawn[0], other) for other in drawn[1:])


def test_a_dropped_branch_is_dropped_for_the_whole_clip():
    branch = torch.ones(2000, 2, 3)
    dropped = drop_clips(branch, 0.25, True)
    rows = dropped.flatten(1)
    assert (rows == rows[:, :1]).all()
    assert sorted(set(rows[:, 0].tolist())) == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert drop_clips(branch, 0.25, False) is branch


@pytest.mark.parametrize("change", [{"drop_path": 1.0}, {"prompt_layers": 0}, {"frames": 0}])
def test_bad_settings(config, change):
    with pytest.raises(ConfigError):
        replace(config, **change)


def test_a_width_that_heads_do_not_divide(sizes):
    clip = ClipConfig(architecture=None, sizes=replace(sizes, embed=193))
    with pytest.raises(ConfigError, match="193"):
        XClip(XClipConfig(clip=clip))


def test_folder_round_trip(tmp_path, model, batch, names):
    write_model(tmp_path / "m", "x-clip", folder_config(model), model.state_dict(), {})
    loaded, _ = load_student(tmp_path / "m")
    assert type(loaded) is XClip
    with torch.no_grad():
        video = model.normalise(batch["video"])
        torch.testing.assert_close(loaded(video, names).logits, model(video, names).logits)
