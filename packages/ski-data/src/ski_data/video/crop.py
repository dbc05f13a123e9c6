"""Person crops: one box per clip around everybody in it, so that the picture does not jitter.

Published video-language training on NTU RGB+D cut the person out per frame (joint box and 64
pixels in all, squeezed to 224 x 224). Here the box spans all frames of the clip and keeps the
proportions; a model that was trained on the one kind is not comparable on the other.
"""

from __future__ import annotations

import math

import numpy as np

from ski_data.errors import InputError
from ski_data.ntu.denoise import DenoiseConfig
from ski_data.video.people import ImageJoints

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the video as shown; x1 and y1 are the first ones outside."""

MARGIN = 0.1
MIN_SIDE = 32
"""Least side of a box in pixels, where the picture has that many."""
_BRIEF = DenoiseConfig().length
"""Bodies seen in no more frames are taken for furniture, as the published NTU denoising does."""


def person_box(joints: ImageJoints, width: int, height: int, margin: float = MARGIN) -> Box | None:
    """The box of a clip: square, in the middle of all bodies of all frames.

    Args:
        joints: Where the bodies are. Bodies of at most 11 frames are left out if others stay.
        width: Of the video's pictures.
        height: See ``width``.
        margin: Added on each side, as a share of the longer side of the box around the joints.

    Returns:
        The box, moved into the picture; where the square is larger than the picture, it is cut to
        it and no longer square. None if no joint is in the picture.

    Raises:
        InputError: A negative margin.
    """
    if not 0 <= margin < math.inf:
        raise InputError(f"margin must be a share of 0 or more, not {margin}")
    lasting = joints.known.sum(axis=1) > _BRIEF
    chosen = lasting if lasting.any() else np.ones_like(lasting)
    points = joints.points[chosen][joints.seen[chosen]]
    size = np.array([width, height], np.float32)
    near = np.isfinite(points).all(axis=1)
    near[near] = ((points[near] >= -size) & (points[near] <= 2 * size)).all(axis=1)
    points = points[near]
    if not len(points):
        return None
    low, high = np.maximum(points.min(axis=0), 0), np.minimum(points.max(axis=0), size)
    if (low > high).any() or (low >= size).any():
        return None
    side = max(float((high - low).max()) * (1 + 2 * margin), MIN_SIDE)
    (x0, x1), (y0, y1) = (
        _span(float(low[axis] + high[axis]) / 2, math.ceil(side), int(size[axis]))
        for axis in (0, 1)
    )
    return x0, y0, x1, y1


def _span(middle: float, side: int, limit: int) -> tuple[int, int]:
    """``side`` pixels around ``middle``, moved into 0..limit, or all of them if it is longer."""
    if side >= limit:
        return 0, limit
    start = min(max(round(middle - side / 2), 0), limit - side)
    return start, start + side
