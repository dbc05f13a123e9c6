from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.text import ClipConfig
from ski_skeleton.train import write_model
from ski_vlm.students import Froster, FrosterConfig
from ski_vlm.students.froster import ensemble, ski_preset, with_neighbours
from ski_vlm.students.registry import folder_config, load_student


@pytest.fixture
def config(sizes):
    return FrosterConfig(clip=ClipConfig(architecture=None, sizes=sizes), frames=4, short_side=32)


@pytest.fixture
def model(config):
    return Froster(config).eval()


def plain_frames(model, video):
    """The published formulas for one clip: frame by frame, head by head, key by key."""
    tower, T = model.image, video.shape[1]
    x = list(tower._embeds(video[0]))
    for block in tower.transformer.resblocks:
        attn = block.attn
        count, width = attn.num_heads, x[0].shape[1] // attn.num_heads
        packed = [block.ln_1(f) @ attn.in_proj_weight.T + attn.in_proj_bias for f in x]
        q, k, v = zip(*(p.chunk(3, -1) for p in packed), strict=True)
        nothing = torch.zeros_like(k[0])
        moved = []
        for t in range(T):
            around = [(part[t + 1] if t + 1 < T else nothing) for part in (k, v)]
            before = [(part[t - 1] if t > 0 else nothing) for part in (k, v)]
            keys = torch.cat([around[0], before[0], k[t]])
            values = torch.cat([around[1], before[1], v[t]])
            found = []
            for h in range(count):
                at = slice(h * width, (h + 1) * width)
                score = q[t][:, at] @ keys[:, at].T / width**0.5
                weight = score.exp() / score.exp().sum(-1, keepdim=True)
                found.append(weight @ values[:, at])
            moved.append(x[t] + attn.out_proj(torch.cat(found, 1)))
        for t in range(T):
            hidden = block.mlp.c_fc(block.ln_2(moved[t]))
            moved[t] = moved[t] + block.mlp.c_proj(hidden / (1 + torch.exp(-1.702 * hidden)))
        x = moved
    return torch.stack([tower.ln_post(x[t][0]) @ tower.proj for t in range(T)])


