"""Settings of the benchmark: one YAML per data set, and the class splits of all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_skeleton.encoders import EncoderConfig
from ski_skeleton.stgcn import StgcnConfig
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.train import TrainConfig
from ski_skeleton.zeroshot.smie import SmieConfig
from ski_skeleton.zeroshot.star import StarConfig
from ski_skeleton.zeroshot.synse import SynseConfig

HERE = Path(__file__).parent
SETS = ("ui_prmd", "hdm05", "bandai_namco_2")
SPLITS = HERE / "splits.json"
PHRASES = HERE / "phrases.json"


@dataclass(frozen=True)
class Draw:
    """Which sets of unseen classes are tried: all there are, or some drawn once."""

    unseen: int
    """Unseen classes of a split."""
    count: int | None = None
    """Splits; None takes all."""
    seed: int = 0


@dataclass(frozen=True)
class RealSet:
    """One data set, and how everything is trained on it."""

    title: str
    mapping: str
    """Of ``ski-data import``."""
    train: TrainRule
    """Clips of seen classes that train; the others test."""
    testing: str
    """Who tests, in words."""
    draw: Draw
    feeder: FeederConfig
    pretrain: TrainConfig
    """Encoder, on the seen classes."""
    align: TrainConfig
    """SkeletonCLIP, from that encoder."""
    encoder: EncoderConfig = field(default_factory=lambda: StgcnConfig(output=None))
    temperature: float = 0.1
    """SkeletonCLIP's."""
    synse: SynseConfig = field(default_factory=SynseConfig)
    smie: SmieConfig = field(default_factory=SmieConfig)
    star: StarConfig = field(default_factory=StarConfig)


def read_set(name: str) -> RealSet:
    """Settings of one of :data:`SETS`.

    Raises:
        InputError: no such set, or settings that cannot be.
    """
    if name not in SETS:
        raise InputError(f"no set {name!r}; there are {', '.join(SETS)}")
    path = HERE / f"{name}.yaml"
    return from_plain(RealSet, read_yaml(path), str(path))


def draw_splits(classes: int, draw: Draw) -> list[tuple[int, ...]]:
    """Sets of unseen labels in the order in which they are run, which is random.

    Raises:
        InputError: more splits than there are.
    """
    every = list(combinations(range(classes), draw.unseen))
    count = len(every) if draw.count is None else draw.count
    if not 0 < count <= len(every):
        raise InputError(f"there are {len(every)} splits, {count} are wanted")
    order = np.random.default_rng(draw.seed).permutation(len(every))[:count]
    return [every[i] for i in order]


def read_splits(name: str) -> list[tuple[int, ...]]:
    """The splits of a set as they stand in the data file."""
    return [tuple(split) for split in json.loads(SPLITS.read_text(encoding="utf-8"))[name]]
