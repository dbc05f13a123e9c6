"""TDSM: a diffusion model that denoises skeleton features best under their own class text.

Do and Kim, "Bridging the skeleton-text modality gap: diffusion-powered modality alignment for
zero-shot skeleton-based action recognition" (TDSM), ICCV 2025. Noise is added to a feature; the
network that is to tell the noise gets the text of the right class, and must fail under a wrong one.
The answer is the class under whose text one fixed noise is told best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.train.task import Batch, Losses, Task
from ski_skeleton.zeroshot.dit import FeatureDenoiser


@dataclass(frozen=True)
class TdsmConfig:
    """Denoiser, noise, training and answer of a TDSM."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    text_tokens: int = 35
    """Most tokens of a text; longer ones are cut."""
    norm_feature: bool = True
    """Layer-normalise features, so that noise means the same for every encoder; the released code
    takes them as they are."""
    timesteps: int = 50
    first_beta: float = 0.00085
    """Variance of the first step's noise; roots of the variances are equally spaced."""
    last_beta: float = 0.012
    margin: float = 1.0
    """By how much the wrong text's error should exceed the right one's."""
    triplet_weight: float = 1.0
    test_step: int = 25
    """Time step at which classes are compared, from 0."""
    noises: int = 1
    """Fixed noises over which the error is averaged at test (released: 3)."""
    noise_seed: int = 0
    """Of these noises; one draw or another moves the accuracy by up to 2.5 points."""
    epochs: int = 50
    epoch_steps: int = 1000
    """Batches of an epoch (published: 50000 in all)."""
    batch_size: int = 256
    lr: float = 1e-4
    weight_decay: float = 0.01
    warmup_steps: int = 100
    precision: Literal["no", "bf16"] = "no"
    """Autocast in training; classes are always compared in float32."""

    def __post_init__(self) -> None:
        wrong = not_positive(
            self,
            "width",
            "depth",
            "heads",
            "text_tokens",
            "timesteps",
            "first_beta",
            "noises",
            "epochs",
            "epoch_steps",
            "batch_size",
            "lr",
        )
        wrong += [
            f"{name} must not be negative, got {getattr(self, name)}"
            for name in (
                "margin",
                "triplet_weight",
                "noise_seed",
                "weight_decay",
                "warmup_steps",
            )
            if getattr(self, name) < 0
        ]
        if self.heads > 0 and self.width % self.heads:
            wrong.append(f"width {self.width} is no multiple of {self.heads} heads")
        if not self.first_beta <= self.last_beta < 1:
            wrong.append(f"betas must rise below 1, got {self.first_beta} and {self.last_beta}")
        if not 0 <= self.test_step < self.timesteps:
            wrong.append(f"test_step must be in 0..{self.timesteps - 1}, got {self.test_step}")
        if wrong:
            raise ConfigError("TDSM: " + "; ".join(wrong))


def official_preset(config: TdsmConfig) -> TdsmConfig:
    """What the released code computes: features as they are, three noises at test."""
    return replace(config, norm_feature=False, noises=3)


class TokenTexts(NamedTuple):
    """Texts of K classes as the denoiser takes them."""

    whole: Tensor
    """``(K, E)``."""
    tokens: Tensor
    """``(K, L, E)``."""
    lengths: Tensor
    """``(K,)``, how many tokens are real."""

    def rows(self, index: Tensor) -> TokenTexts:
        """The texts of some classes ``(N,)``."""
        return TokenTexts(self.whole[index], self.tokens[index], self.lengths[index])


def signal_share(config: TdsmConfig) -> Tensor:
    """Share of the feature's variance that is left at each time step, float64 ``(timesteps,)``."""
    root = torch.linspace(
        config.first_beta**0.5, config.last_beta**0.5, config.timesteps, dtype=torch.float64
    )
    return (1 - root**2).cumprod(0)


