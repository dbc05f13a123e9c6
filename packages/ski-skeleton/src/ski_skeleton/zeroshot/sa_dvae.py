"""SA-DVAE: a skeleton latent split into what a class text tells and what only the instance shows.

Li et al., "SA-DVAE: Improving zero-shot skeleton-based action recognition by disentangled
variational autoencoders", ECCV 2024. SynSE's alternating schedule with one text autoencoder for the
whole name or sentence; a discriminator keeps the two parts of the skeleton's latent independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.train.task import Batch, Losses, Task
from ski_skeleton.zeroshot.synse import (
    Factors,
    LatentClassifier,
    Vae,
    divergence,
    initialise,
    reparameterise,
)


@dataclass(frozen=True)
class SaDvaeConfig:
    """Sizes, schedule and classifier of a SA-DVAE.

    The published cycles are one pass over the training clips; here a cycle is ``cycle_steps``
    batches whatever their number, and the starts are shares of it, so the schedule fits any set.
    """

    semantic: int = 160
    """Width of the latent that texts share (published: 160 on NTU60, 256 on NTU120)."""
    instance: int = 8
    """Width of the latent that is the skeleton's own (published: 8 and 32)."""
    noise: Literal["independent", "shared"] = "independent"
    """Reparameterisation noise per latent entry, or one number per sample for all of them."""
    cycles: int = 10
    cycle_steps: int = 1200
    """Batches per cycle."""
    batch_size: int = 32
    lr: float = 3.4e-5
    kl_start: float = 0.55
    """Share of a cycle from which the skeleton's divergence counts."""
    cross_start: float = 0.8
    """Share of a cycle after which cross terms, independence and the text's divergence count."""
    ramp: float = 3000.0
    """Steps in which a growing weight gains ``kl_weight``."""
    kl_weight: float = 0.1
    discriminator_every: int = 5
    """The discriminator learns in every so-manieth step (published: 5 on NTU60, 4 on NTU120)."""
    samples: int = 500
    """Latent vectors per class that the classifier is fitted to."""
    classifier_steps: int = 300
    classifier_lr: float = 1e-3

    def __post_init__(self) -> None:
        wrong = not_positive(
            self,
            "semantic",
            "instance",
            "cycles",
            "cycle_steps",
            "batch_size",
            "lr",
            "ramp",
            "discriminator_every",
            "samples",
            "classifier_steps",
            "classifier_lr",
        )
        for name in ("kl_start", "cross_start"):
            if not 0 <= getattr(self, name) <= 1:
                wrong.append(f"{name} must be in 0..1, got {getattr(self, name)}")
        if self.batch_size < 2:
            wrong.append("batch_size must be at least 2: pairs are permuted within a batch")
        if wrong:
            raise ConfigError("SA-DVAE: " + "; ".join(wrong))

    @property
    def latent(self) -> int:
        """Width of the skeleton's whole latent."""
        return self.semantic + self.instance


def factors(config: SaDvaeConfig, cycle: int, step: int) -> Factors:
    """Weights at ``step`` (from 0) of ``cycle`` (from 0): SynSE's shape, starts as shares."""
    begin, cross = (round(s * config.cycle_steps) for s in (config.kl_start, config.cross_start))
    skeleton = config.kl_weight * (step - begin) / config.ramp
    text = config.kl_weight * (step - cross) / config.ramp if cycle > 1 else 0.0
    return Factors(max(skeleton, 0.0), max(text, 0.0), float(step > cross))


class SaDvaeNoise(NamedTuple):
    """Draws of one batch: ``(N, 1)`` shared over the entries, or one per entry."""

    skeleton: Tensor
    text: Tensor


