"""Augmentations of contrastive skeleton learning: shear, rotation, joint mask, crop in time, flip.

Every augmentation takes one float32 clip (C=3, T, V, M) with one parameter, or a batch
(N, C=3, T, V, M) with one parameter per clip, and gives a new array; nothing is drawn in it. The
``draw_`` functions draw the parameters of a batch from a generator that they are given:

    masked = draw_joint_masks(rng, len(clips), joints=25)
    views = mask_joints(clips, masked)

Absent bodies, which are zero, stay zero. Coordinates that are not finite are kept and do not spread
to other joints; in time they reach the frames that are interpolated from theirs.

Source of the rules: AimCLR ``feeder/tools.py`` for the shear, Skeleton-Contrastive
``augmentations.py`` for the joint mask, Hyperformer ``feeders/tools.py`` for rotation and crop.
"""

from __future__ import annotations

import math

import numpy as np

from ski_data.errors import InputError
from ski_data.layouts import KINECT25, Layout
from ski_data.skeleton import rotation_matrix


def draw_shears(rng: np.random.Generator, count: int, amplitude: float = 0.5) -> np.ndarray:
    """(N, 3, 3) float32 with ones on the diagonal, the six others uniform in +-``amplitude``."""
    if not 0 <= amplitude < math.inf:
        raise InputError(f"the amplitude of a shear must be at least 0, not {amplitude}")
    matrices = rng.uniform(-amplitude, amplitude, (_count(count), 3, 3)).astype(np.float32)
    matrices[:, range(3), range(3)] = 1
    return matrices


def draw_rotations(rng: np.random.Generator, count: int, angle: float = 0.3) -> np.ndarray:
    """(N, 3, 3) float32: rotations about x, y and z by angles uniform in +-``angle`` radians."""
    if not 0 <= angle <= math.pi:
        raise InputError(f"the angle of a rotation must be in 0..pi radians, not {angle}")
    angles = rng.uniform(-angle, angle, (_count(count), 3))
    return np.array([rotation_matrix(triple) for triple in angles], np.float32).reshape(-1, 3, 3)


def draw_joint_masks(
    rng: np.random.Generator, count: int, joints: int, masked: int | None = None
) -> np.ndarray:
    """(N, V) bool, True for ``masked`` joints of each clip; by default 3 of 5 (15 of 25)."""
    masked = joints * 3 // 5 if masked is None else masked
    if not 0 <= masked <= joints:
        raise InputError(f"masked must be in 0..{joints}, the number of joints, not {masked}")
    ranks = rng.random((_count(count), joints)).argsort(axis=1).argsort(axis=1)
    return ranks < masked


def draw_crops(
    rng: np.random.Generator,
    valid: np.ndarray,
    share: tuple[float, float] = (0.5, 1.0),
    min_crop: int = 1,
) -> np.ndarray:
    """Random parts of clips in time: the share of the frames uniform, then the begin uniform.

    Args:
        rng: Source of chance.
        valid: (N,) frames of each clip that hold bodies; crops stay within them.
        share: Smallest and largest share of the frames that a crop keeps.
        min_crop: A crop is at least this long, if the clip is.

    Returns:
        (N, 2) int64, begin and end of each crop, 0 <= begin < end <= valid.

    Raises:
        InputError: A clip without frames, or a share outside (0, 1].
    """
    valid = np.asarray(valid)
    if valid.ndim != 1 or not (valid.dtype.kind in "iu" or valid.size == 0):
        raise InputError(f"valid must be (N,) whole numbers, not {valid.dtype} {valid.shape}")
    if (valid < 1).any():
        raise InputError(f"clip {int(np.argmax(valid < 1))} has no frame to crop from")
    if len(share) != 2 or not 0 < share[0] <= share[1] <= 1 or min_crop < 1:
        raise InputError(
            f"share must be 0 < low <= high <= 1 and min_crop at least 1, not {share}, {min_crop}"
        )
    valid = valid.astype(np.int64)
    wanted = np.floor(valid * rng.uniform(*share, len(valid))).astype(np.int64)
    lengths = np.minimum(np.maximum(wanted, min_crop), valid)
    begins = rng.integers(0, valid - lengths + 1)
    return np.stack([begins, begins + lengths], axis=1)


def draw_flips(rng: np.random.Generator, count: int, probability: float = 0.5) -> np.ndarray:
    """(N,) bool, True with ``probability``."""
    if not 0 <= probability <= 1:
        raise InputError(f"the probability of a flip must be in 0..1, not {probability}")
    return rng.random(_count(count)) < probability


