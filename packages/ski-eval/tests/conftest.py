from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ski_eval import Interval, Predictions, ResultCard


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def make_card() -> Callable[..., ResultCard]:
    def make(**changes) -> ResultCard:
        values = {
            "name": "SKI-ViFi-CLIP, unseen, top-1",
            "method": "SKI-ViFi-CLIP",
            "dataset": "adl-mini",
            "split": "adl-mini 20/5",
            "protocol": "zero-shot",
            "metric": "top-1",
            "value": 0.8,
            "n": 45,
            "interval": Interval(0.7, 0.9, 0.95, "bootstrap, 15 groups"),
            "n_classes": 5,
            "seeds": (0, 1),
            "data_hash": "a" * 64,
            "split_hash": "b" * 64,
            "config": {"lr": 1e-3, "stages": ["scd"]},
            "environment": {"git": {"commit": "c0ffee", "dirty": True}, "versions": {"numpy": "2"}},
            "wall_time_s": 12.5,
            "notes": ("made up",),
        }
        return ResultCard(**{**values, **changes})

    return make


@pytest.fixture
def make_predictions() -> Callable[..., Predictions]:
    def make(strength: float = 1.5, n: int = 60, k: int = 5, seed: int = 0, **changes):
        generator = np.random.default_rng(seed)
        labels = np.arange(n) % k
        logits = generator.normal(size=(n, k)).astype(np.float32)
        logits[np.arange(n), labels] += strength
        values = {
            "names": tuple(f"clip {i:03d}" for i in range(n)),
            "labels": labels,
            "logits": logits,
            "classes": tuple(f"action {c}" for c in range(k)),
            "groups": tuple(f"performance {i // 3}" for i in range(n)),
            "meta": {"method": "made up"},
        }
        return Predictions(**{**values, **changes})

    return make