class SaDvae(nn.Module):
    """Two autoencoders and the discriminator of the skeleton's latent."""

    def __init__(self, config: SaDvaeConfig, feature_width: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.skeleton = Vae(feature_width, config.latent, relu=False)
        self.text = Vae(text_width, config.semantic, relu=False)
        inner = max(1, config.latent // 4)
        self.discriminator = nn.Sequential(
            nn.Linear(config.latent, inner), nn.ReLU(), nn.Linear(inner, 1)
        )
        initialise(self)

    def draw(self, count: int, device: torch.device) -> SaDvaeNoise:
        """Noise for a batch of ``count``, from the global generator."""
        shared = self.config.noise == "shared"
        widths = (1, 1) if shared else (self.config.latent, self.config.semantic)
        return SaDvaeNoise(*(torch.randn(count, width, device=device) for width in widths))

    def losses(
        self, feature: Tensor, text: Tensor, noise: SaDvaeNoise, order: Tensor
    ) -> dict[str, Tensor]:
        """All terms of a batch, by name.

        Args:
            feature: ``(N, D)``.
            text: unit vectors ``(N, E)``.
            noise: see :meth:`draw`.
            order: permutation ``(N,)`` that breaks the pairs of semantic and instance part.
        """
        cut = self.config.semantic
        mu, logvar = self.skeleton.encode(feature)
        z = reparameterise(mu, logvar, noise.skeleton)
        text_mu, text_logvar = self.text.encode(text)
        z_text = reparameterise(text_mu, text_logvar, noise.text)
        from_text = self.skeleton.decode(torch.cat([z_text, z[:, cut:]], 1))
        fixed = z.detach()
        broken = torch.cat([fixed[:, :cut], fixed[order, cut:]], 1)
        told = self.discriminator(fixed).squeeze(-1), self.discriminator(broken).squeeze(-1)
        frozen = {k: p.detach() for k, p in self.discriminator.named_parameters()}
        seen = torch.func.functional_call(self.discriminator, frozen, (z,)).squeeze(-1)
        return {
            "rec_skeleton": F.mse_loss(self.skeleton.decode(z), feature),
            "rec_text": F.mse_loss(self.text.decode(z_text), text),
            "cross_text": F.mse_loss(self.text.decode(z[:, :cut]), text),
            "cross_skeleton": F.mse_loss(from_text, feature),
            "kl_skeleton": divergence(mu, logvar),
            "kl_text": divergence(text_mu, text_logvar),
            "dependence": torch.sigmoid(seen).mean(),
            "discriminator": F.softplus(-told[0]).mean() + F.softplus(told[1]).mean(),
        }


def total_loss(terms: dict[str, Tensor], weights: Factors) -> Tensor:
    """What the autoencoders minimise; the discriminator's own loss is not in it."""
    return (
        terms["rec_skeleton"]
        + terms["rec_text"]
        + weights.cross * (terms["cross_text"] + terms["cross_skeleton"])
        + weights.kl_skeleton * terms["kl_skeleton"]
        + weights.kl_text * (terms["kl_text"] + terms["dependence"])
    )


class SaDvaeTask(Task):
    """Training of a SA-DVAE; batches hold ``feature`` ``(N, D)`` and ``label`` ``(N,)``.

    Autoencoders and discriminator share the optimiser, but no gradient crosses between them; in the
    steps in which the discriminator does not learn it has none at all.
    """

    def __init__(self, model: SaDvae, texts: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("texts", F.normalize(texts, dim=-1), persistent=False)
        self.seen = 0

    def get_extra_state(self) -> Tensor:
        """Training batches seen so far."""
        return torch.tensor(self.seen)

    def set_extra_state(self, state: Tensor) -> None:
        """See :meth:`get_extra_state`."""
        self.seen = int(state)

    def losses(self, batch: Batch) -> Losses:
        """All terms, and ``loss`` by the weights of this step."""
        config, texts = self.model.config, self.get_buffer("texts")
        feature, label = batch["feature"], batch["label"]
        noise = self.model.draw(len(feature), feature.device)
        order = torch.randperm(len(feature), device=feature.device)
        terms: dict[str, Any] = self.model.losses(feature, texts[label], noise, order)
        cycle, step = divmod(self.seen, config.cycle_steps)
        loss = total_loss(terms, factors(config, cycle, step))
        if self.seen % config.discriminator_every == 0:
            loss = loss + terms["discriminator"]
        if self.training:
            self.seen += 1
        return {"loss": loss, **terms}


def fit_classifier(model: SaDvae, texts: Tensor, *, seed: int) -> LatentClassifier:
    """A classifier of the classes whose texts ``(U, E)`` are given, from texts alone.

    Fitted to ``samples`` latent vectors per class of the text encoder, full batch, with Adam. The
    global generator is left as it was.
    """
    config, device = model.config, texts.device
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        classifier = LatentClassifier(config.semantic, len(texts), relu=False).to(device)
        target = torch.arange(len(texts), device=device).repeat(config.samples)
        with torch.no_grad():
            mu, logvar = model.text.encode(F.normalize(texts, dim=-1)[target])
            z = reparameterise(mu, logvar, model.draw(len(target), device).text)
        optimizer = torch.optim.Adam(classifier.parameters(), lr=config.classifier_lr)
        with torch.enable_grad():
            for _ in range(config.classifier_steps):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(classifier(z), target).backward()
                optimizer.step()
    return classifier.requires_grad_(False).eval()


@torch.no_grad()
def class_probabilities(model: SaDvae, classifier: LatentClassifier, feature: Tensor) -> Tensor:
    """Probabilities ``(N, U)`` of the classifier's classes for features ``(N, D)``."""
    probabilities: Tensor = classifier(semantic_mean(model, feature)).softmax(-1)
    return probabilities


def semantic_mean(model: SaDvae, feature: Tensor) -> Tensor:
    """The part of the latent mean that texts share, ``(N, semantic)``."""
    return model.skeleton.encode(feature)[0][:, : model.config.semantic]
