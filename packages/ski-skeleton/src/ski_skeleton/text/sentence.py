"""A Hugging Face sentence encoder as a frozen text tower (extra ``sentence``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError
from ski_skeleton.text.cache import RecentTexts
from ski_skeleton.weights import shorten


@dataclass(frozen=True)
class SentenceConfig:
    """Which encoder gives the text vectors."""

    model: str
    """A transformers id (``sentence-transformers/all-MiniLM-L6-v2``) or a local folder."""


class SentenceTextTower(nn.Module):
    """Mean of the last hidden states over the real tokens; never trained, each list cached."""

    def __init__(self, config: SentenceConfig) -> None:
        super().__init__()
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ConfigError(
                "sentence encoders need transformers: pip install 'ski-skeleton[sentence]'"
            ) from error
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(config.model)
            self.encoder, info = AutoModel.from_pretrained(config.model, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(
                f"{config.model}: no sentence encoder could be loaded ({first}); give a "
                "transformers id or a local folder"
            ) from error
        missing = sorted(k for k in info["missing_keys"] if not k.startswith("pooler."))
        if missing:  # transformers would leave them random; a pooler is not used here
            raise ConfigError(
                f"{config.model}: the sentence encoder's weights lack {len(missing)} entries "
                f"({shorten(missing)}); give a complete model"
            )
        self.width = int(self.encoder.config.hidden_size)
        positions = getattr(self.encoder.config, "max_position_embeddings", None)
        limits = (self.tokenizer.model_max_length, positions)
        self.longest = min(limit for limit in limits if limit is not None)
        self.frozen = True
        self._cache = RecentTexts()
        self.freeze()

    def freeze(self) -> SentenceTextTower:
        """It is frozen already; here so that towers are exchangeable."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> SentenceTextTower:
        """Stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def _apply(self, *args: object, **kwargs: object) -> SentenceTextTower:  # device or dtype
        self._cache.clear()
        return super()._apply(*args, **kwargs)  # type: ignore[arg-type]

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        self._cache.clear()
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts, cut to what the encoder takes, to features ``(K, D)``, not normalised."""
        key = tuple(texts)
        if key not in self._cache:
            hidden, mask = self._hidden(texts)
            self._cache[key] = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self._cache[key]

    @torch.no_grad()
    def token_text(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Every token of the texts ``(K, L, D)``, and how many ``(K,)``; behind stands anything."""
        hidden, mask = self._hidden(texts)
        return hidden, mask.sum(1).long()

    def _hidden(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Last hidden states ``(K, L, D)`` and 1 for real tokens, 0 behind them ``(K, L)``."""
        device = next(self.encoder.parameters()).device
        tokens = self.tokenizer(
            list(texts),
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        )
        tokens = {k: v.to(device) for k, v in tokens.items()}
        hidden = self.encoder(**tokens).last_hidden_state
        return hidden, tokens["attention_mask"].to(hidden.dtype)

    def unit_text(self, texts: Sequence[str]) -> Tensor:
        """:meth:`encode_text` scaled to unit length."""
        return F.normalize(self.encode_text(texts), dim=-1)
