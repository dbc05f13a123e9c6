from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from ski_lvlm import model as module
from ski_lvlm.errors import ConfigError
from ski_lvlm.model import Batch, SkiLvlm, check_language_model, mean_embedding
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_lvlm.prompts import IGNORE
from ski_lvlm.tokens import added_token_ids

BASE = 20
IDS = added_token_ids(BASE)
VIDEO = [IDS["<vid_start>"], *[IDS["<vid_patch>"]] * 2, IDS["<vid_end>"]]
POSE = [IDS["<pose_start>"], *[IDS["<pose_patch>"]] * 3, IDS["<pose_end>"]]
SMALL = ProjectorConfig(width=16, video_channels=6, skeleton_channels=5)


@pytest.fixture
def base():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=BASE,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


@pytest.fixture
def lvlm(base):
    return SkiLvlm(base, Projectors(SMALL), BASE)


def batch(*rows, video=None, skeleton=None, answer=2):
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = ids.clone()
    for n, row in enumerate(rows):
        labels[n, : len(row) - answer] = IGNORE
        labels[n, len(row) :] = IGNORE
    return Batch(ids, mask, labels, video, skeleton)


def test_only_projectors_train_and_the_base_stays_in_evaluation(lvlm):
    names = {name for name, p in lvlm.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in names} == {"projectors"}
    lvlm.train()
    assert not lvlm.language_model.training
    assert lvlm.projectors.training


def test_start_and_end_rows_begin_as_the_mean(lvlm, base):
    wanted = base.get_input_embeddings().weight.mean(0)
    torch.testing.assert_close(lvlm.projectors.boundary[3], wanted)
    assert torch.equal(mean_embedding(base, BASE), lvlm.projectors.boundary[0])


def test_loss_is_that_of_all_logits(lvlm, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    video = [torch.randn(2, 6), None]
    skeleton = [torch.randn(3, 5), torch.randn(3, 5)]
    data = batch(
        [1, *VIDEO, *POSE, 5, 6, 7, 2],
        [1, *POSE, 9, 2],
        video=video,
        skeleton=skeleton,
    )
    loss = lvlm(data)
    logits = lvlm.language_model(inputs_embeds=lvlm.embed(data), attention_mask=data.mask).logits
    wanted = F.cross_entropy(
        logits[:, :-1].reshape(-1, BASE), data.labels[:, 1:].reshape(-1), reduction="sum"
    )
    torch.testing.assert_close(loss.sum, wanted)
    assert loss.tokens == 4
    parameters = list(lvlm.projectors.parameters())
    ours = torch.autograd.grad(loss.mean, parameters)
    plain = torch.autograd.grad(wanted / 4, parameters)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_gradient_by_finite_differences(lvlm):
    data = batch([1, *VIDEO, 5, 6, 2], video=torch.randn(1, 2, 6))
    weight = lvlm.projectors.video.weight
    lvlm(data).mean.backward()
    slope = weight.grad.norm().item()
    step = 1e-2 * weight.grad / slope  # along the gradient: the norms inside LLaMA are float32
    with torch.no_grad():
        weight += step
        above = lvlm(data).mean.item()
        weight -= 2 * step
        below = lvlm(data).mean.item()
    assert (above - below) / 2e-2 == pytest.approx(slope, rel=1e-2)


def test_batch_without_skeletons_needs_no_skeleton_projector(base):
    config = ProjectorConfig(width=16, video_channels=6, skeleton_channels=None)
    lvlm = SkiLvlm(base, Projectors(config), BASE)
    data = batch([1, *VIDEO, 5, 2], video=torch.randn(1, 2, 6))
    assert lvlm(data).mean.isfinite()


def test_generation_does_not_depend_on_padding(lvlm):
    rows = [[1, *VIDEO, 5], [1, *VIDEO, 5, 6, 7, 8]]
    video = torch.randn(2, 2, 6)
    alone = []
    for n, row in enumerate(rows):
        ids = torch.tensor([row])
        alone += lvlm.generate(
            Batch(ids, torch.ones_like(ids), video=video[n : n + 1]), max_new_tokens=6
        )
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    assert lvlm.generate(Batch(ids, mask, video=video), max_new_tokens=6) == alone
    assert all(2 not in row for row in alone)


def test_refusals(base, lvlm):
    with pytest.raises(ConfigError, match="16"):
        SkiLvlm(base, Projectors(ProjectorConfig(width=8)), BASE)
    ids = torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match="labels"):
        lvlm(Batch(ids, torch.ones_like(ids)))
    check_language_model(base, "base")
    base.config.final_logit_softcapping = 30.0
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        check_language_model(base, "base")
