"""A language model, features and training pairs small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ski_data.instructions import Instruction, write_instructions
from ski_lvlm.base import BaseConfig, load_tokenizer
from ski_lvlm.feature_store import FeatureWriter
from ski_lvlm.features import VideoTokens
from ski_lvlm.prompts import Message, collate, encode, render
from ski_skeleton.text.clip import ClipConfig, ClipSizes

SIZES = ClipSizes(
    embed=8,
    image=32,
    patch=16,
    vision_width=16,
    vision_layers=3,
    vision_head=8,
    text_width=8,
    text_layers=1,
    text_heads=1,
)
TINY = VideoTokens(ClipConfig(None, sizes=SIZES), frames=5, stored="float32")
"""A toy image tower and how its tokens are pooled."""
ACTIONS = ("drinks water", "sits down", "waves", "claps")


def make_base(folder: Path, tokenizer: Path) -> Path:
    """A random LLaMA of two layers as a folder of the hub's form."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def teach_sentences(folder):
    """Train the base model on the four answers, so that it can say them and must choose."""
    torch.manual_seed(0)
    tokenizer, _ = load_tokenizer(BaseConfig(str(folder)))
    model = AutoModelForCausalLM.from_pretrained(folder)
    said = [[Message("human", "What happens?"), Message("gpt", f"A person {a}.")] for a in ACTIONS]
    ids, labels, mask = collate([encode(render(turns, tokenizer), tokenizer) for turns in said], 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(120):
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def make_data(folder: Path, clips: int = 24) -> None:
    """Features that tell one of four actions, and a pair for each clip."""
    rng = np.random.default_rng(0)
    centres = {"video": rng.standard_normal((4, 6)), "skeleton": rng.standard_normal((4, 5))}
    names = [f"clip{n:02d}" for n in range(clips)]
    for kind, rows in (("video", 4), ("skeleton", 3)):
        writer = FeatureWriter(folder / kind, {"kind": kind})
        for n, name in enumerate(names):
            noise = rng.standard_normal((rows + n % 2, centres[kind].shape[1]))
            writer.add(name, torch.from_numpy(centres[kind][n % 4] + 0.1 * noise).float())
        writer.flush()
        writer.finish(names)
    write_instructions(
        folder / "pairs.jsonl",
        [
            Instruction(name, name, "What happens?", f"A person {ACTIONS[n % 4]}.")
            for n, name in enumerate(names)
        ],
    )


def write_recipe(path: Path, folder: Path, **changes: object) -> Path:
    """A recipe of a few updates on what ``folder`` holds."""
    plain = {
        "base": {"name": str(folder / "base")},
        "data": {
            "pairs": str(folder / "pairs.jsonl"),
            "video": str(folder / "video"),
            "skeleton": str(folder / "skeleton"),
        },
        "epochs": 2,
        "batch_size": 8,
        "micro_batch": 2,
        "lr": 0.01,
        "precision": "float32",
        "zero": "none",
        "log_every": 1,
        "checkpoint_every": 2,
    }
    path.write_text(yaml.safe_dump(plain | changes))
    return path


def losses(out: Path) -> list[float]:
    """Loss of every update of a run."""
    lines = (out / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]
