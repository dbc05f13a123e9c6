"""What a recipe will do, before it does it: parameters, updates and memory, on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ski_data.errors import SkiDataError
from ski_data.instructions import read_instructions
from ski_lvlm.base import BaseConfig, meta_language_model
from ski_lvlm.engine import shipped_config
from ski_lvlm.errors import ConfigError, SkiLvlmError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.lvlm_folder import assemble
from ski_lvlm.model import ROWS_AT_ONCE, SkiLvlm
from ski_lvlm.recipe import LvlmRecipe, model_config

GIB = 2**30
PUBLISHED = {"video": (356, 1024), "skeleton": (256, 216)}
"""Tokens and channels that are assumed where features are not there yet."""
TEXT_TOKENS = 120
"""Tokens of system text, question and answer that are assumed for a prompt."""
_MASTER = 3 * 4  # float32 weight and two moments


@dataclass(frozen=True)
class Plan:
    """Sizes of one training run, for one of its processes where it says bytes."""

    base_parameters: int
    trained: dict[str, tuple[int, ...]]
    """Shapes of what trains, by name."""
    pairs: int | None
    """Training pairs; None where the file is not there."""
    updates: int | None
    parts: int
    """Micro-batches of a process and update."""
    prompt_tokens: int
    """Assumed length of a prompt."""
    base_bytes: int
    trained_bytes: int
    """Weights, gradients, float32 copies and moments of what trains."""
    activation_bytes: int
    """Of one micro-batch, with attention that keeps no matrix of positions by positions."""
    output_bytes: int
    """Of the output layer over one part of the supervised positions."""
    deepspeed: Mapping[str, Any] | None
    notes: tuple[str, ...]

    @property
    def trained_parameters(self) -> int:
        """Numbers that train."""
        return sum(torch.Size(shape).numel() for shape in self.trained.values())

    @property
    def bytes(self) -> int:
        """Estimate of one process's memory, without what the device's libraries take."""
        return self.base_bytes + self.trained_bytes + self.activation_bytes + self.output_bytes


def plan(recipe: LvlmRecipe, *, processes: int = 1) -> Plan:
    """Build the model of a recipe without weights and count.

    Features and pairs that are not there yet are noted, and published sizes assumed.

    Args:
        recipe: What is to be trained.
        processes: Of the training.

    Raises:
        ConfigError: A base model whose configuration cannot be loaded, settings that do not fit it,
            or a batch that cannot be dealt to so many processes.
    """
    if processes < 1 or recipe.batch_size % (recipe.micro_batch * processes):
        raise ConfigError(
            f"batch_size {recipe.batch_size} cannot be dealt to {processes} processes in "
            f"micro-batches of {recipe.micro_batch}; change micro_batch or the processes"
        )
    notes: list[str] = []
    visual = {
        name: _tokens(recipe, name, notes)
        for name in PUBLISHED
        if getattr(recipe.prompts, name) != "absent"
    }
    model = _model(recipe, {name: channels for name, (_, channels) in visual.items()})
    tokens = min(TEXT_TOKENS + sum(rows for rows, _ in visual.values()), recipe.prompts.max_length)
    trained = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    count = sum(torch.Size(shape).numel() for shape in trained.values())
    size = torch.empty((), dtype=getattr(torch, recipe.precision)).element_size()
    sharded = processes if recipe.zero in ("2", "3", "3_offload") else 1
    pairs, updates = _updates(recipe, notes)
    activations = recipe.micro_batch * tokens * _bytes_per_token(model, recipe, size)
    vocabulary = model.language_model.config.get_text_config().vocab_size
    supervised = min(ROWS_AT_ONCE, recipe.micro_batch * tokens)
    return Plan(
        base_parameters=sum(p.numel() for p in model.language_model.parameters()),
        trained=trained,
        pairs=pairs,
        updates=updates,
        parts=recipe.batch_size // (recipe.micro_batch * processes),
        prompt_tokens=tokens,
        base_bytes=_base_bytes(model.language_model, recipe, size, processes),
        trained_bytes=count * (2 * size) + count * (_MASTER + 4) // sharded,
        activation_bytes=activations,
        output_bytes=supervised * vocabulary * (size + 2 * 4),
        deepspeed=None if recipe.zero == "none" else shipped_config(recipe.zero),
        notes=tuple(notes),
    )


def report(found: Plan) -> str:
    """The plan as lines of text."""
    shapes = ", ".join(f"{name} {shape}" for name, shape in found.trained.items())
    pairs = "unknown" if found.pairs is None else str(found.pairs)
    updates = "unknown" if found.updates is None else str(found.updates)
    parts = {
        "base model": found.base_bytes,
        "what trains": found.trained_bytes,
        "activations": found.activation_bytes,
        "output layer": found.output_bytes,
    }
    lines = [
        f"base model: {found.base_parameters / 1e6:.1f} M parameters, frozen",
        f"trained: {found.trained_parameters / 1e6:.3f} M: {shapes}",
        f"pairs: {pairs}, updates: {updates}, micro-batches of a process and update: {found.parts}",
        f"memory of one process: about {found.bytes / GIB:.2f} GiB ("
        + ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
        + f"), for prompts of {found.prompt_tokens} tokens",
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def _model(recipe: LvlmRecipe, channels: Mapping[str, int]) -> SkiLvlm:
    language_model = meta_language_model(
        BaseConfig(recipe.base.name, recipe.base.revision, recipe.base.gguf_file),
        precision=recipe.precision,
    )
    width = language_model.get_input_embeddings().weight.shape[1]
    with torch.device("meta"):
        return assemble(language_model, 0, model_config(recipe, width, channels))


def _tokens(recipe: LvlmRecipe, name: str, notes: list[str]) -> tuple[int, int]:
    """Rows and channels of a clip's features."""
    path = getattr(recipe.data, name)
    if path is None:
        raise ConfigError(
            f"prompts.{name} is {getattr(recipe.prompts, name)}, but data.{name} names no features"
        )
    try:
        store = FeatureStore(path)
        return tuple(store[store.names[0]].shape)  # type: ignore[return-value]
    except (SkiDataError, SkiLvlmError) as error:
        rows, channels = PUBLISHED[name]
        notes.append(f"{error}; {rows} tokens of {channels} channels are assumed")
        return rows, channels


