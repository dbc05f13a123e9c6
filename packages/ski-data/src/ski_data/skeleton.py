"""Skeleton clips as arrays: crops, resizing in time, rotation, streams, and the Hyperformer feeder.

A clip is float32 (C=3, T, V, M): x y z, frames, joints, bodies. Functions are pure and draw only
from a generator that they are given.

Source of the rules: Hyperformer ``feeders/feeder_ntu.py`` and ``feeders/tools.py``;
:func:`ctrgcn_bone`: CTR-GCN ``feeders/feeder_ntu.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ski_data.errors import InputError
from ski_data.layouts import KINECT25, Layout


def row_to_clip(row: np.ndarray) -> np.ndarray:
    """An archive's row (T, 150) = body x joint x xyz as a clip (3, T, 25, 2)."""
    if row.ndim != 2 or row.shape[1] != 150:
        raise InputError(f"a row must be (T, 150), not {row.shape}")
    return row.reshape(len(row), 2, 25, 3).transpose(3, 0, 2, 1)


def clip_to_row(clip: np.ndarray) -> np.ndarray:
    """A clip (3, T, 25, 2) as an archive's row (T, 150)."""
    _check(clip)
    if clip.shape[2:] != (25, 2):
        raise InputError(f"a row holds 25 joints and 2 bodies, the clip has {clip.shape[2:]}")
    return clip.transpose(1, 3, 2, 0).reshape(clip.shape[1], 150)


def valid_frames(clip: np.ndarray) -> int:
    """How many frames do not sum to zero; the feeder uses that many from the start."""
    _check(clip)
    return int(np.count_nonzero(clip.sum(axis=(0, 2, 3))))


def test_crop(valid: int, p: float) -> tuple[int, int]:
    """The centre crop (begin, end) that keeps about the share ``p`` of ``valid`` frames."""
    begin = int((1 - p) * valid / 2)
    return begin, valid - begin


test_crop.__test__ = False  # type: ignore[attr-defined]  # not a pytest case where it is imported


def train_crop_length(valid: int, p: float, min_crop: int) -> int:
    """Length of a training crop: the share ``p``, at least ``min_crop``, at most ``valid``."""
    return min(max(math.floor(valid * p), min_crop), valid)


def train_crop_at(valid: int, p: float, begin: int, min_crop: int) -> tuple[int, int]:
    """The training crop (begin, end) for drawn values of ``p`` and ``begin``."""
    length = train_crop_length(valid, p, min_crop)
    if not 0 <= begin <= valid - length:
        raise InputError(f"begin must be in 0..{valid - length}, not {begin}")
    return begin, begin + length


def train_crop(
    valid: int, p_range: tuple[float, float], min_crop: int, rng: np.random.Generator
) -> tuple[int, int]:
    """A random crop (begin, end): share uniform in ``p_range``, begin uniform."""
    p = float(rng.uniform(*p_range))
    begin = int(rng.integers(0, valid - train_crop_length(valid, p, min_crop) + 1))
    return train_crop_at(valid, p, begin, min_crop)


def resize_time(clip: np.ndarray, window: int) -> np.ndarray:
    """Resample (3, T, V, M) to ``window`` frames: linear, half-pixel centres, ends clamped."""
    _check(clip)
    frames = clip.shape[1]
    if frames == 0 or window < 1:
        raise InputError(f"cannot resize {frames} frames to {window}; both must be at least 1")
    if frames == window:
        return clip.astype(np.float32)
    at = np.clip((np.arange(window) + 0.5) * (frames / window) - 0.5, 0, frames - 1)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, frames - 1)
    weight = (at - low).astype(np.float32)[:, None, None]
    return clip[:, low] * (1 - weight) + clip[:, high] * weight


def rotation_matrix(angles: np.ndarray) -> np.ndarray:
    """Rz Ry Rx of three angles in radians (about x, y, z) as (3, 3) float32, for column vectors.

    With c, s the cosine and sine: Rx = [[1,0,0],[0,c,s],[0,-s,c]], Ry = [[c,0,-s],[0,1,0],[s,0,c]],
    Rz = [[c,s,0],[-s,c,0],[0,0,1]].
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles, dtype=float), np.sin(angles, dtype=float)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).astype(np.float32)


def rotate(clip: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rotate every joint of (3, T, V, M) about the origin by a (3, 3) matrix."""
    _check(clip)
    return (matrix @ clip.reshape(3, -1)).reshape(clip.shape)


def joint(clip: np.ndarray, layout: Layout = KINECT25) -> np.ndarray:
    """Joint stream: relative to the centre joint, which keeps its own coordinates (trajectory)."""
    _check(clip, layout)
    centre = clip[:, :, layout.centre]
    stream = clip - centre[:, :, None]
    stream[:, :, layout.centre] = centre
    return stream


def ctrgcn_bone(clip: np.ndarray, layout: Layout = KINECT25) -> np.ndarray:
    """Bone stream of CTR-GCN: child minus parent, the centre joint zero."""
    _check(clip, layout)
    child, parent = np.array(layout.bone_pairs).T
    stream = np.zeros_like(clip)
    stream[:, :, child] = clip[:, :, child] - clip[:, :, parent]
    return stream