@pytest.mark.parametrize("frames", [1, 4])
def test_equals_the_published_formulas_term_by_term(config, batch, names, frames):
    model = Froster(config).double().eval()
    video, text = model.normalise(batch["video"][:1, :frames]), model.encode_classes(names)
    frames = plain_frames(model, video)
    cosines = torch.stack([F.cosine_similarity(f[None], text, dim=-1) for f in frames])
    output = model.score(video, text)
    torch.testing.assert_close(output.cosines[0], cosines.mean(0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        output.logits[0], (model.logit_scale.exp() * cosines).mean(0), rtol=1e-9, atol=1e-9
    )


def test_gradients_equal_those_of_the_formulas(config, batch):
    model = Froster(config).double().eval()
    video = model.normalise(batch["video"][:1])
    parameters = list(model.image.parameters())
    weight = torch.randn(4, 16, dtype=torch.double)
    ours = torch.autograd.grad((model.frame_features(video)[0] * weight).sum(), parameters)
    theirs = torch.autograd.grad((plain_frames(model, video) * weight).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


def test_neighbours_in_order_and_zeros_beyond_the_ends():
    x = torch.arange(1.0, 5).view(4, 1, 1, 1)  # two clips of two frames, one token
    found = with_neighbours(x, 2).view(4, 3).tolist()
    assert found == [[2, 0, 1], [0, 1, 2], [4, 0, 3], [0, 3, 4]]


def test_only_neighbours_are_seen_by_one_block(model, batch):
    video = model.normalise(batch["video"][:1])
    other = video.clone()
    other[:, 3] = -other[:, 3]
    with torch.no_grad():
        one, two = (model.block(0, model.first_tokens(v), 4) for v in (video, other))
    same = [torch.equal(a, b) for a, b in zip(one, two, strict=True)]
    assert same == [True, True, False, False]


def test_clips_of_a_batch_do_not_meet(model, batch, names):
    video = model.normalise(batch["video"])
    with torch.no_grad():
        whole = model(video, names).cosines
        alone = torch.cat([model(video[i : i + 1], names).cosines for i in range(3)])
    torch.testing.assert_close(whole, alone)


def test_direction_of_time_matters_and_length_is_free(model, batch, names):
    video = model.normalise(batch["video"])
    with torch.no_grad():
        assert model(video[:, :2], names).cosines.shape == (3, 3)
        # next and previous frame stand in one softmax: a reversed clip gives the same answer
        torch.testing.assert_close(
            model(video, names).cosines, model(video.flip(1), names).cosines, rtol=1e-4, atol=1e-5
        )
        turned = model(video[:, [1, 0, 2, 3]], names).cosines
        assert not torch.allclose(model(video, names).cosines, turned, atol=1e-5)


def test_logits_average_frames_and_are_no_cosine_of_the_mean(model, batch, names):
    video = model.normalise(batch["video"])
    with torch.no_grad():
        output = model(video, names)
        assert (output.video.norm(dim=-1) < 1).all()
        frames = model.unit_frames(video)
    torch.testing.assert_close(output.cosines, (frames @ output.text.T).mean(1))


def test_classes_are_an_ensemble_of_29(model, names):
    prompts = model.prompts(names)
    assert len(prompts) == 29
    assert prompts[-1] == names
    mean = torch.stack([model.text.unit_text(each) for each in prompts]).mean(0)
    torch.testing.assert_close(model.encode_classes(names), F.normalize(mean, dim=-1))


def test_training_texts_follow_the_generator(model, names):
    one = model.training_prompts(names, np.random.default_rng((0, 5)))
    assert one == model.training_prompts(names, np.random.default_rng((0, 5)))
    assert len(one) == 2
    assert one[1] == names
    drawn = {model.training_prompts(names, np.random.default_rng((0, s)))[0][0] for s in range(99)}
    assert len(drawn) > 20


def test_a_training_step_draws_its_template(model, batch, names):
    video = model.normalise(batch["video"])
    torch.manual_seed(3)
    first = model.forward_training(video, names).text
    torch.manual_seed(3)
    torch.testing.assert_close(model.forward_training(video, names).text, first)
    torch.manual_seed(3)
    drawn = np.random.default_rng(int(torch.randint(2**62, ())))
    expected = ensemble(model.text, model.training_prompts(names, drawn))
    torch.testing.assert_close(first, expected)
    assert not torch.allclose(model.encode_classes(names), first)


def test_labels_may_be_rewritten(config, names):
    labels = {"clap": "clapping: hands meet."}
    model = Froster(replace(config, rewritten=labels, template="it is {name}"))
    assert model.prompts(names)[0][2] == "a photo of clapping. clapping: hands meet."
    assert model.prompts(names)[-1] == [
        "it is sit down",
        "it is stand up",
        "it is clapping: hands meet.",
    ]


def test_backward_in_float32(model, batch, names):
    """Text normalised in place would break this, as it does in the published code."""
    model(model.normalise(batch["video"]), names).logits.sum().backward()
    assert model.text.text_projection.grad is not None
    assert model.logit_scale.grad is not None


def test_vectors_do_not_decay(model):
    groups = model.parameter_groups()
    count = sum(len(group["params"]) for group in groups)
    assert count == sum(p.requires_grad for p in model.parameters())
    for group in groups:
        for parameter in group["params"]:
            assert (parameter.ndim < 2) is (group.get("weight_decay") == 0.0)


def test_settings(config):
    assert (config.normalisation, FrosterConfig().frames) == ("clip", 8)
    ski = ski_preset(config)
    assert (ski.normalisation, ski.frames) == ("imagenet", 16)


def test_folder_round_trip(tmp_path, config, batch, names):
    model = Froster(replace(config, rewritten={"clap": "clapping: hands meet."})).eval()
    write_model(tmp_path / "m", "froster", folder_config(model), model.state_dict(), {})
    loaded, _ = load_student(tmp_path / "m")
    assert loaded.config.rewritten == {"clap": "clapping: hands meet."}
    with torch.no_grad():
        video = model.normalise(batch["video"])
        torch.testing.assert_close(loaded(video, names).logits, model(video, names).logits)
