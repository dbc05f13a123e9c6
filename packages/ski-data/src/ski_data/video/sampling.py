"""Which frames of a video become a clip: the segment rule of the published training code.

A video of N frames is cut into T equal segments, one frame each. A video shorter than T is no
error: its frames repeat.
"""

from __future__ import annotations

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


def multiview_indices(
    frames: int, clip_len: int, n_clips: int, rng: np.random.Generator
) -> np.ndarray:
    """Several clips of one video for multi-view testing: int64 (n_clips, T).

    As in the published code each is drawn by the training rule.
    """
    if n_clips < 1:
        raise InputError(f"at least 1 clip is needed, not {n_clips}")
    return np.stack([train_indices(frames, clip_len, rng) for _ in range(n_clips)])


def _check(frames: int, clip_len: int) -> None:
    if frames < 1 or clip_len < 1:
        raise InputError(f"cannot choose {clip_len} of {frames} frames; both must be at least 1")