def _updates(recipe: LvlmRecipe, notes: list[str]) -> tuple[int | None, int | None]:
    try:
        pairs = len(read_instructions(recipe.data.pairs))
    except SkiDataError as error:
        notes.append(str(error))
        return None, None
    if pairs < recipe.batch_size:
        notes.append(f"{pairs} pairs are less than one batch of {recipe.batch_size}")
    return pairs, pairs // recipe.batch_size * recipe.epochs


def _base_bytes(model: nn.Module, recipe: LvlmRecipe, size: int, processes: int) -> int:
    """Frozen weights on one device; stage 3 keeps a share and gathers a layer at a time."""
    weights = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    if recipe.base.quantised is not None:
        return int(weights * {"4bit": 0.5, "8bit": 1.0}[recipe.base.quantised])
    if recipe.zero not in ("3", "3_offload"):
        return weights * size
    layer = max(sum(p.numel() for p in block.parameters()) for block in _blocks(model))
    table = model.get_input_embeddings().weight.numel()
    kept = 0 if recipe.zero == "3_offload" else weights * size // processes
    return kept + 2 * max(layer, table) * size


def _bytes_per_token(model: SkiLvlm, recipe: LvlmRecipe, size: int) -> int:
    """What the forward pass keeps for the backward one.

    A frozen linear layer keeps nothing. The two norms of a block keep their inputs in float32,
    attention its queries, keys, values and result, the gated layers their three inner values.
    """
    config = model.language_model.config.get_text_config()
    width, layers = config.hidden_size, config.num_hidden_layers
    heads = config.num_attention_heads
    shared = (getattr(config, "num_key_value_heads", None) or heads) / heads
    inner = getattr(config, "intermediate_size", None) or 4 * width
    block = 2 * 4 * width + int((2 + 2 * shared) * width) * size + 3 * inner * size
    if recipe.checkpointing:
        return layers * width * size + block
    return layers * block


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder's layers."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    return list(max(lists, key=lambda m: sum(p.numel() for p in m.parameters())))
