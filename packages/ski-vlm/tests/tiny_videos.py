"""Sixteen tiny videos with skeletons, of four actions by four people, and recipes on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from ski_data.layouts import get_layout
from ski_data.store import StoreWriter
from ski_data.synthetic.dataset import encode

ACTIONS = ("bow", "clap", "kick", "wave")
CLIP = {"embed": 16, "image": 32, "patch": 16, "vision_width": 32, "vision_layers": 1}
CLIP |= {"vision_head": 16, "text_width": 16, "text_layers": 1, "text_heads": 1}
TOWERS = {"architecture": None, "sizes": CLIP}
ENCODER = {"heads": 1, "strides": [2], "persons": 1, "output": 16}


def write_clips(folder: Path) -> Path:
    """``clips.jsonl``, ``classes.csv``, videos and the store ``skeletons`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    with StoreWriter(folder / "skeletons", get_layout("kinect25"), bodies=1) as writer:
        for person in (1, 2, 3, 4):
            for label, action in enumerate(ACTIONS):
                name = f"p{person}-{action}"
                frames = rng.integers(0, 60, (8, 32, 32, 3), dtype=np.uint8)
                frames[:, 8 * label : 8 * label + 8] += 150
                encode(folder / f"{name}.mp4", frames)
                joints = rng.normal(0, 0.1, (3, 10, 25, 1)) + np.eye(4)[label].repeat(7)[:25, None]
                writer.add(name, joints.astype(np.float32), label=label, subject=person)
                rows.append(
                    {"name": name, "video": f"{name}.mp4", "label": label, "subject": person}
                )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "clips.jsonl").write_text(text, encoding="utf-8")
    lines = "".join(f"{i},{name}\n" for i, name in enumerate(ACTIONS))
    (folder / "classes.csv").write_text("id,name\n" + lines, encoding="utf-8")
    return folder


def plain_recipe(folder: Path, **changes: object) -> dict:
    """Settings that leave out ``kick``, ``wave`` and people 3 and 4."""
    return {
        "data": {
            "manifest": str(folder / "clips.jsonl"),
            "classes": str(folder / "classes.csv"),
            "skeletons": str(folder / "skeletons"),
            "unseen": ["kick", "wave"],
            "train_subjects": [1, 2],
        },
        "student": {"kind": "vifi-clip", "clip": TOWERS, "frames": 4, "short_side": 32},
        "feeder": {"window": 8, "min_crop": 4},
        "train": {"epochs": 2, "batch_size": 4, "log_every": 1, "optim": {"lr": 0.01}},
        **changes,
    }


def skeleton_side(**changes: object) -> dict:
    """A fresh SkeletonCLIP."""
    return {"model": {"encoder": ENCODER, "clip": TOWERS, "temperature": 0.1}, **changes}


def write_recipe(path: Path, plain: dict) -> Path:
    """The settings as a recipe file."""
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return path