def transform(clips: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Shear or turn clips: every joint's coordinates, a column vector, times the clip's matrix.

    Args:
        clips: (3, T, V, M) or (N, 3, T, V, M) float32.
        matrices: (3, 3) or (N, 3, 3), of :func:`draw_shears` or :func:`draw_rotations`.

    Raises:
        InputError: Other shapes, or clips that are not float32.
    """
    batch, matrices = _batch(clips, matrices, (3, 3))
    moved = matrices.astype(np.float32) @ batch.reshape(len(batch), 3, math.prod(batch.shape[2:]))
    return moved.reshape(clips.shape)


def mask_joints(clips: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """Zero the joints that ``masked`` names, in all frames and bodies of a clip.

    Args:
        clips: (3, T, V, M) or (N, 3, T, V, M) float32.
        masked: (V,) or (N, V) bool, of :func:`draw_joint_masks`.

    Raises:
        InputError: Other shapes or types.
    """
    batch, masked = _batch(clips, masked, clips.shape[-2:-1])
    _check_bool(masked, "masked")
    count, channels, frames, joints, bodies = batch.shape
    points = batch.reshape(count, channels, frames, joints * bodies)
    hidden = masked.repeat(bodies, axis=1)[:, None, None]
    return np.where(hidden, np.float32(0), points).reshape(clips.shape)


def flip(clips: np.ndarray, flipped: np.ndarray | bool, layout: Layout = KINECT25) -> np.ndarray:
    """Mirror the clips that ``flipped`` names: x changes its sign, left and right joints swap.

    AimCLR's spatial flip swaps the joints only, which turns the body inside out; this one mirrors.

    Args:
        clips: (3, T, V, M) or (N, 3, T, V, M) float32, x to the side, the mirror at x = 0.
        flipped: () or (N,) bool, of :func:`draw_flips`.
        layout: Joints of the clips; its left-right pairs swap.

    Raises:
        InputError: Other shapes or types, or the joints are not the layout's.
    """
    batch, flipped = _batch(clips, flipped, ())
    _check_bool(flipped, "flipped")
    if batch.shape[3] != len(layout.joints):
        raise InputError(
            f"the clips have {batch.shape[3]} joints, layout {layout.name} has {len(layout.joints)}"
        )
    result = batch.copy()
    mirrored = batch[flipped][:, :, :, layout.mirror]
    mirrored[:, 0] = 0 - mirrored[:, 0]
    result[flipped] = mirrored
    return result.reshape(clips.shape)


def crop_resize(clips: np.ndarray, crops: np.ndarray, window: int) -> np.ndarray:
    """Frames begin..end of each clip, resampled to ``window`` frames.

    Linear between half-pixel centres with clamped ends, as :func:`ski_data.skeleton.resize_time`.

    Args:
        clips: (3, T, V, M) or (N, 3, T, V, M) float32.
        crops: (2,) or (N, 2) whole numbers, begin and end, of :func:`draw_crops`.
        window: Frames of the result.

    Returns:
        float32 (3, window, V, M) or (N, 3, window, V, M).

    Raises:
        InputError: Other shapes or types, or crops that are empty or outside the clip.
    """
    batch, crops = _batch(clips, crops, (2,))
    frames = batch.shape[2]
    if crops.dtype.kind not in "iu" or window < 1:
        raise InputError(f"crops must be whole numbers and window at least 1, not {window}")
    begins, ends = crops.astype(np.int64).T[:, :, None]
    wrong = (begins < 0) | (begins >= ends) | (ends > frames)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"crop {at} is {crops[at].tolist()}; 0 <= begin < end <= {frames}, the clip's frames, "
            "is allowed"
        )
    last = ends - begins - 1
    at = np.clip((np.arange(window) + 0.5) * ((last + 1) / window) - 0.5, 0, last)
    low = at.astype(np.int64)
    weight = (at - low).astype(np.float32)
    high = np.where(weight > 0, np.minimum(low + 1, last), low)
    rows = np.arange(len(batch))[:, None]
    weight = weight[:, :, None, None, None]
    result = batch[rows, :, begins + low] * (1 - weight)
    result += batch[rows, :, begins + high] * weight
    result = np.ascontiguousarray(result.swapaxes(1, 2))
    return result if clips.ndim == 5 else result[0]


def _batch(
    clips: np.ndarray, parameters: np.ndarray | bool, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Clips (N, 3, T, V, M) and parameters (N, *shape), from one of each or N of each."""
    parameters = np.asarray(parameters)
    if clips.ndim not in (4, 5) or clips.shape[-4] != 3 or clips.dtype != np.float32:
        raise InputError(
            f"clips must be float32 (3, T, V, M) or (N, 3, T, V, M), not {clips.dtype} "
            f"{clips.shape}"
        )
    wanted = (*clips.shape[:-4], *shape)
    if parameters.shape != wanted:
        raise InputError(
            f"for clips {clips.shape} the parameters must be {wanted}, not {parameters.shape}"
        )
    return (clips, parameters) if clips.ndim == 5 else (clips[None], parameters[None])


def _check_bool(array: np.ndarray, name: str) -> None:
    if array.dtype != bool:
        raise InputError(f"{name} must be bool, not {array.dtype}")


def _count(count: int) -> int:
    if count < 0:
        raise InputError(f"the number of clips must be at least 0, not {count}")
    return count
