"""Features of every clip of a store by a trained encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore
from ski_skeleton.errors import ConfigError
from ski_skeleton.loading import LoadedEncoder
from ski_skeleton.store_clips import StoreClips
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.smie import masked_clip

Merge = Literal["mean", "reference"]
_NOT_OF_CLIPS = ("label", "subject", "camera", "setup", "frames", "bodies", "offset")
"""Columns that a feature set has by name, or that say where a clip stands in its store."""
Report = Callable[[int, int, str], None]
"""Called with clips done, clips in all, and a short text."""


@dataclass(frozen=True)
class ExtractConfig:
    """What is kept of every clip."""

    maps: bool = False
    """Keep the map per frame and joint, which STAR needs (large)."""
    merge: Merge = "mean"
    """How bodies become one in the maps; ``reference`` mixes neighbouring cells as released."""
    masked: int = 0
    """Draws of the masked clip, for SMIE's temporal term."""
    mask_frames: int = 15
    """Frames that a masked clip loses twice: the most moving ones, then others by chance."""
    seed: int = 0
    """Of the masks."""
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.masked < 0 or self.mask_frames < 1 or self.batch_size < 1:
            raise ConfigError(
                "features: masked must be from 0, mask_frames and batch_size from 1, not "
                f"{self.masked}, {self.mask_frames} and {self.batch_size}"
            )


def merge_bodies(activations: Tensor, how: Merge) -> Tensor:
    """Activations ``(N, M, T, V, D)`` as maps ``(N, D, T, V)``.

    ``reference`` does what the released STAR does: it views ``(N * M, D, T, V)`` in memory as
    ``(N, D, T, V, M)`` and averages over the last axis, which averages neighbouring cells.
    """
    N, M, T, V, D = activations.shape
    if how == "mean":
        return activations.mean(1).permute(0, 3, 1, 2)
    cells = activations.permute(0, 1, 4, 2, 3).contiguous()
    return cells.view(N, D, T, V, M).mean(-1)


@torch.inference_mode()
def extract_features(
    encoder: LoadedEncoder,
    store: SkeletonStore,
    feeder: FeederConfig,
    config: ExtractConfig,
    *,
    classes: ClassSet | None = None,
    meta: dict[str, Any] | None = None,
    device: str | torch.device = "cpu",
    report: Report | None = None,
) -> FeatureSet:
    """Features of every clip of the store that has a label, without augmentation.

    Args:
        encoder: frozen.
        store: clips.
        feeder: window and stream that the encoder was trained with.
        config: what to keep.
        classes: what the labels mean where the store does not say.
        meta: recorded with the features.
        device: where the encoder runs.
        report: progress.

    Raises:
        InputError: no class names, no labelled clips, or an encoder without maps.
    """
    known = store.classes or classes
    if known is None:
        raise InputError(f"{store.folder}: the store names no classes; say of which data set it is")
    labels = np.asarray(store.index["label"], np.int64)
    rows = np.flatnonzero(labels >= 0)
    if not len(rows):
        raise InputError(f"{store.folder}: no clip has a label")
    if labels.max() >= len(known):
        raise InputError(f"{store.folder}: label {labels.max()}, but {len(known)} classes")
    if config.maps and not hasattr(encoder.module, "activations"):
        raise InputError(f"a {encoder.kind} encoder has no maps per frame and joint")
    source = StoreClips(
        store, rows, feeder, layout=encoder.layout, bodies=encoder.bodies, train=False
    )
    module = encoder.module.to(device).eval()
    found: dict[str, list[np.ndarray]] = {"features": [], "maps": [], "masked": []}
    for start in range(0, len(source), config.batch_size):
        numbers = range(start, min(start + config.batch_size, len(source)))
        clips = np.stack([source[i]["skeleton"] for i in numbers])
        batch = torch.from_numpy(clips).to(device)
        found["features"].append(_array(module.encode(batch).features))
        if config.maps:
            found["maps"].append(_array(merge_bodies(module.activations(batch), config.merge)))
        if config.masked:
            found["masked"].append(_masked(module, clips, numbers, config, device))
        if report is not None:
            report(numbers.stop, len(source), "")
    index = {
        name: np.asarray(store.index[name][rows], np.int64)
        for name in ("label", "subject", "camera", "setup")
    }
    further = {
        name: np.asarray(column[rows], np.int64)
        for name, column in store.index.items()
        if name not in _NOT_OF_CLIPS and column.dtype.kind in "iu"
    }
    arrays = {k: np.concatenate(v) for k, v in found.items() if v}
    return FeatureSet(
        source.names,
        index["label"],
        index["subject"],
        index["camera"],
        index["setup"],
        known.names,
        trained_on=encoder.trained_on,
        columns=further,
        meta={"encoder": encoder.kind, "store_sha256": store.sha256, **(meta or {})},
        **arrays,
    )


def _masked(
    module: nn.Module,
    clips: np.ndarray,
    numbers: range,
    config: ExtractConfig,
    device: str | torch.device,
) -> np.ndarray:
    """Features ``(B, R, D)`` of R masked draws of each clip of a batch."""
    draws = []
    for draw in range(config.masked):
        masked = [
            masked_clip(clip, config.mask_frames, np.random.default_rng([config.seed, draw, i]))
            for clip, i in zip(clips, numbers, strict=True)
        ]
        batch = torch.from_numpy(np.stack(masked)).to(device)
        draws.append(_array(module.encode(batch).features))
    return np.stack(draws, 1)


def _array(value: Tensor) -> np.ndarray:
    return value.float().cpu().numpy()
