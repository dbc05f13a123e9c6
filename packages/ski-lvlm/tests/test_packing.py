from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_lvlm import losses, make_base, make_data, write_recipe
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig

from ski_data.errors import InputError
from ski_lvlm.conversations import clip_grouped
from ski_lvlm.errors import ConfigError
from ski_lvlm.model import Batch, SkiLvlm, check_packing, packed_layout
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_lvlm.prompts import IGNORE
from ski_lvlm.recipe import read_recipe
from ski_lvlm.tokens import added_token_ids
from ski_lvlm.train import train

BASE = 30
TOKEN = added_token_ids(BASE)
SPAN = [TOKEN["<vid_start>"], *[TOKEN["<vid_patch>"]] * 4, TOKEN["<vid_end>"]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=BASE,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    projectors = Projectors(ProjectorConfig(width=16, video_channels=6, skeleton_channels=None))
    return SkiLvlm(LlamaForCausalLM(config).double(), projectors.double(), BASE)


def make_batch(questions, clips, seed=0):
    """Prompts that begin with the features of a clip, and end with an answer of two tokens."""
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(4, 4, 6, generator=rng)
    rows = [
        [1, 3, *SPAN, *torch.randint(4, 8, (n + 2,), generator=rng).tolist()] for n in questions
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = torch.full_like(ids, IGNORE)
    for n, row in enumerate(rows):
        labels[n, len(row) - 2 : len(row)] = ids[n, len(row) - 2 : len(row)]
    return Batch(ids, mask, labels, video=[features[clip] for clip in clips])


def loss_and_gradients(model, batch, packed):
    model.zero_grad()
    model.packed = packed
    loss = model(batch).mean
    loss.backward()
    model.packed = False
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@given(
    prompts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=6),
    seed=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_losses_and_gradients_stay(model, prompts, seed):
    batch = make_batch(*zip(*prompts, strict=True), seed=seed)
    padded, wanted = loss_and_gradients(model, batch, False)
    packed, found = loss_and_gradients(model, batch, True)
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=0)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        largest = float(wanted[name].abs().max())
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=1e-5 * largest)


def test_equal_beginnings_stand_once(model):
    batch = make_batch((3, 5, 4), (1, 1, 2))
    embeddings = model.embed(batch).detach()
    alone = packed_layout(embeddings, batch.mask, share=False)
    assert len(alone.rows) == batch.mask.sum()
    assert alone.visible().sum() == sum(n * (n + 1) // 2 for n in alone.lengths)
    shared = packed_layout(embeddings, batch.mask, share=True)
    begin = 2 + len(SPAN)
    assert len(shared.rows) <= len(alone.rows) - begin - 3
    assert torch.equal(shared.nodes[0, :begin], shared.nodes[1, :begin])
    assert torch.equal(shared.nodes[1, :3], shared.nodes[2, :3])  # up to the other clip's features
    assert not torch.equal(shared.nodes[1, 3:7], shared.nodes[2, 3:7])


def test_windows_are_refused(model):
    check_packing(model.language_model, "llama")
    config = model.language_model.config
    model.language_model.config = MistralConfig(sliding_window=8)
    with pytest.raises(ConfigError, match="window alone; leave packed out"):
        check_packing(model.language_model, "mistral")
    model.language_model.config = config


def test_pairs_of_a_clip_stay_together():
    clips = [f"clip{n % 10}" for n in range(60)]
    first = np.arange(60) % 20 >= 10
    batches = clip_grouped(clips, first, 12, seed=1, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(60))
    for batch in batches:
        assert len({clips[i] for i in batch}) == 2
        assert (np.diff(first[batch].astype(int)) != 0).sum() <= 3
    again = clip_grouped(clips, first, 12, seed=1, epoch=0)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = clip_grouped(clips, first, 12, seed=1, epoch=1)
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=True))


@pytest.mark.parametrize("zero", ["none", "2"])
def test_training(tmp_path, golden_folder, zero):
    make_base(tmp_path / "base", golden_folder / "tiny_tokenizer")
    make_data(tmp_path)
    found = {}
    for packed in (False, True):
        recipe = write_recipe(tmp_path / "r.yaml", tmp_path, zero=zero, packed=packed, epochs=1)
        train(read_recipe(recipe), tmp_path / f"run-{packed}")
        found[packed] = losses(tmp_path / f"run-{packed}")
    assert found[True] == pytest.approx(found[False], rel=1e-5)
    recipe = write_recipe(tmp_path / "r.yaml", tmp_path, packed=True, by_clip=True, epochs=1)
    train(read_recipe(recipe), tmp_path / "by-clip")
    assert len(losses(tmp_path / "by-clip")) == 3
    with pytest.raises(InputError, match="needs precision bfloat16"):
        read_recipe(write_recipe(tmp_path / "x.yaml", tmp_path, attention="flash_attention_2"))
