"""Heads made unrecognisable: replaced by a few averaged cells, which cannot be undone.

Where the head is follows from body joints, so that heads seen from behind count too. In frames
between two sightings it is interpolated; a frame for which no head of anybody is known is replaced
by a few cells as a whole. Nothing is ever left as it was for want of joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ski_data.errors import InputError
from ski_data.layouts import get_layout
from ski_data.video.people import ImageJoints

CELLS = 4
"""A head is replaced by CELLS x CELLS mean colours, smoothly joined."""
LEAST_CELL = 4
"""But a cell has at least this many pixels to a side."""
HOLD = 15
"""Frames without any sighting that are bridged; frames farther from one are replaced wholly."""
_UNSURE = 1.5
"""Heads that were not seen but interpolated are taken to be larger by this."""
_STEADY = 0.8
"""A head is at least this share of its body's median size in the clip, however it is turned."""


class NoHeadError(InputError):
    """A clip in which no head could be found, so that it cannot be blurred."""


@dataclass(frozen=True)
class Heads:
    """Circles around the heads of a clip, in pixels of the video as shown.

    Attributes:
        centres: float32 (M, T, 2).
        radii: float32 (M, T); 0 where the body is not in the clip (any more).
        nowhere: bool (T,), frames for which no head is known.
    """

    centres: np.ndarray
    radii: np.ndarray
    nowhere: np.ndarray

    def at(self, frames: np.ndarray) -> Heads:
        """Those of chosen frames."""
        return Heads(self.centres[:, frames], self.radii[:, frames], self.nowhere[frames])

    def scaled(self, origin: tuple[int, int], scale: tuple[float, float]) -> Heads:
        """In a picture that was cut out at ``origin`` (x, y) and scaled by ``scale`` (x, y)."""
        centres = (self.centres - np.float32(origin)) * np.float32(scale)
        return Heads(centres, self.radii * np.float32(max(scale)), self.nowhere)


def find_heads(joints: ImageJoints, frames: int) -> Heads:
    """Heads of everybody, in every frame of the video.

    Args:
        joints: Bodies as ``kinect25`` or ``mediapipe33``; their frames are the video's first ones.
        frames: Frames of the video.

    Raises:
        InputError: Another layout.
        NoHeadError: No head in any frame.
    """
    if joints.layout not in _HEADS:
        raise InputError(
            f"no rule where the head is in {joints.layout}; known: {', '.join(_HEADS)}"
        )
    count = min(frames, joints.points.shape[1])
    centres = np.zeros((len(joints.points), frames, 2), np.float32)
    radii = np.zeros(centres.shape[:2], np.float32)
    seen = np.zeros(centres.shape[:2], bool)
    for body, points in enumerate(joints.points[:, :count]):
        centre, radius = _HEADS[joints.layout](points)
        usable = np.isfinite(centre).all(axis=1) & np.isfinite(radius) & (radius > 0)
        times = np.flatnonzero(usable)
        if not len(times):
            continue
        least = _STEADY * np.median(radius[times])
        seen[body, times] = True
        first, last = max(times[0] - HOLD, 0), min(times[-1] + HOLD, frames - 1)
        span = np.arange(first, last + 1)
        for axis in (0, 1):
            centres[body, span, axis] = np.interp(span, times, centre[times, axis])
        radii[body, span] = np.interp(span, times, np.maximum(radius[times], least))
        radii[body, span] *= np.where(seen[body, span], 1, _UNSURE)
    anybody = np.flatnonzero(seen.any(axis=0))
    if not len(anybody):
        raise NoHeadError("no head was found in any frame, so it cannot be blurred")
    after = anybody[np.clip(np.searchsorted(anybody, np.arange(frames)), 0, len(anybody) - 1)]
    before = anybody[
        np.clip(np.searchsorted(anybody, np.arange(frames), side="right") - 1, 0, None)
    ]
    away = np.minimum(*(abs(near - np.arange(frames)) for near in (before, after)))
    return Heads(centres, radii, away > HOLD)


def blur_heads(frames: np.ndarray, heads: Heads) -> np.ndarray:
    """Pictures without recognisable heads.

    Args:
        frames: uint8 (T, H, W, 3); changed in place.
        heads: Of these frames, in their pixels.

    Returns:
        The same array.
    """
    height, width = frames.shape[1:3]
    for t, picture in enumerate(frames):
        if heads.nowhere[t]:
            _cover(picture, max(height, width) / CELLS)
            continue
        for (x, y), radius in zip(heads.centres[:, t], heads.radii[:, t], strict=True):
            if radius <= 0:
                continue
            reach = radius + 1  # the pixels that share its edge
            x0, x1 = (int(np.clip(edge, 0, width)) for edge in (x - reach, np.ceil(x + reach)))
            y0, y1 = (int(np.clip(edge, 0, height)) for edge in (y - reach, np.ceil(y + reach)))
            if x0 < x1 and y0 < y1:
                _cover(picture[y0:y1, x0:x1], max(2 * reach / CELLS, LEAST_CELL))
    return frames


def _cover(region: np.ndarray, cell: float) -> None:
    """Replace a region (H, W, 3) by the mean colours of cells of about ``cell`` pixels."""
    height, width = region.shape[:2]
    size = (max(1, int(width / cell)), max(1, int(height / cell)))
    cells = cv2.resize(np.ascontiguousarray(region), size, interpolation=cv2.INTER_AREA)
    region[:] = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)


def _kinect_heads(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (T, 2) and radii (T,) from Kinect joints (T, 25, 2)."""
    index = get_layout("kinect25").joints.index
    head, neck, left, right, base = (
        points[:, index(name)]
        for name in ("head", "neck", "left_shoulder", "right_shoulder", "spine_base")
    )
    return head, _largest((1.3, head - neck), (0.55, left - right), (0.25, head - base))


def _mediapipe_heads(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (T, 2) and radii (T,) from MediaPipe landmarks (T, 33, 2)."""
    index = get_layout("mediapipe33").joints.index
    face = points[:, : index("mouth_right") + 1]
    left, right = points[:, index("left_shoulder")], points[:, index("right_shoulder")]
    ears = points[:, index("left_ear")] - points[:, index("right_ear")]
    hips = (points[:, index("left_hip")] + points[:, index("right_hip")]) / 2
    middle = face.mean(axis=1)
    up = middle - (left + right) / 2
    extent = face.max(axis=1) - face.min(axis=1)
    # The landmarks lie between eyes and mouth: the skull reaches farther up than the chin down.
    return middle + 0.15 * up, _largest(
        (0.75, up), (1.1, ears), (1.1, extent), (0.45, left - right), (0.25, middle - hips)
    )


def _largest(*parts: tuple[float, np.ndarray]) -> np.ndarray:
    """Frame by frame the largest of the weighted lengths of vectors (T, 2) that are known."""
    lengths = np.stack([weight * np.linalg.norm(vector, axis=-1) for weight, vector in parts])
    return np.where(np.isfinite(lengths), lengths, 0).max(axis=0)


_HEADS = {"kinect25": _kinect_heads, "mediapipe33": _mediapipe_heads}
