"""SMIE: a critic that maximises the mutual information of skeleton features and class texts.

Zhou et al., "Zero-shot skeleton-based action recognition via mutual information estimation and
maximization", ACM MM 2023. It works on pooled skeleton features; its temporal term also needs
features of the same clips with their most moving frames left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.train.task import Batch, Losses, Task


@dataclass(frozen=True)
class SmieConfig:
    """Critic, temporal term and training of a SMIE."""

    hidden: tuple[int, int] = (1024, 512)
    norm_at_test: bool = True
    """Layer-normalise features at test as in training; the released code does not."""
    temporal: bool = False
    """Add the temporal constraint; needs features of masked clips."""
    margin: float = 0.1
    """The masked clip should carry less information than the whole one by this much."""
    temporal_weight: float = 0.5
    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-5
    warmup_epochs: float = 15.0

    def __post_init__(self) -> None:
        wrong = not_positive(self, "epochs", "lr")
        if min(self.hidden) < 1:
            wrong.append(f"hidden widths must be positive, got {self.hidden}")
        if self.batch_size < 2:
            wrong.append(
                f"batch_size must be at least 2 (pairs are shifted), got {self.batch_size}"
            )
        if wrong:
            raise ConfigError("SMIE: " + "; ".join(wrong))


def official_preset(config: SmieConfig) -> SmieConfig:
    """What the released code computes: no layer norm at test."""
    return replace(config, norm_at_test=False)


class Smie(nn.Module):
    """The critic on pairs of a feature ``(N, D)`` and a unit text vector ``(N, E)``."""

    def __init__(self, config: SmieConfig, feature_width: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        first, second = config.hidden
        self.l0 = nn.Linear(feature_width + text_width, first)
        self.l1 = nn.Linear(first, second)
        self.l2 = nn.Linear(second, 1)

    def forward(self, feature: Tensor, text: Tensor) -> Tensor:
        """One number per pair, ``(N,)``; the feature is taken as it is."""
        x = F.relu(self.l0(torch.cat([feature, text], -1)))
        return self.l2(F.relu(self.l1(x)))[..., 0]

    def scores(self, feature: Tensor, text: Tensor) -> Tensor:
        """Scores ``(N, K)`` of features against class texts ``(K, E)``: ``-softplus(-D)``."""
        if self.config.norm_at_test:
            feature = normalise(feature)
        text = F.normalize(text, dim=-1)
        first, second = feature.shape[1], text.shape[1]
        weight_x, weight_l = self.l0.weight.split([first, second], 1)
        # the first layer is a sum of its halves: every pair costs only the upper layers
        x = (feature @ weight_x.T)[:, None] + (text @ weight_l.T + self.l0.bias)[None]
        return -F.softplus(-self.l2(F.relu(self.l1(F.relu(x))))[..., 0])


def normalise(feature: Tensor) -> Tensor:
    """Layer norm of features ``(N, D)`` without scale and shift."""
    return F.layer_norm(feature, feature.shape[-1:])


def information(critic: Smie, joint: Tensor, marginal: Tensor, text: Tensor) -> Tensor:
    """Jensen-Shannon estimate of the mutual information, a scalar.

    Args:
        critic: of pairs.
        joint: features ``(N, D)`` that go with ``text``.
        marginal: features ``(N, D)``; sample i+1 (cyclic) goes with text i as a wrong pair.
        text: unit vectors ``(N, E)``.
    """
    right = critic(joint, text)
    wrong = critic(marginal.roll(-1, 0), text)
    return -F.softplus(-right).mean() - F.softplus(wrong).mean()


def temporal_loss(whole: Tensor, masked: Tensor, margin: float) -> Tensor:
    """Hinge on how much more the whole clip tells than the masked one."""
    return F.relu(margin - (whole - masked))


class SmieTask(Task):
    """Training of the critic.

    Batches hold ``feature`` ``(N, D)``, ``label`` ``(N,)`` (rows of ``text``) and, with the
    temporal term, ``masked`` ``(N, D)``.
    """

    def __init__(self, model: Smie, text: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("text", F.normalize(text, dim=-1), persistent=False)

    def losses(self, batch: Batch) -> Losses:
        """``loss``, the information, and with the temporal term that of masked clips."""
        config, text = self.model.config, self.text[batch["label"]]
        x = normalise(batch["feature"])
        whole = information(self.model, x, x, text)
        found = {"information": whole, "loss": -whole}
        if config.temporal:
            masked = information(self.model, normalise(batch["masked"]), x, text)
            hinge = temporal_loss(whole, masked, config.margin)
            found |= {"masked_information": masked, "temporal": hinge}
            found["loss"] = found["loss"] + config.temporal_weight * hinge
        return found


def motion_attention(clip: NDArray) -> NDArray:
    """How still each frame is: float ``(T,)`` of a clip ``(3, T, V, M)``, from below up to 0.

    Minus the squared difference to the next plus to the previous frame, averaged over coordinates,
    joints and bodies; a neighbour that is not there counts nothing.
    """
    steps = np.zeros((clip.shape[1] + 1,), np.result_type(clip, np.float32))
    steps[1:-1] = np.square(np.diff(clip, axis=1)).mean((0, 2, 3))
    return -(steps[1:] + steps[:-1])


def still_frames(attention: NDArray, drop: int) -> NDArray[np.int64]:
    """The frames without the ``drop`` most moving ones, ascending.

    Raises:
        ConfigError: no frames would be left.
    """
    if not 0 <= drop < len(attention):
        raise ConfigError(f"cannot drop {drop} of {len(attention)} frames")
    return np.sort(np.argsort(-attention, kind="stable")[: len(attention) - drop])


def masked_clip(clip: NDArray, drop: int, rng: np.random.Generator) -> NDArray:
    """A clip ``(3, T - 2 drop, V, M)`` without its ``drop`` most moving and ``drop`` other frames.

    Raises:
        ConfigError: no frames would be left.
    """
    kept = still_frames(motion_attention(clip), drop)
    if len(kept) <= drop:
        raise ConfigError(f"cannot drop twice {drop} of {clip.shape[1]} frames")
    chosen = np.sort(rng.choice(len(kept), len(kept) - drop, replace=False))
    return clip[:, kept[chosen]]
