"""Settings of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ski_data.config import from_plain, read_yaml
from ski_lvlm.base import Attention, BaseConfig, Precision
from ski_lvlm.conversations import PromptConfig
from ski_lvlm.engine import Zero
from ski_lvlm.errors import ConfigError
from ski_lvlm.lvlm_folder import LoraSettings, LvlmConfig
from ski_lvlm.projector import ProjectorConfig


@dataclass(frozen=True)
class DataConfig:
    """Files of a training run; relative paths start at the working folder."""

    pairs: str
    """Training pairs, ``.json`` or ``.jsonl`` (:mod:`ski_data.instructions`)."""
    video: str | None = None
    """Feature store of video tokens, or a folder of published files."""
    skeleton: str | None = None
    """The same of skeleton tokens."""


@dataclass(frozen=True)
class LvlmRecipe:
    """Everything that a training run depends on."""

    base: BaseConfig
    data: DataConfig
    prompts: PromptConfig = field(default_factory=PromptConfig)
    projector_layers: int = 1
    boundary_rows: bool = True
    """Train the embeddings of the six start and end tokens too."""
    start: str | None = None
    """Projectors to start from: a published file, or a model folder of projectors."""
    lora: LoraSettings | None = None
    epochs: int = 3
    batch_size: int = 32
    """Prompts of an update, over all processes."""
    micro_batch: int = 4
    """Prompts that one process takes at once."""
    lr: float = 2e-5
    warmup: float = 0.03
    """Share of the updates over which the learning rate rises from 0; then a cosine to 0."""
    clip_norm: float = 1.0
    seed: int = 42
    precision: Precision = "bfloat16"
    """Of the language model and its activations; what trains is kept in float32."""
    checkpointing: bool = False
    """Compute activations of the language model again in the backward pass, to save memory."""
    attention: Attention = "sdpa"
    """Of the language model; ``flash_attention_2`` needs the package flash-attn and a GPU."""
    packed: bool = False
    """Give the language model the prompts of a micro-batch in one row, without padding."""
    by_clip: bool = False
    """Put the pairs of a clip into one batch, not pairs of like length; with ``packed`` what they
    begin with is computed once. Other batches, so another course of the training."""
    zero: Zero = "2"
    log_every: int = 10
    checkpoint_every: int = 200
    """Updates between two checkpoints."""

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "micro_batch", "log_every", "checkpoint_every")
        wrong = [f"{k} is {getattr(self, k)}, at least 1" for k in counts if getattr(self, k) < 1]
        if self.batch_size % self.micro_batch:
            wrong.append(f"batch_size {self.batch_size} is no multiple of micro_batch")
        if self.lr <= 0 or self.clip_norm <= 0:
            wrong.append("lr and clip_norm must be positive")
        if not 0 <= self.warmup < 1:
            wrong.append(f"warmup is a share from 0 to 1, not {self.warmup}")
        if self.precision == "float16":
            wrong.append("precision float16 is for inference; train in bfloat16 or float32")
        if self.attention != "sdpa" and self.precision == "float32":
            wrong.append(f"attention {self.attention} needs precision bfloat16")
        if wrong:
            raise ConfigError("training: " + "; ".join(wrong))


def model_config(recipe: LvlmRecipe, width: int, channels: Mapping[str, int]) -> LvlmConfig:
    """What is trained, for a base model of this width and features of so many channels."""
    sizes = ProjectorConfig(
        width=width,
        video_channels=channels.get("video"),
        skeleton_channels=channels.get("skeleton"),
        layers=recipe.projector_layers,
        boundary_rows=recipe.boundary_rows,
    )
    return LvlmConfig(recipe.base, sizes, recipe.lora)


def read_recipe(path: str | Path) -> LvlmRecipe:
    """A recipe from a YAML file.

    Raises:
        InputError: not YAML, unknown settings, or values that cannot be used.
    """
    return from_plain(LvlmRecipe, read_yaml(path), str(path))


def learning_rate(recipe: LvlmRecipe, step: int, total: int) -> float:
    """Linear warm-up from 0, then half a cosine to 0; ``step`` from 0."""
    warm = math.ceil(recipe.warmup * total)
    if step < warm:
        return recipe.lr * step / warm
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
