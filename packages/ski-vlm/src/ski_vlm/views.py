"""Several views of a test clip: clips in time times crops in space, probabilities averaged.

As the published X-CLIP (4 x 3), ViFi-CLIP with supervision (4 x 3) and FROSTER (3 x 1) test;
zero-shot results of ViFi-CLIP and SKI are of a single view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ski_data.errors import InputError
from ski_data.manifest import Record
from ski_data.paired import PairedDataset
from ski_data.video.cache import VideoStore
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import multiview_indices, segment_views
from ski_data.video.transforms import VideoTransformConfig, test_transform, three_crop
from ski_vlm.errors import ConfigError

TINY = 1e-30
"""Least probability whose logarithm is a score."""


@dataclass(frozen=True)
class Views:
    """How often a clip is seen in a test."""

    temporal: int = 1
    """Clips of a video: one frame of each of its segments, at even places in them."""
    spatial: Literal[1, 3] = 1
    """1: the middle of frames with the recipe's short side; 3: both ends and the middle of the
    longer side, the shorter one at the model's size."""
    drawn: bool = False
    """Draw the clips by the rule of training, as the published code does, instead of evenly; the
    same draws in each test."""

    def __post_init__(self) -> None:
        if self.temporal < 1 or self.spatial not in (1, 3):
            raise ConfigError(
                f"views: temporal must be at least 1 and spatial 1 or 3, got {self.temporal} and "
                f"{self.spatial}"
            )
        if self.drawn and self.temporal == 1:
            raise ConfigError("views: drawn is for several clips; set temporal")

    @property
    def count(self) -> int:
        """Views of a clip."""
        return self.temporal * self.spatial

    def __str__(self) -> str:
        """``4 clips x 3 crops``."""
        return f"{self.temporal} {'drawn ' if self.drawn else ''}clips x {self.spatial} crops"


class ViewedClips:
    """Test samples whose ``video`` is uint8 ``(V, T, size, size, 3)``, crop by crop.

    Args:
        records: the clips.
        videos: store of decoded videos; None decodes each record's file.
        frames: T.
        config: of the frames.
        views: which.
        skeletons: the same clips' skeletons, where they are asked for.

    Raises:
        InputError: a clip without a video.
    """

    def __init__(
        self,
        records: Sequence[Record],
        videos: VideoStore | None,
        *,
        frames: int,
        config: VideoTransformConfig,
        views: Views,
        skeletons: PairedDataset | None = None,
    ) -> None:
        self.records, self.videos, self.frames = tuple(records), videos, frames
        self.config, self.views, self.skeletons = config, views, skeletons
        for record in self.records:
            if record.video is None if videos is None else record.name not in videos:
                where = "names no video file" if videos is None else f"is not in {videos.folder}"
                raise InputError(f"clip {record.name} {where}")

    def __len__(self) -> int:
        return len(self.records)

    def set_epoch(self, epoch: int) -> None:
        """A test is the same in every epoch."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self.records[index]
        sample = {} if self.skeletons is None else self.skeletons[index]
        label = -1 if record.label is None else record.label
        return {**sample, "index": index, "label": label, "video": self._video(record, index)}

    def _video(self, record: Record, index: int) -> np.ndarray:
        length, views = self.frames, self.views
        if self.videos is not None:
            total = self.videos.length(record.name)
        else:
            assert record.video is not None  # checked at the start
            total = probe(record.video).frames
        if views.drawn:
            rng = np.random.default_rng([0, index])
            chosen = multiview_indices(total, length, views.temporal, rng)
        else:
            chosen = segment_views(total, length, views.temporal)
        if self.videos is not None:
            frames = self.videos.frames(record.name, chosen.ravel())
        else:
            assert record.video is not None
            frames = read_frames(record.video, chosen.ravel())
        if views.spatial == 3:
            crops = three_crop(frames, self.config.size)
        else:
            crops = test_transform(frames, self.config)[None]
        return crops.reshape(views.count, length, *crops.shape[2:])


def averaged(
    answer: Callable[[dict[str, Any], Sequence[str]], Tensor],
    batch: dict[str, Any],
    names: Sequence[str],
) -> Tensor:
    """Logarithms ``(N, K)`` of the mean over views of probabilities.

    Args:
        answer: a batch whose ``video`` is ``(N, T, H, W, 3)`` to logits ``(N, K)``.
        batch: its ``video`` is ``(N, V, T, H, W, 3)``.
        names: K class names.
    """
    shares = [
        answer({**batch, "video": view}, names).float().softmax(-1)
        for view in batch["video"].unbind(1)
    ]
    return torch.stack(shares).mean(0).clamp(min=TINY).log()
