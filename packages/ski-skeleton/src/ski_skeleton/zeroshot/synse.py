"""SynSE: skeleton, noun and verb variational autoencoders that share a syntactic latent space.

Gupta et al., "Syntactically guided generative embeddings for zero-shot skeleton action
recognition", ICIP 2021. The first half of the skeleton's latent vector stands for the noun of a
class name, the second half for its verb. It works on pooled skeleton features and class texts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.train.task import Batch, Losses, Task


@dataclass(frozen=True)
class SynseConfig:
    """Sizes, schedule and classifier of a SynSE; :func:`official_preset` gives the release's."""

    latent: int = 100
    """Width of the skeleton latent (published: 100 on NTU60, 200 on NTU120); half per word."""
    noise: Literal["independent", "shared"] = "independent"
    """Reparameterisation noise per latent entry, or one number per sample for all of them."""
    decoder_relu: bool = False
    """A ReLU behind the decoders; word vectors have negative entries that it cannot reach."""
    classifier_relu: bool = False
    """A ReLU on the class scores, behind which a class can stop learning."""
    cycles: int = 10
    cycle_steps: int = 1900
    """Batches per cycle (published: 1700 for NTU60 55/5, 1900 otherwise)."""
    batch_size: int = 64
    lr: float = 1e-4
    kl_skeleton_start: int = 1000
    """Step of a cycle from which the skeleton's divergence counts."""
    cross_start: int | None = None
    """Step of a cycle after which the cross terms count; None: 1400 of 1700, else 1500."""
    ramp: float = 3000.0
    """Steps in which a divergence's weight grows by ``kl_weight``."""
    kl_weight: float = 0.1
    samples: int = 500
    """Latent vectors per class that the classifier is fitted to."""
    classifier_steps: int = 300
    classifier_lr: float = 1e-3

    def __post_init__(self) -> None:
        wrong = not_positive(
            self,
            "latent",
            "cycles",
            "cycle_steps",
            "batch_size",
            "lr",
            "ramp",
            "samples",
            "classifier_steps",
            "classifier_lr",
        )
        if self.latent % 2:
            wrong.append(f"latent must be even (noun half, verb half), got {self.latent}")
        if wrong:
            raise ConfigError("SynSE: " + "; ".join(wrong))

    @property
    def cross_from(self) -> int:
        """Step of a cycle after which cross terms and the words' divergences count."""
        if self.cross_start is not None:
            return self.cross_start
        return 1400 if self.cycle_steps == 1700 else 1500


def official_preset(config: SynseConfig) -> SynseConfig:
    """What the released code computes: one noise value per sample, ReLU behind every output."""
    return replace(config, noise="shared", decoder_relu=True, classifier_relu=True)


class Vae(nn.Module):
    """A variational autoencoder of two linear maps in and one out."""

    def __init__(self, width: int, latent: int, *, relu: bool) -> None:
        super().__init__()
        self.mu = nn.Linear(width, latent)
        self.logvar = nn.Linear(width, latent)
        self.decoder = nn.Linear(latent, width)
        self.relu = relu
        initialise(self)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, width)`` to mean and log variance, ``(N, latent)`` each."""
        return self.mu(x), self.logvar(x)

    def decode(self, z: Tensor) -> Tensor:
        """``(N, latent)`` to ``(N, width)``."""
        x = self.decoder(z)
        return F.relu(x) if self.relu else x


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights of gain 0.5, biases zero, in every linear layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=0.5)
            nn.init.zeros_(layer.bias)


def reparameterise(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """``mu + exp(logvar / 2) * noise``; noise ``(N, latent)`` or ``(N, 1)``."""
    return mu + torch.exp(0.5 * logvar) * noise


def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of N(mu, exp(logvar)) from N(0, 1): summed over entries, mean over the batch."""
    return -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() / len(mu)


class Factors(NamedTuple):
    """Weights of the loss terms at one step."""

    kl_skeleton: float
    kl_text: float
    cross: float


def factors(config: SynseConfig, cycle: int, step: int) -> Factors:
    """Weights at ``step`` (from 0) of ``cycle`` (from 0).

    The skeleton's divergence ramps up from ``kl_skeleton_start``, cross terms are on behind
    ``cross_from``, the words' divergences ramp up from there, but not in the first two cycles.
    """
    start = config.cross_from
    skeleton = config.kl_weight * (step - config.kl_skeleton_start) / config.ramp
    text = config.kl_weight * (step - start) / config.ramp if cycle > 1 else 0.0
    return Factors(max(skeleton, 0.0), max(text, 0.0), float(step > start))


class Noise(NamedTuple):
    """Draws of one batch: ``(N, 1)`` shared over the entries, or one per entry."""

    skeleton: Tensor
    noun: Tensor
    verb: Tensor


class Pass(NamedTuple):
    """Everything that the losses of a batch are made of."""

    skeleton: tuple[Tensor, Tensor, Tensor, Tensor]
    """Mean, log variance, sample, reconstruction."""
    noun: tuple[Tensor, Tensor, Tensor, Tensor]
    verb: tuple[Tensor, Tensor, Tensor, Tensor]
    noun_from_skeleton: Tensor
    verb_from_skeleton: Tensor
    skeleton_from_text: Tensor


