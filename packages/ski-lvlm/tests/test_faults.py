"""What goes wrong in a training, by the real command: one line, exit code 2, no model."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_lvlm import write_recipe
from transformers import LlamaConfig, LlamaForCausalLM

from ski_data.instructions import read_instructions
from ski_lvlm.base import BaseConfig, load_tokenizer
from ski_lvlm.cli import main
from ski_lvlm.conversations import Conversations, PromptConfig
from ski_lvlm.feature_store import FeatureStore


@pytest.fixture
def tiny(tiny, tmp_path):
    """A copy to damage."""
    return shutil.copytree(tiny, tmp_path / "tiny")


@pytest.fixture
def refused(tiny, tmp_path, capsys):
    def check(*words, out=None, **changes):
        recipe = write_recipe(tmp_path / "r.yaml", tiny, **{"epochs": 1} | changes)
        capsys.readouterr()
        out = tmp_path / "run" if out is None else out
        assert main(["train", str(recipe), "--out", str(out)]) == 2
        err = capsys.readouterr().err
        told = [line for line in err.splitlines() if line.startswith("ski-lvlm:")]
        assert len(told) == 1, err
        for word in words:
            assert word in told[0]
        assert "Traceback" not in err
        assert not (out / "model").exists()

    return check


def shard(tiny):
    (found,) = (tiny / "video").glob("shard-*.safetensors")
    return found


def test_missing_shard(tiny, refused):
    path = shard(tiny)
    path.unlink()
    refused("shards are missing", path.name, "extract the features again")


def test_truncated_shard(tiny, refused):
    path = shard(tiny)
    path.write_bytes(path.read_bytes()[:-40])
    refused(path.name, "damaged or cut off")


def test_clip_of_another_width(tiny, refused):
    path = shard(tiny)
    tokens = load_file(path)
    tokens["clip03"] = tokens["clip03"][:, :4].contiguous()
    save_file(tokens, path)
    refused(path.name, "clip03 are (5, 4), not (5, 6)")


def test_start_of_another_width(tiny, tmp_path, refused):
    state = {"weight": torch.zeros(16, 9), "bias": torch.zeros(16)}
    start = tmp_path / "start.safetensors"
    save_file({f"model.mm_projector.{k}": v for k, v in state.items()}, start)
    refused("must be (16, 6), found (16, 9)", start=str(start))


@pytest.mark.parametrize(
    ("system", "word"),
    [("Watch. <vid_start>", "wanted one start"), ("<vid_start><vid_patch><vid_end>", "2 video")],
)
def test_prompt_with_a_second_video(refused, system, word):
    refused("prompt", word, prompts={"system": system})


def test_no_room_for_any_answer(refused):
    refused("no pair is left", "raise max_length", prompts={"max_length": 40})


def test_cut_answers_are_counted(tiny, tmp_path, caplog):
    tokenizer, vocabulary = load_tokenizer(BaseConfig(str(tiny / "base")))
    stores = {name: FeatureStore(tiny / name) for name in ("video", "skeleton")}
    pairs = read_instructions(tiny / "pairs.jsonl")
    longest = Conversations(pairs, tokenizer, vocabulary, PromptConfig(), **stores).lengths.max()
    prompts = {"max_length": int(longest) - 2}
    recipe = write_recipe(tmp_path / "r.yaml", tiny, epochs=1, prompts=prompts)
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 0
    meta = json.loads((tmp_path / "run" / "model" / "meta.json").read_text())
    assert meta["pairs_cut"] > 0
    assert f"{meta['pairs_cut']} lost the end of their answer" in caplog.text


def test_base_model_with_fewer_words_than_its_tokenizer(tiny, refused):
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tiny / "base")
    refused("500 tokens before the added ones", "embeddings for 400")


def test_tokenizer_with_some_of_the_added_tokens(tiny, refused):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny / "base")
    tokenizer.add_tokens(["<vid_patch>", "<vid_end>"], special_tokens=True)
    tokenizer.save_pretrained(tiny / "base")
    refused("the tokenizer knows", "or none: use that of the base model")


def test_output_that_cannot_be_written(tmp_path, refused):
    (tmp_path / "file").write_text("")
    refused("file", out=tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == ""


def test_pairs_without_features(tiny, refused):
    with (tiny / "pairs.jsonl").open("a") as file:
        file.write('{"id": "x", "video": "clip99", "question": "What?", "answer": "That."}\n')
    refused("no video features for 1 clips", "clip99")
