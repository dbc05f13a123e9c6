"""Tokens of videos and skeletons for the language model, into feature stores.

Videos: patch features of up to 100 frames from an inner layer of a CLIP image tower, pooled over
patches and over frames. Skeletons: one token per time step of a skeleton encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ski_data.config import to_plain
from ski_data.errors import InputError
from ski_data.manifest import Record
from ski_data.store import SkeletonStore
from ski_data.video.decode import probe, read_frames
from ski_data.video.transforms import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from ski_lvlm.errors import ConfigError
from ski_lvlm.feature_store import FeatureWriter
from ski_lvlm.pooling import TEMPORAL_TOKENS, frame_indices, spatio_temporal_pool
from ski_skeleton.loading import load_encoder
from ski_skeleton.store_clips import StoreClips
from ski_skeleton.text.clip import ClipConfig, build_clip

Stored = Literal["float16", "bfloat16", "float32"]
Report = Callable[[int, int, str], None]
"""Called with clips done, clips in all, and a short text."""

NORMALISATION = {"clip": (CLIP_MEAN, CLIP_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
"""Mean and deviation of pixels in 0..255."""
SKELETON_TOKENS = {"official": 75, "paper": 256}
"""Tokens of a clip: as many as 300 frames leave in the released code, and those of the paper."""
_FRAMES = 300


@dataclass(frozen=True)
class VideoTokens:
    """How a video becomes tokens; the defaults are the published ones."""

    clip: ClipConfig = field(
        default_factory=lambda: ClipConfig("ViT-L-14-quickgelu", pretrained="openai")
    )
    layer: int = -2
    """Block whose output is taken, without the class token and without the final norm."""
    frames: int = TEMPORAL_TOKENS
    """Most frames of a video, and rows of its temporal tokens."""
    normalisation: Literal["clip", "imagenet"] = "clip"
    """Of the pixels, as the tower was trained; students of the published code: ImageNet's."""
    stored: Stored = "float16"

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames must be at least 1, got {self.frames}")


@dataclass(frozen=True)
class SkeletonTokens:
    """How a skeleton clip becomes tokens."""

    tokens: int = SKELETON_TOKENS["official"]
    """Tokens of a clip; those of the encoder's time steps are interpolated to this number."""
    frames: int = _FRAMES
    """Frames that the encoder sees: every clip is resampled to so many."""
    stored: Stored = "float16"

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.frames < 1:
            raise ConfigError(f"{self}: tokens and frames must be at least 1")


class ImageTower(nn.Module):
    """Patch features of one inner layer of a CLIP image tower."""

    def __init__(self, config: ClipConfig, layer: int) -> None:
        super().__init__()
        visual = build_clip(config).visual
        if not hasattr(visual, "forward_intermediates"):
            raise ConfigError(f"{config.architecture}: its image tower has no inner layers to take")
        self.visual = visual.requires_grad_(False).eval()
        size = visual.image_size
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        blocks = len(visual.transformer.resblocks) if hasattr(visual, "transformer") else None
        if blocks is not None and not -blocks <= layer < blocks:
            raise ConfigError(f"layer {layer}: the image tower has {blocks} blocks")
        self._layer = layer if blocks is None else layer % blocks
        self._format = "NLC" if blocks is not None else "NCHW"  # all that every timm tower gives

    def forward(self, images: Tensor) -> Tensor:
        """Patch features (B, P, C) of normalised images (B, 3, H, W)."""
        indices = [self._layer] if self._layer >= 0 else -self._layer
        found = self.visual.forward_intermediates(
            images,
            indices=indices,
            normalize_intermediates=False,
            intermediates_only=True,
            output_fmt=self._format,
        )["image_intermediates"][0]
        return found.flatten(2).transpose(1, 2) if found.ndim == 4 else found