def bone(clip: np.ndarray, layout: Layout = KINECT25) -> np.ndarray:
    """Bone stream: child minus parent; the centre joint keeps its own coordinates (trajectory)."""
    stream = ctrgcn_bone(clip, layout)
    stream[:, :, layout.centre] = clip[:, :, layout.centre]
    return stream


def motion(stream: np.ndarray) -> np.ndarray:
    """Difference to the next frame, 0 in the last."""
    _check(stream)
    moved = np.zeros_like(stream)
    moved[:, :-1] = stream[:, 1:] - stream[:, :-1]
    return moved


def joint_motion(clip: np.ndarray, layout: Layout = KINECT25) -> np.ndarray:
    """Motion of the joint stream."""
    return motion(joint(clip, layout))


def bone_motion(clip: np.ndarray, layout: Layout = KINECT25) -> np.ndarray:
    """Motion of the bone stream."""
    return motion(bone(clip, layout))


STREAMS: dict[str, Callable[[np.ndarray, Layout], np.ndarray]] = {
    "joint": joint,
    "bone": bone,
    "joint_motion": joint_motion,
    "bone_motion": bone_motion,
    "ctrgcn_bone": ctrgcn_bone,
}


@dataclass(frozen=True)
class FeederConfig:
    """What happens to a clip before a skeleton encoder sees it.

    Attributes:
        window: Frames that the encoder gets.
        stream: ``joint``, ``bone``, ``joint_motion``, ``bone_motion`` or ``ctrgcn_bone``.
        train_crop: Smallest and largest share of the frames that a training crop keeps.
        test_crop: Share of the frames that the centre crop at test time keeps.
        min_crop: A training crop is at least this long, if the clip is.
        rotation: Training clips turn about each axis by up to this angle in radians.
        raw: Nothing of this: the first ``window`` frames as they are, not even moved to the spine,
            zeros behind a shorter clip. With window 300 that is what the released SkeletonCLIP was
            trained on.
    """

    window: int = 64
    stream: str = "joint"
    train_crop: tuple[float, float] = (0.5, 1.0)
    test_crop: float = 0.95
    min_crop: int = 64
    rotation: float = 0.3
    raw: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_crop", tuple(self.train_crop))
        problems = []
        if self.window < 1:
            problems.append(f"window must be at least 1, not {self.window}")
        if self.stream not in STREAMS:
            problems.append(f"unknown stream {self.stream!r}; known: {', '.join(STREAMS)}")
        if len(self.train_crop) != 2 or not 0 < self.train_crop[0] <= self.train_crop[1] <= 1:
            problems.append(f"train_crop must be 0 < low <= high <= 1, not {self.train_crop}")
        if not 0 < self.test_crop <= 1:
            problems.append(f"test_crop must be in (0, 1], not {self.test_crop}")
        if self.min_crop < 1:
            problems.append(f"min_crop must be at least 1, not {self.min_crop}")
        if self.raw and self.stream != "joint":
            problems.append(f"raw clips are joints; stream {self.stream} is for the others")
        if not 0 <= self.rotation <= math.pi:
            problems.append(f"rotation must be in 0..pi radians, not {self.rotation}")
        if problems:
            raise InputError("feeder settings: " + "; ".join(problems))


def feed(
    clip: np.ndarray,
    config: FeederConfig,
    rng: np.random.Generator | None,
    layout: Layout = KINECT25,
) -> np.ndarray:
    """One clip as the encoder gets it: crop, resize, rotate (training only), stream.

    Args:
        clip: (3, T, V, M); zero frames at its end are ignored.
        config: The settings.
        rng: Source of the random crop and rotation; None is the test path, without chance.
        layout: Joints of the clip.

    Returns:
        float32 (3, window, V, M).

    Raises:
        InputError: Every frame is zero, or the joints are not the layout's.
    """
    _check(clip, layout)
    valid = valid_frames(clip)
    if valid == 0:
        raise InputError("the clip has no frame with a body")
    if config.raw:
        padded = np.zeros((3, config.window, *clip.shape[2:]), np.float32)
        kept = min(valid, config.window)
        padded[:, :kept] = clip[:, :kept]
        return padded
    if rng is None:
        begin, end = test_crop(valid, config.test_crop)
    else:
        begin, end = train_crop(valid, config.train_crop, config.min_crop, rng)
    resized = resize_time(clip[:, begin:end], config.window)
    if rng is not None and config.rotation > 0:
        angles = rng.uniform(-config.rotation, config.rotation, 3)
        resized = rotate(resized, rotation_matrix(angles))
    return STREAMS[config.stream](resized, layout)


def _check(clip: np.ndarray, layout: Layout | None = None) -> None:
    if clip.ndim != 4 or clip.shape[0] != 3:
        raise InputError(f"a clip must be (3, T, V, M), not {clip.shape}")
    if layout is not None and clip.shape[2] != len(layout.joints):
        raise InputError(
            f"the clip has {clip.shape[2]} joints, layout {layout.name} has {len(layout.joints)}"
        )
