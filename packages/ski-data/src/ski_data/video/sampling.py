"""Which frames of a video become a clip.

By segments, as in the published training code: a video of N frames is cut into T equal segments,
one frame each (:func:`train_indices`, :func:`test_indices`, :func:`segment_views`). Dense: T frames
that are ``stride`` apart (:func:`dense_indices`, :func:`dense_views`). By time, for files of
variable frame rate: :func:`time_indices`. A video shorter than the clip is no error: its frames
repeat. For multi-view testing, V clips in time times 3 crops in space::

    views = segment_views(probe(path).frames, 16, 4)  # (V, T)
    frames = read_frames(path, views.ravel())  # each frame is decoded once
    crops = three_crop(frames, 224).reshape(3, *views.shape, 224, 224, 3)  # (3, V, T, H, W, C)
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ski_data.errors import InputError


def train_indices(frames: int, clip_len: int, rng: np.random.Generator) -> np.ndarray:
    """One random frame of each segment, int64 (T,), not descending.

    With k = N // T > 0, frame i is i*k plus a number drawn from 0..k-1. Otherwise it is
    round(i * N / T), halves to even, at most N - 1, without chance.
    """
    _check(frames, clip_len)
    i = np.arange(clip_len)
    step = frames // clip_len
    if step > 0:
        return i * step + rng.integers(0, step, clip_len)
    return np.minimum(np.rint(i * frames / clip_len).astype(np.int64), frames - 1)


def test_indices(frames: int, clip_len: int) -> np.ndarray:
    """The middle of each segment, int(i*N/T + N/(2T)): int64 (T,), not descending."""
    _check(frames, clip_len)
    return (2 * np.arange(clip_len) + 1) * frames // (2 * clip_len)


test_indices.__test__ = False  # type: ignore[attr-defined]  # not a pytest case where imported


def segment_views(frames: int, clip_len: int, n_clips: int) -> np.ndarray:
    """Several clips without chance: int64 (V, T), each clip one frame of every segment.

    Clip v takes the frame at (2v + 1) / (2V) of each segment; one clip is :func:`test_indices`.
    """
    _check(frames, clip_len)
    _check_clips(n_clips)
    i, v = np.arange(clip_len), np.arange(n_clips)[:, None]
    return (2 * n_clips * i + 2 * v + 1) * frames // (2 * n_clips * clip_len)


def multiview_indices(
    frames: int, clip_len: int, n_clips: int, rng: np.random.Generator
) -> np.ndarray:
    """Several clips of one video for multi-view testing: int64 (V, T).

    As in the published code each is drawn by the training rule.
    """
    _check_clips(n_clips)
    return np.stack([train_indices(frames, clip_len, rng) for _ in range(n_clips)])


def dense_indices(
    frames: int,
    clip_len: int,
    stride: int,
    rng: np.random.Generator | None = None,
    *,
    short: Literal["wrap", "clamp"] = "wrap",
) -> np.ndarray:
    """T frames that are ``stride`` apart: int64 (T,).

    Args:
        frames: N, frames of the video.
        clip_len: T.
        stride: Frames from one to the next; 1 takes neighbours.
        rng: Draws the first frame among all that let the clip end inside the video; without it the
            clip lies in the middle (the odd frame stays behind it).
        short: A video shorter than the clip's (T - 1) * stride + 1 frames starts at 0 and is run
            through again (``wrap``: number modulo N), or stands still at its end (``clamp``).
    """
    room = _room(frames, clip_len, stride)
    start = max(room, 0) // 2 if rng is None else int(rng.integers(0, max(room, 0) + 1))
    return _fold(start + stride * np.arange(clip_len), frames, short)


def dense_views(
    frames: int,
    clip_len: int,
    stride: int,
    n_clips: int,
    *,
    short: Literal["wrap", "clamp"] = "wrap",
) -> np.ndarray:
    """Dense clips from the beginning to the end of a video: int64 (V, T).

    First frames are v * (N - span) // (V - 1) with span (T - 1) * stride + 1; a single clip lies in
    the middle. Short videos as in :func:`dense_indices`, all clips alike.
    """
    room = max(_room(frames, clip_len, stride), 0)
    _check_clips(n_clips)
    starts = np.arange(n_clips) * room // (n_clips - 1) if n_clips > 1 else np.array([room // 2])
    return _fold(starts[:, None] + stride * np.arange(clip_len), frames, short)


def time_indices(
    times: np.ndarray, clip_len: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """One frame of each of T equal spans of time: int64 (T,), not descending.

    Args:
        times: Seconds at which the frames are shown, rising, (N,)
            (:func:`ski_data.video.probe.frame_times`). The last is shown for the median time.
        clip_len: T.
        rng: Draws the moment in each span; without it the middle. At a constant rate the middle
            gives :func:`test_indices`.
    """
    times = _check_times(times)
    _check(len(times), clip_len)
    length = times[-1] - times[0] + (np.median(np.diff(times)) if len(times) > 1 else 0.0)
    inside = np.full(clip_len, 0.5) if rng is None else rng.random(clip_len)
    return shown_at(times, times[0] + (np.arange(clip_len) + inside) * length / clip_len)


def shown_at(times: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The frame on display at each moment: int64, shape of ``moments``.

    That is the last one shown not later (within a microsecond, for rounded clocks); before the
    first frame it is the first.
    """
    times = _check_times(times)
    return np.maximum(np.searchsorted(times, np.asarray(moments) + 1e-6, side="right") - 1, 0)


def _room(frames: int, clip_len: int, stride: int) -> int:
    _check(frames, clip_len)
    if stride < 1:
        raise InputError(f"a stride is at least 1 frame, not {stride}")
    return frames - ((clip_len - 1) * stride + 1)


def _fold(indices: np.ndarray, frames: int, short: str) -> np.ndarray:
    if short == "wrap":
        return indices % frames
    if short == "clamp":
        return np.minimum(indices, frames - 1)
    raise InputError(f"what short videos do is wrap or clamp, not {short!r}")


def _check_times(times: np.ndarray) -> np.ndarray:
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
        raise InputError("times of frames must be a list of finite numbers")
    if (np.diff(times) <= 0).any():
        raise InputError("times of frames must rise from each to the next")
    return times


def _check_clips(n_clips: int) -> None:
    if n_clips < 1:
        raise InputError(f"at least 1 clip is needed, not {n_clips}")


def _check(frames: int, clip_len: int) -> None:
    if frames < 1 or clip_len < 1:
        raise InputError(f"cannot choose {clip_len} of {frames} frames; both must be at least 1")