class Synse(nn.Module):
    """The three autoencoders."""

    def __init__(self, config: SynseConfig, feature_width: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        half = config.latent // 2
        relu = config.decoder_relu
        self.skeleton = Vae(feature_width, config.latent, relu=relu)
        self.noun = Vae(text_width, half, relu=relu)
        self.verb = Vae(text_width, half, relu=relu)

    def draw(self, count: int, device: torch.device) -> Noise:
        """Noise for a batch of ``count``, from the global generator."""
        latent = self.config.latent
        widths = (1, 1, 1) if self.config.noise == "shared" else (latent, latent // 2, latent // 2)
        return Noise(*(torch.randn(count, width, device=device) for width in widths))

    def forward(self, feature: Tensor, noun: Tensor, verb: Tensor, noise: Noise) -> Pass:
        """Features ``(N, D)`` and unit word vectors ``(N, E)`` through all paths."""

        def through(vae: Vae, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            mu, logvar = vae.encode(x)
            z = reparameterise(mu, logvar, eps)
            return mu, logvar, z, vae.decode(z)

        s = through(self.skeleton, feature, noise.skeleton)
        n = through(self.noun, noun, noise.noun)
        v = through(self.verb, verb, noise.verb)
        half = self.config.latent // 2
        return Pass(
            s,
            n,
            v,
            self.noun.decode(s[2][:, :half]),
            self.verb.decode(s[2][:, half:]),
            self.skeleton.decode(torch.cat([n[2], v[2]], 1)),
        )

    def losses(self, feature: Tensor, noun: Tensor, verb: Tensor, noise: Noise) -> Losses:
        """Reconstruction, cross and divergence terms of a batch, by name."""
        p = self(feature, noun, verb, noise)
        return {
            "rec_skeleton": F.mse_loss(p.skeleton[3], feature),
            "rec_noun": F.mse_loss(p.noun[3], noun),
            "rec_verb": F.mse_loss(p.verb[3], verb),
            "cross_noun": F.mse_loss(p.noun_from_skeleton, noun),
            "cross_verb": F.mse_loss(p.verb_from_skeleton, verb),
            "cross_skeleton": F.mse_loss(p.skeleton_from_text, feature),
            "kl_skeleton": divergence(*p.skeleton[:2]),
            "kl_noun": divergence(*p.noun[:2]),
            "kl_verb": divergence(*p.verb[:2]),
        }

    def text_latents(self, noun: Tensor, verb: Tensor, noise: Noise) -> Tensor:
        """Samples ``(N, latent)`` of the latent space from word vectors ``(N, E)``."""
        n = reparameterise(*self.noun.encode(noun), noise.noun)
        v = reparameterise(*self.verb.encode(verb), noise.verb)
        return torch.cat([n, v], 1)


def total_loss(terms: Losses, weights: Factors) -> Tensor:
    """What is minimised: reconstructions, and the other terms by their weights."""
    return (
        terms["rec_skeleton"]
        + terms["rec_noun"]
        + terms["rec_verb"]
        + weights.cross * (terms["cross_noun"] + terms["cross_verb"] + terms["cross_skeleton"])
        + weights.kl_skeleton * terms["kl_skeleton"]
        + weights.kl_text * (terms["kl_noun"] + terms["kl_verb"])
    )


class SynseTask(Task):
    """Training of a SynSE; one epoch of the loop is one cycle.

    Batches hold ``feature`` ``(N, D)`` and ``label`` ``(N,)``, rows of ``nouns`` and ``verbs``.
    """

    step: Tensor

    def __init__(self, model: Synse, nouns: Tensor, verbs: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("nouns", F.normalize(nouns, dim=-1), persistent=False)
        self.register_buffer("verbs", F.normalize(verbs, dim=-1), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def losses(self, batch: Batch) -> Losses:
        """All terms, and ``loss`` by the weights of this step."""
        feature, label = batch["feature"], batch["label"]
        noise = self.model.draw(len(feature), feature.device)
        terms = self.model.losses(feature, self.nouns[label], self.verbs[label], noise)
        cycle, step = divmod(int(self.step), self.model.config.cycle_steps)
        if self.training:
            self.step += 1
        return {"loss": total_loss(terms, factors(self.model.config, cycle, step)), **terms}


class LatentClassifier(nn.Module):
    """Class scores ``(N, U)`` of latent vectors ``(N, latent)``: one linear layer."""

    def __init__(self, latent: int, classes: int, *, relu: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(latent, classes)
        self.relu = relu
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        """Scores, not yet probabilities."""
        scores = self.linear(z)
        return F.relu(scores) if self.relu else scores


def fit_classifier(model: Synse, nouns: Tensor, verbs: Tensor, *, seed: int) -> LatentClassifier:
    """A classifier of the classes whose word vectors ``(U, E)`` are given, from words alone.

    Fitted to ``samples`` latent vectors per class of the text encoders, full batch, with Adam. The
    global generator is left as it was.
    """
    config = model.config
    device = nouns.device
    forked = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)
        classifier = LatentClassifier(config.latent, len(nouns), relu=config.classifier_relu)
        classifier.to(device)
        target = torch.arange(len(nouns), device=device).repeat(config.samples)
        n, v = F.normalize(nouns, dim=-1)[target], F.normalize(verbs, dim=-1)[target]
        with torch.no_grad():
            z = model.text_latents(n, v, model.draw(len(target), device))
        optimizer = torch.optim.Adam(classifier.parameters(), lr=config.classifier_lr)
        with torch.enable_grad():
            for _ in range(config.classifier_steps):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(classifier(z), target).backward()
                optimizer.step()
    return classifier.requires_grad_(False).eval()


@torch.no_grad()
def class_probabilities(model: Synse, classifier: LatentClassifier, feature: Tensor) -> Tensor:
    """Probabilities ``(N, U)`` of the classifier's classes for features ``(N, D)``."""
    return classifier(model.skeleton.encode(feature)[0]).softmax(-1)
