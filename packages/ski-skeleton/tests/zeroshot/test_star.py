from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot import star
from ski_skeleton.zeroshot.star import Star, StarConfig, StarTask

SMALL = StarConfig(
    part_names=("up", "down"), part_joints=((0, 1), (2,)), attributes=5, heads=2, hidden=7
)
K, E, D = 4, 6, 8


@pytest.fixture
def head():
    return Star(SMALL, D, E, K).double()


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(2)
    return [
        torch.randn(*shape, generator=g, dtype=torch.float64)
        for shape in ((3, D, 2, 3), (K, 2, E), (K, E))
    ]


def attention(module, query, tokens):
    """Multi-head attention by its formula, one head after the other."""
    bias = module.in_proj_bias.view(3, E)
    q = query @ module.q_proj_weight.T + bias[0]
    k = tokens @ module.k_proj_weight.T + bias[1]
    v = tokens @ module.v_proj_weight.T + bias[2]
    outs = []
    for part in range(2):
        cut = slice(part * 3, part * 3 + 3)
        weight = torch.softmax(q[:, cut] @ k[:, cut].T / 3**0.5, -1)
        outs.append(weight @ v[:, cut])
    return torch.cat(outs, 1) @ module.out_proj.weight.T + module.out_proj.bias


def test_semantics_are_those_of_the_formulas(head, inputs):
    maps = inputs[0]
    found = head(maps)
    for i, joints in enumerate(SMALL.part_joints):
        part = head.parts[i]
        for n in range(3):
            tokens = torch.stack([maps[n, :, t, v] for t in range(2) for v in joints])
            asked = attention(part.attention, part.prompt, tokens)
            evidence = part.second(F.relu(part.first(asked)))
            wanted = [part.prompt[a] @ part.bilinear @ evidence[a] for a in range(5)]
            assert torch.allclose(found.parts[n, i], torch.stack(wanted))
            assert torch.allclose(found.evidence[n, i], evidence)
    assert torch.allclose(found.whole, found.parts.sum(1))


@pytest.mark.parametrize("which", ["seen", "all"])
def test_losses_are_those_of_the_formulas(head, inputs, which):
    maps, part_text, name_text = inputs
    labels, seen = torch.tensor([3, 0, 3]), [0, 1, 3]
    semantics, names = head(maps), head.name_map(name_text)
    parts = head.map_parts(part_text)
    found = star.star_losses(semantics, parts, names, labels, seen, which)

    def cos(a, b):
        return float(a @ b / a.norm() / b.norm())

    def ce(scores, own):
        return float(-torch.log_softmax(torch.tensor(scores, dtype=torch.float64), 0)[own])

    own = [seen.index(int(k)) for k in labels]
    whole = [ce([cos(semantics.whole[n], names[k]) for k in seen], own[n]) for n in range(3)]
    each = [
        ce([cos(semantics.parts[n, i], parts[i, k]) for k in seen], own[n])
        for i in range(2)
        for n in range(3)
    ]
    rows = seen if which == "seen" else range(K)
    label = [
        ce([float(parts[i, c] @ names[k]) for k in rows], j)
        for i in range(2)
        for j, c in enumerate(rows)
    ]
    for name, values in (("global_ce", whole), ("part_ce", each), ("pd_label", label)):
        assert float(found[name]) == pytest.approx(sum(values) / len(values), rel=1e-10), name


def test_prompts_are_added_to_part_texts(head, inputs):
    part_text = inputs[1]
    part = head.parts[1]
    wanted = part.text_map(part_text[:, 1] + part.text_prompt)
    assert torch.allclose(head.map_parts(part_text)[1], wanted)


@pytest.mark.parametrize(("config", "touched"), [(SMALL, False), (None, True)])
def test_unseen_texts_train_in_the_official_preset_alone(inputs, config, touched):
    config = config or star.official_preset(SMALL)
    maps, part_text, name_text = inputs
    model = Star(config, D, E, K).double()
    task = StarTask(model, part_text, name_text, [0, 1, 3])
    task.losses({"map": maps, "label": torch.tensor([3, 0, 1])})["loss"].backward()
    for part in model.parts:
        assert bool(part.text_prompt.grad[2].abs().sum() > 0) == touched
        assert part.text_prompt.grad[3].abs().sum() > 0
    assert all(p.grad is not None for p in model.parameters())


def test_total_uses_the_weights(head, inputs):
    maps, part_text, name_text = inputs
    task = StarTask(head, part_text, name_text, [0, 1, 3])
    found = task.losses({"map": maps, "label": torch.tensor([3, 0, 1])})
    wanted = 0.1 * found["global_ce"] + found["part_ce"] + 0.1 * found["pd_label"]
    assert torch.allclose(found["loss"], wanted)


def test_scores_are_cosines(head, inputs):
    maps, _, name_text = inputs
    scores = head.scores(maps, name_text)
    assert scores.shape == (3, K)
    assert (scores.abs() <= 1 + 1e-12).all()
    wanted = F.cosine_similarity(head(maps).whole[0], head.name_map(name_text)[2], dim=0)
    assert torch.allclose(scores[0, 2], wanted)


@pytest.mark.parametrize(
    "wrong",
    [{"part_names": ("a",)}, {"part_joints": ((), (1,))}, {"attributes": 0}, {"lr": 0.0}],
)
def test_settings_that_cannot_be(wrong):
    settings = {"part_names": ("a", "b"), "part_joints": ((0,), (1,))} | wrong
    with pytest.raises(ConfigError, match="STAR"):
        StarConfig(**settings)


def test_text_width_must_divide_by_heads():
    with pytest.raises(ConfigError, match="multiple of 2 heads"):
        Star(SMALL, D, 7, K)
