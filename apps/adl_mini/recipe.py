"""Every setting of the main job, as one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ski_data.config import from_plain, read_yaml
from ski_data.synthetic import AdlMiniConfig
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.text import ClipSizes
from ski_skeleton.train import TrainConfig
from ski_vlm.distill import ScdConfig

DEFAULT = Path(__file__).with_name("recipe.yaml")


@dataclass(frozen=True)
class AdlMiniRecipe:
    """Data, models and the five trainings of the main job."""

    data: AdlMiniConfig = field(default_factory=AdlMiniConfig)
    stored_frames: int = 16
    """Frames of each clip that are decoded once and kept."""
    short_side: int = 112
    """Shorter side of stored frames in pixels; the image tower sees a crop."""
    frames: int = 8
    """Frames that a student sees at test."""
    train_frames: int = 4
    """Frames that a student sees in training."""
    window: int = 32
    """Time steps that the skeleton encoder sees."""
    clip: ClipSizes = field(default_factory=ClipSizes)
    encoder: HyperformerConfig = field(default_factory=HyperformerConfig)
    temperature: float = 0.05
    """Of SkeletonCLIP's cosines."""
    train_towers: str = "both"
    """Towers of the student that train after the image-text pretraining."""
    pairing: Literal["clip", "class"] = "clip"
    """Which skeleton teaches a video in stage 5: its own, or one of its class, drawn each epoch."""
    pair_dropout: float = 0.0
    """Share of videos that go without a skeleton in stage 5, drawn each epoch."""
    scd: ScdConfig = field(default_factory=ScdConfig)
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    finetune: TrainConfig = field(default_factory=TrainConfig)
    classify: TrainConfig = field(default_factory=TrainConfig)
    align: TrainConfig = field(default_factory=TrainConfig)
    distil: TrainConfig = field(default_factory=TrainConfig)


def read_recipe(path: str | Path, *, data_seed: int | None = None) -> AdlMiniRecipe:
    """The recipe in a YAML file; ``data_seed`` replaces the data set's seed."""
    recipe = from_plain(AdlMiniRecipe, read_yaml(path), str(path))
    if data_seed is not None:
        recipe = replace(recipe, data=replace(recipe.data, seed=data_seed))
    return recipe
