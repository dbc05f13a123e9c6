"""A small zero-shot problem: features are a linear image of class texts, plus noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.texts import ClassTexts

VERBS, NOUNS = 6, 5
PARTS = {"up": (0, 1), "down": (2, 3)}


def texts(seed: int = 0, width: int = 8) -> tuple[tuple[str, ...], ClassTexts]:
    """Thirty classes "verb noun"; a name is the sum of both, a part's text says one of them."""
    rng = np.random.default_rng(seed)
    verbs, nouns = rng.normal(size=(VERBS, width)), rng.normal(size=(NOUNS, width))
    pairs = [(v, n) for v in range(VERBS) for n in range(NOUNS)]
    v = torch.tensor(np.array([verbs[i] for i, _ in pairs]), dtype=torch.float32)
    n = torch.tensor(np.array([nouns[i] for _, i in pairs]), dtype=torch.float32)
    unit = torch.nn.functional.normalize
    v, n = unit(v, dim=-1), unit(n, dim=-1)
    names = tuple(f"verb{i} noun{j}" for i, j in pairs)
    name_text = torch.cat([v, n], 1)
    parts = torch.stack([torch.cat([v, 0 * n], 1), torch.cat([0 * v, n], 1)], 1)
    return names, ClassTexts(name_text, n, v, parts)


def features(
    names: tuple[str, ...],
    class_texts: ClassTexts,
    *,
    seed: int = 0,
    per_person: int = 3,
    width: int = 16,
    noise: float = 0.15,
    trained_on: tuple[str, ...] | None = (),
) -> FeatureSet:
    """Clips of ten people; the map's upper joints tell the verb, the lower ones the noun."""
    rng = np.random.default_rng(seed + 1)
    assert class_texts.nouns is not None
    assert class_texts.verbs is not None
    v, n = class_texts.verbs.numpy(), class_texts.nouns.numpy()
    to_v = rng.normal(size=(v.shape[1], width)) / 2
    to_n = rng.normal(size=(n.shape[1], width)) / 2
    people, labels = np.meshgrid(np.arange(10), np.repeat(np.arange(len(names)), per_person))
    people, labels = people.ravel(), labels.ravel()
    upper, lower = v[labels] @ to_v, n[labels] @ to_n
    maps = np.stack([upper, upper, lower, lower], -1)[:, :, None]  # (N, D, 1, V)
    maps = (maps + rng.normal(0, noise, maps.shape)).astype(np.float32)
    pooled = maps.mean((2, 3)) * 2
    order = rng.permutation(len(labels))
    count = len(labels)
    return FeatureSet(
        tuple(f"clip{i}" for i in range(count)),
        labels[order].astype(np.int64),
        people[order].astype(np.int64),
        np.full(count, -1),
        np.full(count, -1),
        names,
        pooled[order].astype(np.float32),
        maps=maps[order],
        masked=np.stack([0.5 * pooled[order]] * 2, 1).astype(np.float32),
        trained_on=trained_on,
    )


def unit(rows: int, width: int, seed: int = 0) -> Tensor:
    """Random unit vectors in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)
