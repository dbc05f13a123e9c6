"""A skeleton store of five movements by four people, and a recipe that trains on it in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from ski_data.classes import ClassSet
from ski_data.config import to_plain
from ski_data.layouts import get_layout
from ski_data.store import StoreWriter
from ski_skeleton.text import ClipSizes

TINY_CLIP = ClipSizes(
    embed=16,
    image=32,
    patch=32,
    vision_width=16,
    vision_layers=1,
    vision_head=16,
    text_width=16,
    text_layers=1,
    text_heads=1,
)
MOVEMENTS = ("bow", "clap", "kick", "sit", "wave")
JOINTS = (3, 7, 19, 0, 11)
"""Which joint swings in which movement."""


def write_store(
    folder: Path, *, labels: tuple[int, ...] = (0, 1, 2, 3, 4), named: bool = True, bodies: int = 1
) -> Path:
    """Two clips of 10 frames per label and person 1..4."""
    rng = np.random.default_rng(3)
    body = rng.normal(0, 0.3, (3, 1, 25, 1))
    swing = np.sin(np.linspace(0, 2 * np.pi, 10)) + 1.5
    classes = ClassSet.from_names(MOVEMENTS) if named else None
    with StoreWriter(folder, get_layout("kinect25"), bodies=bodies, classes=classes) as writer:
        for person in (1, 2, 3, 4):
            for label in labels:
                for take in (0, 1):
                    clip = np.repeat(body, 10, 1) + rng.normal(0, 0.02, (3, 10, 25, 1))
                    clip[:, :, JOINTS[label % 5], 0] += swing
                    name = f"p{person}-{label}-{take}"
                    writer.add(name, clip.astype(np.float32), label=label, subject=person)
    return folder


def plain_recipe(store: Path | str) -> dict:
    """Settings that leave out ``sit``, ``wave`` and people 3 and 4."""
    return {
        "data": {"store": str(store), "train_subjects": [1, 2], "unseen": ["sit", "wave"]},
        "model": {
            "encoder": {"heads": 1, "strides": [2], "persons": 1, "output": 16},
            "clip": {"architecture": None, "sizes": to_plain(TINY_CLIP)},
            "temperature": 0.1,
        },
        "feeder": {"window": 8, "min_crop": 4, "rotation": 0.1},
        "classify": {"epochs": 2, "batch_size": 6, "log_every": 1, "optim": {"lr": 0.01}},
        "align": {"epochs": 3, "batch_size": 6, "log_every": 1, "optim": {"lr": 0.01}},
    }


def write_recipe(path: Path, plain: dict) -> Path:
    """The settings as a recipe file."""
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return path
