"""CLIP's tokenizer, model builder and text tower, on open_clip."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError
from ski_skeleton.text.blocks import are_plain, causal_block, end_token_block, full_precision
from ski_skeleton.text.cache import RecentTexts
from ski_skeleton.weights import load_strictly, read_weights

if TYPE_CHECKING:  # importing them takes seconds, so functions that need them do
    import open_clip
    from open_clip.model import CLIP

CONTEXT = 77
"""Token positions of CLIP's text tower."""
VOCABULARY = 49408
"""Entries of CLIP's byte-pair vocabulary."""


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of a CLIP without a name; its image tower is a Vision Transformer or a timm model."""

    embed: int = 512
    """Width D of the joint space."""
    image: int = 224
    """Side of the square input in pixels."""
    timm: str | None = None
    """A timm image tower (``mobilenetv3_small_050``) in place of the transformer of these sizes:"""
    patch: int = 16
    """Side of a patch in pixels."""
    vision_width: int = 768
    vision_layers: int = 12
    vision_head: int = 64
    """Channels of an attention head of the image tower."""
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8

    def __post_init__(self) -> None:
        wrong = []
        if self.timm is None and self.image % self.patch:
            wrong.append(f"image side {self.image} is no multiple of patch {self.patch}")
        if self.timm is None and self.vision_width % self.vision_head:
            wrong.append(f"vision_width {self.vision_width} / vision_head {self.vision_head}")
        if self.text_width % self.text_heads:
            wrong.append(f"text_width {self.text_width} / text_heads {self.text_heads}")
        if wrong:
            raise ConfigError("CLIP sizes do not divide: " + "; ".join(wrong))
        if self.timm is not None:
            import timm

            if not timm.is_model(self.timm):
                raise ConfigError(
                    f"timm has no model {self.timm!r}; names are listed by timm.list_models()"
                )


@dataclass(frozen=True)
class ClipConfig:
    """Which CLIP to build and which weights to give it."""

    architecture: str | None = "ViT-B-16-quickgelu"
    """Name of an open_clip architecture; None builds from ``sizes``."""
    pretrained: str | None = None
    """An open_clip tag of that architecture (``openai``) or a local weight file; None = random."""
    sizes: ClipSizes | None = None
    """Sizes for a tower without a name."""

    def __post_init__(self) -> None:
        if (self.architecture is None) == (self.sizes is None):
            raise ConfigError("give either an open_clip architecture or sizes, not both or none")


def build_clip(config: ClipConfig) -> CLIP:
    """An open_clip model in float32 on the CPU, evaluation mode left to the caller.

    Raises:
        ConfigError: an unknown architecture or tag; the message lists the known ones.
        CheckpointError: a local file that does not cover the model.
    """
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    if config.sizes is not None:
        s = config.sizes
        model = CLIP(
            s.embed,
            CLIPVisionCfg(
                layers=s.vision_layers,
                width=s.vision_width,
                head_width=s.vision_head,
                patch_size=s.patch,
                image_size=s.image,
                timm_model_name=s.timm,
                timm_proj="",  # the model's own head projects; open_clip's misjudges MobileNets
            ),
            CLIPTextCfg(width=s.text_width, heads=s.text_heads, layers=s.text_layers),
            quick_gelu=True,
        )
    else:
        if config.architecture not in open_clip.list_models():
            raise ConfigError(
                f"open_clip has no architecture {config.architecture!r}; "
                f"names are listed by open_clip.list_models(), e.g. {open_clip.list_models()[:5]}"
            )
        tag = config.pretrained
        tags = open_clip.list_pretrained_tags_by_model(config.architecture)
        if tag is not None and tag in tags:
            model = open_clip.create_model(config.architecture, pretrained=tag, weights_only=True)
        else:
            model = _random_clip(config.architecture)
        if not isinstance(model, CLIP):
            raise ConfigError(
                f"{config.architecture} keeps its text tower apart; the students need a plain "
                "CLIP architecture such as ViT-B-16-quickgelu"
            )
        if tag is None or tag in tags:
            return model
        if not Path(tag).exists():
            raise ConfigError(
                f"{tag!r} is neither a file nor a tag of {config.architecture}; tags: {tags}"
            )
    if config.pretrained is not None:
        load_strictly(model, openai_state(read_weights(config.pretrained)), config.pretrained)
    return model


def _random_clip(architecture: str) -> CLIP:
    """An open_clip model with random weights, on the default device.

    open_clip warns of random weights; here they are asked for, or others follow.
    """
    import open_clip

    root = logging.getLogger()
    root.addFilter(_is_no_warning)
    try:
        where = torch.get_default_device()  # "meta" where only sizes are asked for
        return open_clip.create_model(architecture, pretrained=None, device=where)
    finally:
        root.removeFilter(_is_no_warning)


def _is_no_warning(record: logging.LogRecord) -> bool:
    return record.levelno != logging.WARNING


def openai_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released OpenAI state dict without its three integer entries; others pass unchanged."""
    integers = ("input_resolution", "context_length", "vocab_size")
    return {k: v for k, v in state.items() if k not in integers}


