"""A trained model as a folder of a few megabytes: what trained, and which base model it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ski_data.config import from_plain, to_plain
from ski_lvlm import __version__
from ski_lvlm.base import BaseConfig, Precision, load_language_model, load_tokenizer
from ski_lvlm.errors import ConfigError
from ski_lvlm.model import SkiLvlm
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_skeleton.errors import CheckpointError
from ski_skeleton.train import read_model, write_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

KIND = "ski-lvlm"
_LORA = "language_model."


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank changes of the frozen language model, by peft."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the linear layers that get them."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not 0 <= self.dropout < 1 or not self.targets:
            raise ConfigError(
                f"{self}: rank and alpha from 1, dropout below 1, at least one target"
            )


@dataclass(frozen=True)
class LvlmConfig:
    """What a model folder says: how to build the model again."""

    base: BaseConfig
    projectors: ProjectorConfig = field(default_factory=ProjectorConfig)
    lora: LoraSettings | None = None


def assemble(language_model: PreTrainedModel, vocabulary: int, config: LvlmConfig) -> SkiLvlm:
    """A loaded base model with new projectors (and LoRA), on its device and in its precision.

    Raises:
        ConfigError: Projectors of another width, or LoRA targets that the base model lacks.
    """
    projectors = Projectors(config.projectors)
    projectors.to(device=language_model.device, dtype=language_model.dtype)
    model = SkiLvlm(language_model, projectors, vocabulary)
    if config.lora is not None:
        _add_lora(language_model, config.lora)
    return model


def save_lvlm(
    folder: str | Path,
    config: LvlmConfig,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
) -> Path:
    """Write a model folder: projectors, boundary rows, LoRA; never the base model.

    Raises:
        ski_data.errors.ExistingOutputError: the folder is already there.
    """
    return write_model(folder, KIND, config, state, {"ski-lvlm": __version__, **meta})


def save_untrained(
    folder: str | Path, projectors: Projectors, base: str, notes: Mapping[str, Any]
) -> Path:
    """Write a model folder of published projectors, with the published prompts and video tokens.

    Args:
        folder: To make.
        projectors: For this base model.
        base: Hub id or folder of the language model.
        notes: Kept with the model.

    Raises:
        ski_data.errors.ExistingOutputError: the folder is already there.
    """
    from ski_lvlm.conversations import PromptConfig
    from ski_lvlm.features import VideoTokens

    config = LvlmConfig(BaseConfig(base), projectors.config)
    skeleton = "absent" if projectors.skeleton is None else "features"
    meta = {
        "base": to_plain(config.base),
        "prompts": to_plain(PromptConfig(skeleton=skeleton)),
        "features": {"video": {"settings": to_plain(VideoTokens())}},
        **notes,
    }
    state = {f"projectors.{name}": value for name, value in projectors.state_dict().items()}
    return save_lvlm(folder, config, state, meta)


def load_lvlm(
    folder: str | Path,
    *,
    base: str | None = None,
    precision: Precision = "float32",
    device: str | torch.device = "cpu",
    skeletons: bool = True,
) -> tuple[SkiLvlm, PreTrainedTokenizerFast, dict[str, Any]]:
    """A trained model on its base model, its tokenizer and the notes saved with it.

    Args:
        folder: What :func:`save_lvlm` wrote.
        base: Where the base model is now, if not under the name that it was trained with.
        precision: Of the base model and the projectors.
        device: Where to.
        skeletons: Without, the skeleton projector's weights are neither needed nor loaded.

    Raises:
        MissingFileError: No such folder.
        CheckpointError: Another kind of model, or entries that do not fit; each is named.
        ConfigError: A base model that cannot be loaded or does not fit.
    """
    _, plain, state, meta = read_model(folder, KIND)
    config = from_plain(LvlmConfig, plain, str(folder))
    if base is not None:
        config = replace(config, base=replace(config.base, name=base, revision=None))
    if not skeletons:
        config = replace(config, projectors=replace(config.projectors, skeleton_channels=None))
        state = {k: v for k, v in state.items() if not k.startswith("projectors.skeleton.")}
    tokenizer, vocabulary = load_tokenizer(config.base)
    language_model = load_language_model(config.base, precision=precision, device=device)
    model = assemble(language_model, vocabulary, config)
    wanted = dict(_trained(model))
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    odd = [k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape]
    if missing or unknown or odd:
        raise CheckpointError(
            f"{folder}: does not fit: missing {missing}, unknown {unknown}, of another shape {odd}"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(state[name])
    return model.eval(), tokenizer, meta


def _trained(model: SkiLvlm) -> list[tuple[str, nn.Parameter]]:
    return [
        (name, p)
        for name, p in model.named_parameters()
        if not name.startswith(_LORA) or p.requires_grad
    ]


def _add_lora(language_model: nn.Module, settings: LoraSettings) -> None:
    import peft

    made = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
    )
    try:
        peft.inject_adapter_in_model(made, language_model)
    except ValueError as error:
        raise ConfigError(f"LoRA: {error}") from error