class Tdsm(nn.Module):
    """The denoiser with its noise schedule and the fixed noises of the test."""

    share: Tensor
    noise: Tensor

    def __init__(self, config: TdsmConfig, feature_width: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.denoiser = FeatureDenoiser(
            feature_width,
            text_width,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            positions=config.text_tokens,
        )
        generator = torch.Generator().manual_seed(config.noise_seed)
        noise = torch.randn(config.noises, feature_width, generator=generator)
        self.register_buffer("share", signal_share(config).float(), persistent=False)
        self.register_buffer("noise", noise, persistent=False)

    def texts(self, whole: Tensor, tokens: Tensor, lengths: Tensor) -> TokenTexts:
        """Texts as they are fed: layer-normalised, so that any tower's will do, and cut.

        Args:
            whole: ``(K, E)``.
            tokens: ``(K, L, E)``.
            lengths: ``(K,)``.
        """
        cut = self.config.text_tokens
        return TokenTexts(
            F.layer_norm(whole, whole.shape[-1:]),
            F.layer_norm(tokens[:, :cut], tokens.shape[-1:]),
            lengths.clamp(max=cut),
        )

    def noisy(self, feature: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """Features ``(N, D)`` with noise ``(N, D)`` of their time steps ``(N,)``."""
        share = self.share[step].unsqueeze(-1)
        return share.sqrt() * feature + (1 - share).sqrt() * noise

    def errors(self, feature: Tensor, noise: Tensor, step: Tensor, texts: TokenTexts) -> Tensor:
        """Mean squared error ``(N,)`` of the noise that is told under each sample's text."""
        if self.config.norm_feature:
            feature = F.layer_norm(feature, feature.shape[-1:])
        told = self.denoiser(self.noisy(feature, noise, step), step, *texts)
        return (told - noise).square().mean(-1)

    def losses(
        self,
        feature: Tensor,
        label: Tensor,
        wrong: Tensor,
        noise: Tensor,
        step: Tensor,
        texts: TokenTexts,
    ) -> Losses:
        """The terms of a batch and their sum ``loss``.

        Args:
            feature: ``(N, D)``.
            label: rows of ``texts`` ``(N,)``.
            wrong: other classes ``(N,)``; where one is the label itself, no triplet counts.
            noise: ``(N, D)``, the same under both texts.
            step: time steps ``(N,)``.
            texts: of all classes.
        """
        both = torch.cat([label, wrong])
        error = self.errors(
            feature.repeat(2, 1), noise.repeat(2, 1), step.repeat(2), texts.rows(both)
        )
        right, other = error.chunk(2)
        triplet = (F.relu(right - other + self.config.margin) * (label != wrong)).mean()
        return {
            "loss": right.mean() + self.config.triplet_weight * triplet,
            "denoise": right.mean(),
            "triplet": triplet,
        }

    def scores(self, feature: Tensor, texts: TokenTexts) -> Tensor:
        """Minus the error under each class's text, ``(N, K)``, averaged over the fixed noises."""
        count = len(feature)
        step = torch.full((count,), self.config.test_step, device=feature.device)
        columns = []
        for index in range(len(texts.whole)):
            own = texts.rows(torch.full((count,), index, device=feature.device))
            tried = [self.errors(feature, e.expand_as(feature), step, own) for e in self.noise]
            columns.append(-torch.stack(tried).mean(0))
        return torch.stack(columns, 1)


class TdsmTask(Task):
    """Training of a TDSM; batches hold ``feature`` ``(N, D)`` and ``label`` ``(N,)``.

    Args:
        model: the denoiser.
        texts: of all classes, see :meth:`Tdsm.texts`; only the seen ones are used.
        seen: rows of the classes that train, from which wrong ones are drawn.
    """

    whole: Tensor
    tokens: Tensor
    lengths: Tensor
    seen: Tensor

    def __init__(self, model: Tdsm, texts: TokenTexts, seen: list[int]) -> None:
        super().__init__()
        self.model = model
        for name, value in texts._asdict().items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("seen", torch.as_tensor(seen), persistent=False)

    def losses(self, batch: Batch) -> Losses:
        """See :meth:`Tdsm.losses`; wrong classes, noise and steps are drawn here."""
        feature, label = batch["feature"], batch["label"]
        count, device = len(feature), feature.device
        wrong = self.seen[torch.randint(len(self.seen), (count,), device=device)]
        step = torch.randint(self.model.config.timesteps, (count,), device=device)
        texts = TokenTexts(self.whole, self.tokens, self.lengths)
        return self.model.losses(feature, label, wrong, torch.randn_like(feature), step, texts)