def nearest(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames (T, H, W, 3) stretched to ``size`` by taking the nearest pixel, as released."""
    rows, columns = (
        (np.arange(new) * (old / new)).astype(np.int64)
        for new, old in zip(size, frames.shape[1:3], strict=True)
    )
    return frames[:, rows[:, None], columns]


def normalise(frames: Tensor, kind: Literal["clip", "imagenet"] = "clip") -> Tensor:
    """uint8 frames (T, H, W, 3) as normalised images (T, 3, H, W), float32."""
    shift, scale = (torch.tensor(v, device=frames.device) for v in NORMALISATION[kind])
    return ((frames - shift) / scale).permute(0, 3, 1, 2)


def frame_tokens(
    tower: ImageTower, frames: Tensor, settings: VideoTokens, *, batch_size: int = 32
) -> Tensor:
    """Video tokens (L, C) of a clip on the tower's device, in the type that is stored.

    Args:
        tower: The image tower.
        frames: Chosen frames (T, S, S, 3) uint8 at the tower's size S.
        settings: How a video becomes tokens.
        batch_size: Frames that the tower sees at once.
    """
    device = next(tower.parameters()).device
    with torch.inference_mode():
        parts = [
            tower(normalise(part.to(device), settings.normalisation))
            for part in frames.split(batch_size)
        ]
        features = torch.cat(parts).to(getattr(torch, settings.stored))
        return spatio_temporal_pool(features, settings.frames)


def video_features(
    records: Sequence[Record],
    out: str | Path,
    settings: VideoTokens,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    report: Report | None = None,
) -> None:
    """Tokens of this process's share of the videos; after a kill, only what is missing is made.

    Args:
        records: Clips with a video.
        out: Feature store; :func:`ski_lvlm.feature_store.finish` completes it when all processes
            are done.
        settings: How a video becomes tokens.
        device: Of the image tower.
        batch_size: Frames that the tower sees at once.
        workers: Processes that decode.
        rank: Number of this process.
        ranks: Of so many.
        report: Told how far it is.

    Raises:
        InputError: A record without video, or one that cannot be decoded.
        ExistingOutputError: Something else is at ``out``.
        ConfigError: An image tower that cannot be built.
    """
    without = [record.name for record in records if record.video is None]
    if without:
        raise InputError(f"{len(without)} clips have no video, first {without[0]}")
    tower = ImageTower(settings.clip, settings.layer).to(device)
    writer = _writer(out, {"kind": "video", "settings": to_plain(settings)}, rank)
    done = writer.done()
    todo = [record for record in records[rank::ranks] if record.name not in done]
    clips = _Frames([str(record.video) for record in todo], settings.frames, tower.size)
    loader = DataLoader(clips, batch_size=None, num_workers=workers)
    for number, (record, frames) in enumerate(zip(todo, loader, strict=True), 1):
        writer.add(record.name, frame_tokens(tower, frames, settings, batch_size=batch_size))
        if report is not None:
            report(number, len(todo), record.name)
    writer.flush()


def skeleton_features(
    store: SkeletonStore,
    out: str | Path,
    model: str | Path,
    settings: SkeletonTokens,
    *,
    device: str | torch.device = "cpu",
    rank: int = 0,
    ranks: int = 1,
    report: Report | None = None,
) -> None:
    """Tokens of this process's share of a skeleton store, by the encoder of a model folder.

    Arguments and errors otherwise as in :func:`video_features`.

    Raises:
        CheckpointError: A folder without a skeleton encoder.
        ConfigError: An encoder that gives no tokens.
    """
    encoder = load_encoder(model)
    meta: dict[str, Any] = {
        "kind": "skeleton",
        "settings": to_plain(settings),
        "encoder": {"kind": encoder.kind, "trained_on": encoder.trained_on},
        "store": store.sha256,
    }
    writer = _writer(out, meta, rank)
    done = writer.done()
    names = store.names
    todo = [row for row in range(len(store))[rank::ranks] if names[row] not in done]
    clips = StoreClips(
        store,
        todo,
        replace(encoder.feeder, window=settings.frames),
        layout=encoder.layout,
        bodies=encoder.bodies,
        train=False,
    )
    module = encoder.module.to(device)
    for number, row in enumerate(todo, 1):
        clip = torch.from_numpy(clips[number - 1]["skeleton"][None]).to(device)
        with torch.inference_mode():
            tokens = module.encode(clip).tokens
            if tokens is None:
                raise ConfigError(f"{model}: its encoder gives no tokens over time")
            tokens = resample(tokens, settings.tokens)[0]
        writer.add(names[row], tokens.to(getattr(torch, settings.stored)))
        if report is not None:
            report(number, len(todo), names[row])
    writer.flush()


def _writer(out: str | Path, meta: dict[str, Any], rank: int) -> FeatureWriter:
    """The first process claims the folder before the others look at it."""
    if dist.is_initialized() and rank:
        dist.barrier()
    writer = FeatureWriter(out, meta, rank=rank)
    if dist.is_initialized() and not rank:
        dist.barrier()
    return writer


def resample(tokens: Tensor, count: int) -> Tensor:
    """Tokens (N, L, C) at ``count`` places in time, linearly between the nearest two."""
    if tokens.shape[1] == count:
        return tokens
    return F.interpolate(
        tokens.transpose(1, 2), size=count, mode="linear", align_corners=False
    ).transpose(1, 2)


class _Frames:
    """Frames of videos as the image tower takes them, for the loader's processes."""

    def __init__(self, paths: Sequence[str], limit: int, size: tuple[int, int]) -> None:
        self.paths, self.limit, self.size = paths, limit, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        chosen = frame_indices(probe(path).frames, self.limit)
        return torch.from_numpy(nearest(read_frames(path, chosen), self.size))
