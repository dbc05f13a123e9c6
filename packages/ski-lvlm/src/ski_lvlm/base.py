"""The frozen language model and its tokenizer: a hub id, a folder, or a GGUF file in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ski_lvlm.errors import ConfigError
from ski_lvlm.model import check_language_model
from ski_lvlm.prompts import add_modality_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Precision = Literal["float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "flash_attention_2", "flash_attention_3"]


@dataclass(frozen=True)
class BaseConfig:
    """Which language model."""

    name: str
    """Hub id, or folder."""
    revision: str | None = None
    """Commit, branch or tag of a hub id."""
    gguf_file: str | None = None
    """File of quantised weights in that folder or repository, such as ``model.Q4_1.gguf``."""
    quantised: Literal["4bit", "8bit"] | None = None
    """Load with bitsandbytes (GPU; the extra ``quantised``)."""


def load_tokenizer(config: BaseConfig) -> tuple[PreTrainedTokenizerFast, int]:
    """The tokenizer with the added tokens, and how many tokens it had before.

    A LLaMA tokenizer is taken as its ``tokenizer.json`` says: the class that transformers 5 has for
    it treats the text behind an added token otherwise than the one that published models were
    trained with.

    Raises:
        ConfigError: Not to be found, or not loadable.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    settings = {"revision": config.revision, "gguf_file": config.gguf_file}
    settings = {key: value for key, value in settings.items() if value is not None}
    with _one_line(config):
        tokenizer = AutoTokenizer.from_pretrained(config.name, **settings)
        if type(tokenizer).__name__.startswith("LlamaTokenizer") and config.gguf_file is None:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(config.name, **settings)
    return tokenizer, add_modality_tokens(tokenizer)


def load_language_model(
    config: BaseConfig,
    *,
    precision: Precision,
    device: str | torch.device = "cpu",
    attention: Attention = "sdpa",
) -> PreTrainedModel:
    """The language model, frozen.

    Raises:
        ConfigError: Not to be found, not loadable, or with logits that training here cannot do.
    """
    from transformers import AutoModelForCausalLM

    settings: dict[str, object] = {"dtype": getattr(torch, precision)}
    if config.revision is not None:
        settings["revision"] = config.revision
    if config.gguf_file is not None:
        settings |= {"gguf_file": config.gguf_file} | _unpacked()
    if config.quantised is not None:
        if config.gguf_file is not None:
            raise ConfigError(
                f"base model {config.name}: gguf_file and quantised={config.quantised} exclude "
                "each other; leave one out"
            )
        settings["quantization_config"] = _quantisation(config.quantised, precision)
        settings["device_map"] = {"": device}
    with _one_line(config):
        model = AutoModelForCausalLM.from_pretrained(
            config.name, attn_implementation=attention, **settings
        )
    check_language_model(model, config.name)
    model.requires_grad_(False).eval()
    return model if config.quantised is not None else model.to(device)


def meta_language_model(config: BaseConfig, *, precision: Precision) -> PreTrainedModel:
    """The language model as its configuration says, on the meta device: shapes, no weights.

    Raises:
        ConfigError: A configuration that is not to be found or makes no causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {"revision": config.revision, "gguf_file": config.gguf_file}
    settings = {key: value for key, value in settings.items() if value is not None}
    with _one_line(config), torch.device("meta"):
        found = AutoConfig.from_pretrained(config.name, **settings)
        model = AutoModelForCausalLM.from_config(found, dtype=getattr(torch, precision))
    return model.requires_grad_(False).eval()


def _unpacked() -> dict[str, object]:
    """Setting to unpack GGUF weights: no gradient passes through packed ones."""
    import transformers

    if not hasattr(transformers, "GgufConfig"):  # versions before it always unpack
        return {}
    return {"quantization_config": transformers.GgufConfig(dequantize=True)}


def _quantisation(bits: str, precision: Precision) -> object:
    import importlib.util

    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"base model in {bits}: bitsandbytes is not installed; `pip install "
            "'ski-lvlm[quantised]'`, or leave quantised out"
        )
    if not torch.cuda.is_available():
        raise ConfigError(f"base model in {bits}: needs a GPU, none is there; leave quantised out")
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, precision),
    )


@contextmanager
def _one_line(config: BaseConfig) -> Iterator[None]:
    """Turn the long errors of a model hub into one that names the base model."""
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(
            f"base model {config.name}: cannot be loaded ({first}); give a hub id or a folder with "
            "config.json, tokenizer.json and weights"
        ) from error
