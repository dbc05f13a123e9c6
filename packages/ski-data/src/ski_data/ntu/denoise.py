"""From tracked bodies to the performers: the published CTR-GCN denoising chain, quirks included.

The Kinect tracker may give one person several body ids and give furniture a body. The chain keeps
at most two performers per frame and writes them into two slots. Four of its habits look like
mistakes but are part of the published data, so they are kept: gaps in a body's appearances are
closed, the interval of slot 2 starts as [0, 0], intervals may share one frame, and a file with one
body id is passed on without any check. The motion filter of the published scripts is never called
there and does not exist here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ski_data.errors import InputError
from ski_data.ntu.skeleton_file import RawSkeleton


@dataclass(frozen=True)
class DenoiseConfig:
    """Thresholds of the chain.

    Attributes:
        length: Bodies with at most this many appearances are dropped.
        spread_xy: A frame is noisy if a body is wider than this times its height.
        spread_rate: Bodies with at least this share of noisy frames are dropped.
    """

    length: int = 11
    spread_xy: float = 0.8
    spread_rate: float = 0.69754

    def __post_init__(self) -> None:
        if self.length < 0 or self.spread_xy <= 0 or not 0 < self.spread_rate <= 1:
            raise InputError(
                "denoising thresholds: length >= 0, spread_xy > 0 and 0 < spread_rate <= 1 are "
                f"allowed, not {self}"
            )


@dataclass(frozen=True)
class Body:
    """One tracker id: (n, 25, 3) joints of its appearances from frame ``start``, and its motion."""

    joints: np.ndarray
    start: int
    motion: float

    @property
    def end(self) -> int:
        """Last frame of the interval (inclusive); gaps in the appearances are closed."""
        return self.start + len(self.joints) - 1


def track_bodies(raw: RawSkeleton) -> tuple[list[Body], int]:
    """The bodies in order of first appearance, and the number of frames that hold a body.

    Frames without any body are dropped before frames are numbered.

    Raises:
        InputError: One id twice in a frame.
    """
    occupied, frame = np.unique(raw.frame, return_inverse=True)
    ids, first = np.unique(raw.body_id, return_index=True)
    bodies = []
    for body_id in ids[np.argsort(first)]:
        appears = np.flatnonzero(raw.body_id == body_id)
        if len(np.unique(frame[appears])) != len(appears):
            raise InputError(f"{raw.path}: body id {body_id} twice in one frame")
        joints = raw.joints[appears]
        motion = spread_of_points(joints) if len(ids) > 1 else 0.0
        bodies.append(Body(joints, int(frame[appears[0]]), motion))
    return bodies, len(occupied)


def spread_of_points(joints: np.ndarray) -> float:
    """Sum over x, y and z of the variance over all points of (n, 25, 3): the chain's "motion"."""
    return float(joints.reshape(-1, 3).var(axis=0).sum())


def noisy_frames(joints: np.ndarray, spread_xy: float) -> np.ndarray:
    """(n,) bool: frames of (n, 25, 3) in which the body is too wide for its height."""
    extent = joints.max(axis=1) - joints.min(axis=1)
    return extent[:, 0] > spread_xy * extent[:, 1]


def denoise(raw: RawSkeleton, config: DenoiseConfig | None = None) -> np.ndarray:
    """The performers of one recording.

    Args:
        raw: The recording as read.
        config: Thresholds; the published ones by default.

    Returns:
        float32 (n, 75) when one body is left, (n, 150) = slot x joint x xyz when two or more are;
        metres in the camera's frame; a slot without a body is zero.

    Raises:
        InputError: No body is long enough (the published script crashes there).

    Source: CTR-GCN ``data/ntu/get_raw_denoised_data.py``.
    """
    config = config or DenoiseConfig()
    bodies, frames = track_bodies(raw)
    if len(bodies) == 1:
        return bodies[0].joints.reshape(-1, 75)
    bodies = [body for body in bodies if len(body.joints) > config.length]
    if not bodies:
        raise InputError(
            f"{raw.path}: none of its bodies appears in more than {config.length} frames; "
            "leave this recording out"
        )
    bodies = _drop_wide(bodies, config)
    if len(bodies) == 1:
        rows = np.zeros((frames, 75), np.float32)
        _place(rows, bodies[0])
    else:
        rows = _two_slots(sorted(bodies, key=lambda body: -body.motion), frames)
    return rows[rows.sum(axis=1) != 0]


def _drop_wide(bodies: list[Body], config: DenoiseConfig) -> list[Body]:
    left = len(bodies)
    kept = []
    for body in bodies:
        noisy = noisy_frames(body.joints, config.spread_xy)
        if left > 1 and noisy.any():
            if noisy.mean() >= config.spread_rate:
                left -= 1
                continue
            calm = spread_of_points(body.joints[~noisy])
            body = Body(body.joints, body.start, min(body.motion, calm))
        kept.append(body)
    return kept


def _two_slots(bodies: list[Body], frames: int) -> np.ndarray:
    rows = np.zeros((frames, 150), np.float32)
    slots = [rows[:, :75], rows[:, 75:]]
    intervals = [(bodies[0].start, bodies[0].end), (0, 0)]
    _place(slots[0], bodies[0])
    for body in bodies[1:]:
        for slot, (start, end) in enumerate(intervals):
            if min(end, body.end) - max(start, body.start) <= 0:
                _place(slots[slot], body)
                intervals[slot] = (min(start, body.start), max(end, body.end))
                break
    return rows


def _place(slot: np.ndarray, body: Body) -> None:
    slot[body.start : body.end + 1] = body.joints.reshape(-1, 75)
