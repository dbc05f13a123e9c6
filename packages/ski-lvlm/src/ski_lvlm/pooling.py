"""Which frames of a clip the language model sees, and how their patch features become tokens."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ski_lvlm.errors import FeatureError

if TYPE_CHECKING:
    from torch import Tensor

Features = TypeVar("Features", np.ndarray, "Tensor")

TEMPORAL_TOKENS = 100
"""Frames of a clip, and rows that their temporal tokens take, in the published models."""


def frame_indices(frames_in_video: int, limit: int = TEMPORAL_TOKENS) -> list[int]:
    """Frames to take from a video: the middle of each of ``min(frames, limit)`` equal segments.

    The segments divide ``frames_in_video - 1``; their borders are rounded half to even and the
    middle is rounded down (published SKI-LVLM sampling). Frames may repeat.

    Raises:
        FeatureError: a video without frames, or a limit below 1.
    """
    if frames_in_video < 1 or limit < 1:
        raise FeatureError(
            f"cannot take at most {limit} frames of a video of {frames_in_video}; both must be at "
            "least 1"
        )
    taken = min(frames_in_video, limit)
    size = (frames_in_video - 1) / taken
    borders = [round(size * i) for i in range(taken + 1)]
    return [(start + end) // 2 for start, end in pairwise(borders)]


def spatio_temporal_pool(features: Features, temporal_tokens: int = TEMPORAL_TOKENS) -> Features:
    """Video tokens from the patch features of a clip's frames.

    First one row per frame (mean over its patches) and rows of zeros up to ``temporal_tokens``,
    then one row per patch (mean over the frames given). The zero rows are not masked later: the
    projector turns them into its bias (published SKI-LVLM and Video-ChatGPT features).

    Args:
        features: (T, P, C) floating patch features without the class token, numpy or torch.
        temporal_tokens: rows for the temporal tokens; a longer clip gets T, nothing is cut.

    Returns:
        (max(temporal_tokens, T) + P, C) of the same kind and dtype. Means are taken in at least
        float32 and rounded once.

    Raises:
        FeatureError: another number of axes, an empty axis, or values that are not floating.
    """
    shape = tuple(features.shape)
    if len(shape) != 3 or 0 in shape:
        raise FeatureError(
            f"patch features of shape {shape}; wanted (frames, patches, channels), none of them 0"
        )
    rows = max(temporal_tokens, shape[0])
    if isinstance(features, np.ndarray):
        return _pool_numpy(features, rows)
    return _pool_torch(features, rows)


def _pool_numpy(features: np.ndarray, rows: int) -> np.ndarray:
    if not np.issubdtype(features.dtype, np.floating):
        raise FeatureError(f"patch features of type {features.dtype}; wanted floating numbers")
    frames, patches, channels = features.shape
    precise = np.promote_types(features.dtype, np.float32)
    tokens = np.zeros((rows + patches, channels), dtype=features.dtype)
    tokens[:frames] = features.mean(axis=1, dtype=precise)
    tokens[rows:] = features.mean(axis=0, dtype=precise)
    return tokens


def _pool_torch(features: Tensor, rows: int) -> Tensor:
    import torch

    if not features.is_floating_point():
        raise FeatureError(f"patch features of type {features.dtype}; wanted floating numbers")
    frames, _, channels = features.shape
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    padding = precise.new_zeros(rows - frames, channels)
    return torch.cat([precise.mean(1), padding, precise.mean(0)]).to(features.dtype)
