"""Mixup and cutmix over a batch: labels, boxes and one lambda per batch.

Sample n is mixed with sample N-1-n. Targets and clips may be NumPy arrays or tensors of any
library that is indexed alike.

Source: mixup and cutmix as in the published ViFi-CLIP training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ski_data.errors import InputError

Box = tuple[int, int, int, int]
"""Top, bottom, left, right in pixels; bottom and right are outside."""


@dataclass(frozen=True)
class MixConfig:
    """How batches are mixed.

    Attributes:
        mixup: alpha of lambda ~ Beta(alpha, alpha) for mixup; 0 for no mixup.
        cutmix: The same for cutmix.
        switch: Probability of cutmix where both are on.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or not 0 <= self.switch <= 1:
            raise InputError(
                f"mixing: mixup >= 0, cutmix >= 0 and 0 <= switch <= 1 are allowed, not {self}"
            )


@dataclass(frozen=True)
class Mix:
    """What was drawn for one batch: the share ``lam`` that samples keep, and the box if cutmix."""

    lam: float = 1.0
    box: Box | None = None


def draw_mix(config: MixConfig, height: int, width: int, rng: np.random.Generator) -> Mix:
    """Draw mixup or cutmix and its lambda for one batch."""
    cut = config.cutmix > 0 and (config.mixup == 0 or rng.random() < config.switch)
    if cut:
        lam = float(rng.beta(config.cutmix, config.cutmix))
        box, lam = cutmix_box(height, width, lam, rng)
        return Mix(lam, box)
    if config.mixup > 0:
        return Mix(float(rng.beta(config.mixup, config.mixup)))
    return Mix()


def cutmix_box(height: int, width: int, lam: float, rng: np.random.Generator) -> tuple[Box, float]:
    """A box of area about (1 - lam) of the picture around a uniform centre, cut at the borders.

    Returns:
        The box, the same for all frames, and lambda anew: the share of the picture outside it.
    """
    if not 0 <= lam <= 1 or min(height, width) < 1:
        raise InputError(f"cannot cut a share of {1 - lam} out of {height}x{width} pixels")
    side = math.sqrt(1 - lam)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(y - half_height, 0), min(y + half_height, height)
    left, right = max(x - half_width, 0), min(x + half_width, width)
    return (top, bottom, left, right), 1 - (bottom - top) * (right - left) / (height * width)


def smooth_targets(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """Class probabilities float32 (N, K): 1 - s + s/K at the label, s/K elsewhere.

    Raises:
        InputError: A label outside 0..K-1 or s outside 0..1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels must be whole numbers (N,), not {labels.dtype} {labels.shape}")
    if not 0 <= smoothing < 1:
        raise InputError(f"smoothing must be in [0, 1), not {smoothing}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"labels {labels.min()}..{labels.max()} found, {classes} classes allow 0..{classes - 1}"
        )
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets


def mix_targets(targets: Any, lam: float) -> Any:
    """lam * targets + (1 - lam) * targets in reversed order, (N, K)."""
    return targets * lam + targets[_reversed(targets)] * (1 - lam)


def mix_videos(videos: Any, mix: Mix) -> Any:
    """A new mixed batch; height and width are the last two axes, as in float (N, T, 3, H, W)."""
    other = videos[_reversed(videos)]
    if mix.box is None:
        return videos * mix.lam + other * (1 - mix.lam)
    top, bottom, left, right = mix.box
    mixed = videos[list(range(len(videos)))]
    mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return mixed


def _reversed(batch: Any) -> list[int]:
    return list(range(len(batch) - 1, -1, -1))
