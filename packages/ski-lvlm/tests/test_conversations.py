from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from ski_data.instructions import Instruction
from ski_lvlm.conversations import Conversations, PromptConfig, length_grouped
from ski_lvlm.errors import PromptError
from ski_lvlm.feature_store import FeatureWriter
from ski_lvlm.prompts import (
    Message,
    add_modality_tokens,
    encode,
    question_with_placeholders,
    render,
)

PAIRS = [
    Instruction("0", "a", "What is the person doing?", "Drinks water."),
    Instruction("1", "b", "Who is there?", "A woman sits down on a chair, and reads."),
    Instruction("2", "a", "How often?", "Twice."),
]


def store(folder, rows, channels):
    writer = FeatureWriter(folder, {"kind": folder.name})
    for name, count in rows.items():
        writer.add(name, torch.randn(count, channels))
    writer.flush()
    return writer.finish(list(rows))


@pytest.fixture
def tokenizer(golden_folder):
    return PreTrainedTokenizerFast.from_pretrained(golden_folder / "tiny_tokenizer")


@pytest.fixture
def make(tmp_path, tokenizer):
    vocabulary = add_modality_tokens(tokenizer)
    video = store(tmp_path / "video", {"a": 5, "b": 8}, 6)
    skeleton = store(tmp_path / "skeleton", {"a": 3, "b": 4}, 2)

    def build(pairs=PAIRS, **settings):
        return Conversations(
            pairs,
            tokenizer,
            vocabulary,
            PromptConfig(**settings),
            video=video,
            skeleton=skeleton,
        )

    return build


def plain(tokenizer, pair, number, video, skeleton, max_length):
    """The same prompt with every patch token in its text."""
    asked = question_with_placeholders(
        pair.question, video=bool(video), skeleton=bool(skeleton), first=bool(number % 2)
    )
    rendered = render(
        [Message("human", asked), Message("gpt", pair.answer)],
        tokenizer,
        video_tokens=video,
        skeleton_tokens=skeleton,
    )
    return encode(rendered, tokenizer, max_length=max_length)


@pytest.mark.parametrize("max_length", [2048, 140])
def test_batches_hold_the_full_prompts(make, tokenizer, max_length):
    data = make(max_length=max_length)
    counts = {"a": (5, 3), "b": (8, 4)}
    batch = data.batch(range(3))
    for n, pair in enumerate(PAIRS):
        wanted = plain(tokenizer, pair, n, *counts[pair.video], max_length)
        kept = batch.mask[n].bool()
        assert batch.ids[n, kept].tolist() == wanted.ids
        assert batch.labels[n, kept].tolist() == wanted.labels
        assert data.lengths[n] == len(wanted.ids)
        assert data.supervised[n] == wanted.supervised
        assert batch.video[n].shape == (counts[pair.video][0], 6)
        assert batch.skeleton[n].shape == (counts[pair.video][1], 2)
    assert data.cut == (1 if max_length == 140 else 0)


def test_answers_that_do_not_fit(make, caplog):
    lengths = make().lengths
    data = make(max_length=int(lengths[0]))
    assert (len(data), data.cut, data.dropped) == (3 - data.dropped, data.cut, data.dropped)
    assert data.cut + data.dropped >= 1
    assert "lost the end of their answer" in caplog.text
    with pytest.raises(PromptError, match="raise max_length"):
        make(max_length=20)


def test_modalities(make):
    batch = make(skeleton="absent").batch([0])
    assert batch.skeleton is None
    zeros = make(skeleton="zeros").batch([0])
    full = make().batch([0])
    assert torch.equal(zeros.ids, full.ids)
    assert not zeros.skeleton[0].any()
    assert zeros.video[0].any()
    with pytest.raises(PromptError, match="both absent"):
        PromptConfig(video="absent", skeleton="absent")


def test_masks_are_drawn_per_epoch_and_nowhere_else(make):
    data = make(mask_skeleton=0.5)
    draws = {
        epoch: [bool(t.any()) for t in data.batch([0, 1, 2], epoch=epoch).skeleton]
        for epoch in range(20)
    }
    share = np.mean([kept for row in draws.values() for kept in row])
    assert 0.3 < share < 0.7
    again = data.batch([2, 0], epoch=7).skeleton
    assert [bool(t.any()) for t in again] == [draws[7][2], draws[7][0]]
    assert all(t.any() for t in data.batch([0, 1, 2], epoch=3).video)


def test_dropped_skeletons_leave_the_prompt_without_them(make, tokenizer):
    data = make(drop_skeleton=0.5)
    counts = {"a": (5, 3), "b": (8, 4)}
    seen = set()
    for epoch in range(8):
        batch = data.batch(range(3), epoch=epoch)
        again = data.batch([2], epoch=epoch)
        assert torch.equal(again.ids[0], batch.ids[2, batch.mask[2].bool()])
        for n, pair in enumerate(PAIRS):
            video, skeleton = counts[pair.video]
            dropped = batch.skeleton[n] is None
            wanted = plain(tokenizer, pair, n, video, 0 if dropped else skeleton, 2048)
            kept = batch.mask[n].bool()
            assert batch.ids[n, kept].tolist() == wanted.ids
            assert batch.labels[n, kept].tolist() == wanted.labels
            seen.add((n, dropped))
    assert len(seen) == 6
    with pytest.raises(PromptError, match="drop_skeleton leaves prompts without features"):
        PromptConfig(video="absent", drop_skeleton=0.5)


def test_clips_without_features_are_named(make):
    with pytest.raises(PromptError, match=r"no video features for 1 clips .*: c;"):
        make([*PAIRS, Instruction("3", "c", "Q?", "A.")])


@given(count=st.integers(1, 400), size=st.integers(1, 9), epoch=st.integers(0, 3))
def test_length_grouped(count, size, epoch):
    lengths = np.random.default_rng(0).integers(10, 600, count)
    batches = length_grouped(lengths, size, seed=1, epoch=epoch)
    drawn = np.concatenate(batches) if batches else np.zeros(0, int)
    assert len(batches) == sum(
        min(size * 50, count - b) // size for b in range(0, count, size * 50)
    )
    assert len(set(drawn.tolist())) == len(drawn) == len(batches) * size
    assert all((np.diff(lengths[batch]) <= 0).all() for batch in batches)
    again = length_grouped(lengths, size, seed=1, epoch=epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_grouping_saves_padding():
    lengths = np.random.default_rng(0).integers(10, 600, 3200)
    padded = sum(lengths[b].max() * 32 for b in length_grouped(lengths, 32, seed=0, epoch=0))
    assert padded < 1.1 * lengths.sum()
