from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.video.sampling import multiview_indices, test_indices, train_indices

SIZES = (st.integers(1, 400), st.integers(1, 64))


@given(*SIZES)
def test_middle_of_each_segment(frames, clip_len):
    N, T = frames, clip_len
    assert test_indices(N, T).tolist() == [int(i * N / T + N / (2 * T)) for i in range(T)]


@given(*SIZES, st.integers(0, 1000))
def test_one_frame_per_segment(frames, clip_len, seed):
    N, T = frames, clip_len
    drawn = train_indices(N, T, np.random.default_rng(seed)).tolist()
    k = N // T
    if k > 0:
        assert all(i * k <= index < (i + 1) * k for i, index in enumerate(drawn))
    else:
        assert drawn == [min(round(Fraction(i * N, T)), N - 1) for i in range(T)]
    assert all(0 <= index < N for index in drawn)
    assert drawn == sorted(drawn)


def test_every_frame_of_a_segment_is_drawn():
    rng = np.random.default_rng(0)
    seen = {tuple(train_indices(6, 2, rng)) for _ in range(300)}
    assert seen == {(a, b) for a in range(3) for b in range(3, 6)}


def test_short_videos_repeat_frames():
    rng = np.random.default_rng(0)
    assert train_indices(3, 6, rng).tolist() == [0, 0, 1, 2, 2, 2]
    assert test_indices(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert train_indices(1, 4, rng).tolist() == test_indices(1, 4).tolist() == [0] * 4


def test_multiview_draws_each_clip_like_training():
    clips = multiview_indices(90, 16, 4, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    assert clips.shape == (4, 16)
    np.testing.assert_array_equal(clips, [train_indices(90, 16, rng) for _ in range(4)])
    with pytest.raises(InputError, match="at least 1 clip"):
        multiview_indices(90, 16, 0, rng)


@pytest.mark.parametrize(("frames", "clip_len"), [(0, 4), (4, 0), (-1, 4)])
def test_nothing_to_choose(frames, clip_len):
    with pytest.raises(InputError, match="at least 1"):
        test_indices(frames, clip_len)
    with pytest.raises(InputError, match="at least 1"):
        train_indices(frames, clip_len, np.random.default_rng(0))