@functools.cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    import open_clip

    return open_clip.SimpleTokenizer()


def tokenize(texts: Sequence[str], *, context: int = CONTEXT, truncate: bool = False) -> Tensor:
    """CLIP's byte-pair ids with start and end token, zeros behind.

    Args:
        texts: any strings; they are cleaned and lower-cased as CLIP does.
        context: positions of the text tower.
        truncate: cut texts that are too long (the last id is then the end id).

    Returns:
        int64 ``(K, context)``.

    Raises:
        ConfigError: a text that is too long, unless ``truncate``.
    """
    bpe = _tokenizer()
    ids = torch.zeros(len(texts), context, dtype=torch.long)
    for row, text in enumerate(texts):
        tokens = [bpe.sot_token_id, *bpe.encode(text), bpe.eot_token_id]
        if len(tokens) > context:
            if not truncate:
                raise ConfigError(
                    f"text of {len(tokens)} tokens is longer than the tower's {context}: "
                    f"{text[:60]!r}...; shorten it or ask for truncation"
                )
            tokens = [*tokens[: context - 1], bpe.eot_token_id]
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids


class ClipTextTower(nn.Module):
    """The text half of a CLIP: prompts to joint-space vectors.

    Prompts are cut to the longest of the call, which is exact under the causal mask. The token
    embedding never trains (as in ViFi-CLIP and SKI); the rest trains unless frozen, and a frozen
    tower computes each list of prompts once.
    """

    attn_mask: Tensor

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        clip = copy.deepcopy(clip)
        self.token_embedding = clip.token_embedding.requires_grad_(False)
        self.positional_embedding = clip.positional_embedding
        self.transformer = clip.transformer
        self.plain = are_plain(self.transformer.resblocks)
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        self.register_buffer("attn_mask", clip.attn_mask, persistent=False)
        self.width = int(self.text_projection.shape[1])
        self.frozen = False
        self._cache = RecentTexts()

    def freeze(self) -> ClipTextTower:
        """Stop training this tower for good; its answers are cached from now on."""
        self.requires_grad_(False)
        self.frozen = True
        self._cache.clear()
        return self.eval()

    def train(self, mode: bool = True) -> ClipTextTower:
        """A frozen tower stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def _apply(self, *args: object, **kwargs: object) -> ClipTextTower:  # device or dtype moves
        self._cache.clear()
        return super()._apply(*args, **kwargs)  # type: ignore[arg-type]

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._cache.clear()
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Ids ``(K, L)``, zero padded, to features ``(K, D)``, not normalised.

        Ids on the CPU spare a wait for the device, wherever the tower is.
        """
        end = tokens.argmax(-1)
        tokens = self._cut(tokens, end)
        *blocks, last = self.transformer.resblocks
        end = end.to(tokens.device)
        if self.plain:
            x = end_token_block(last, self._hidden(tokens, blocks), end)
        else:
            x = self._hidden(tokens)[torch.arange(len(end), device=end.device), end]
        return self._projected(x)

    def _projected(self, x: Tensor) -> Tensor:
        """States ``(..., W)`` to the joint space ``(..., D)``, also under autocast in full."""
        with full_precision(x):
            return self.ln_final(x.to(self.text_projection.dtype)) @ self.text_projection

    def _cut(self, tokens: Tensor, end: Tensor) -> Tensor:
        """Ids up to the last end token, where the tower is."""
        return tokens[:, : int(end.max()) + 1].to(self.positional_embedding.device)

    def _hidden(self, tokens: Tensor, blocks: Sequence[nn.Module] | None = None) -> Tensor:
        """Ids ``(K, L)`` to states ``(K, L, W)`` behind ``blocks``, or all."""
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        if not self.plain:
            return self.transformer(x, attn_mask=self.attn_mask[:length, :length])
        for block in self.transformer.resblocks if blocks is None else blocks:
            x = causal_block(block, x)
        return x

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Prompts to features ``(K, D)``, not normalised; cached when frozen."""
        key = tuple(texts)
        if self.frozen and key in self._cache:
            return self._cache[key]
        ids = tokenize(texts, context=len(self.positional_embedding), truncate=True)
        if not self.frozen:
            return self.encode_tokens(ids)
        device = self.positional_embedding.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            self._cache[key] = self.encode_tokens(ids)  # serves float32 callers, too
        return self._cache[key]

    def token_text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Every token of the prompts in the joint space ``(K, L, D)``, and how many ``(K,)``.

        The last one of each prompt is :meth:`encode_text`'s vector; behind it stands anything.
        """
        ids = tokenize(texts, context=len(self.positional_embedding), truncate=True)
        end = ids.argmax(-1)
        ids = self._cut(ids, end)
        return self._projected(self._hidden(ids)), end.to(ids.device) + 1

    def unit_text(self, texts: Sequence[str]) -> Tensor:
        """:meth:`encode_text` scaled to unit length."""
        return F.normalize(self.encode_text(texts), dim=-1)


def without_weights(config: ClipConfig) -> ClipConfig:
    """The same architecture with random weights, for models whose weights come from a folder."""
    return replace(config, pretrained=None)
