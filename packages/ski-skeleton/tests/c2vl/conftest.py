from __future__ import annotations

import numpy as np
import pytest
import yaml
from tiny_run import write_store

from ski_data.store import SkeletonStore
from ski_skeleton.c2vl import Concepts, read_recipe, save_concepts


@pytest.fixture
def plain(tmp_path):
    """Settings of a run of a second: five movements whose concepts say which joint moves."""
    store = SkeletonStore(write_store(tmp_path / "store"))
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(5, 12))
    own = kinds[store.index["label"]] + rng.normal(0, 0.3, (len(store), 12))
    concepts = Concepts(tuple(store.names), own.astype(np.float32), -own.astype(np.float32))
    save_concepts(concepts, tmp_path / "concepts.npz")
    return {
        "data": {
            "store": str(tmp_path / "store"),
            "concepts": str(tmp_path / "concepts.npz"),
            "train": {"subjects": [1, 2]},
        },
        "model": {
            "encoder": {"heads": 1, "strides": [2], "persons": 1, "output": None},
            "concept_width": 12,
            "width": 8,
        },
        "feeder": {"window": 8, "min_crop": 4, "rotation": 0.0},
        "train": {
            "epochs": 3,
            "batch_size": 8,
            "log_every": 1,
            "checkpoint_seconds": 0.0,
            "optim": {"lr": 0.01},
        },
    }


@pytest.fixture
def recipe(plain, tmp_path):
    """The same as a recipe."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return read_recipe(path)
