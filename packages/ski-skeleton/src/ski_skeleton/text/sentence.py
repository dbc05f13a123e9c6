"""A Hugging Face sentence encoder as a frozen text tower (extra ``sentence``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError


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
            self.encoder = AutoModel.from_pretrained(config.model)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{config.model}: no sentence encoder could be loaded "
                f"({str(error).splitlines()[0]}); give a transformers id or a local folder"
            ) from error
        self.width = int(self.encoder.config.hidden_size)
        self.frozen = True
        self._cache: dict[tuple[str, ...], Tensor] = {}
        self.freeze()

    def freeze(self) -> SentenceTextTower:
        """It is frozen already; here so that towers are exchangeable."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> SentenceTextTower:
        """Stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to features ``(K, D)``, not normalised."""
        key = tuple(texts)
        device = next(self.encoder.parameters()).device
        if key not in self._cache or self._cache[key].device != device:
            tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
            tokens = {k: v.to(device) for k, v in tokens.items()}
            hidden = self.encoder(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None].to(hidden.dtype)
            self._cache[key] = (hidden * mask).sum(1) / mask.sum(1)
        return self._cache[key]

    def unit_text(self, texts: Sequence[str]) -> Tensor:
        """:meth:`encode_text` scaled to unit length."""
        return F.normalize(self.encode_text(texts), dim=-1)
