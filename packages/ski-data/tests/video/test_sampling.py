from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.video.sampling import (
    dense_indices,
    dense_views,
    multiview_indices,
    segment_views,
    shown_at,
    test_indices,
    time_indices,
    train_indices,
)

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


@given(*SIZES, st.integers(1, 8))
def test_segment_views(frames, clip_len, n_clips):
    views = segment_views(frames, clip_len, n_clips)
    assert views.shape == (n_clips, clip_len)
    segment = Fraction(frames, clip_len)
    for v, clip in enumerate(views.tolist()):
        place = Fraction(2 * v + 1, 2 * n_clips)
        assert clip == [int((i + place) * segment) for i in range(clip_len)]
    np.testing.assert_array_equal(
        segment_views(frames, clip_len, 1)[0], test_indices(frames, clip_len)
    )


@given(*SIZES, st.integers(1, 9), st.integers(0, 99), st.sampled_from(["wrap", "clamp"]))
def test_dense(frames, clip_len, stride, seed, short):
    span = (clip_len - 1) * stride + 1
    for rng in (None, np.random.default_rng(seed)):
        drawn = dense_indices(frames, clip_len, stride, rng, short=short)
        assert drawn.shape == (clip_len,)
        assert ((drawn >= 0) & (drawn < frames)).all()
        if span <= frames:
            assert (np.diff(drawn) == stride).all()
            if rng is None:
                before, behind = drawn[0], frames - 1 - drawn[-1]
                assert behind - before in (0, 1)
        elif short == "wrap":
            assert drawn.tolist() == [i * stride % frames for i in range(clip_len)]
        else:
            assert drawn.tolist() == [min(i * stride, frames - 1) for i in range(clip_len)]


def test_every_dense_clip_is_drawn():
    rng = np.random.default_rng(0)
    seen = {tuple(dense_indices(8, 3, 2, rng).tolist()) for _ in range(200)}
    assert seen == {(s, s + 2, s + 4) for s in range(4)}


@given(*SIZES, st.integers(1, 9), st.integers(1, 7), st.sampled_from(["wrap", "clamp"]))
def test_dense_views_reach_from_end_to_end(frames, clip_len, stride, n_clips, short):
    views = dense_views(frames, clip_len, stride, n_clips, short=short)
    assert views.shape == (n_clips, clip_len)
    middle = dense_indices(frames, clip_len, stride, short=short)
    if n_clips == 1 or (clip_len - 1) * stride + 1 > frames:
        np.testing.assert_array_equal(views, np.tile(middle, (n_clips, 1)))
    else:
        assert views[0, 0] == 0
        assert views[-1, -1] == frames - 1
        assert (np.diff(views, axis=1) == stride).all()
        gaps = np.diff(views[:, 0])
        assert gaps.max() - gaps.min() <= 1


@given(*SIZES, st.sampled_from([Fraction(30), Fraction(25), Fraction(30000, 1001)]))
def test_times_at_constant_rate_are_segments(frames, clip_len, rate):
    times = np.array([float(n / rate) for n in range(frames)])
    if frames == 1:
        assert time_indices(times, clip_len).tolist() == [0] * clip_len
    else:
        np.testing.assert_array_equal(time_indices(times, clip_len), test_indices(frames, clip_len))


@given(st.lists(st.integers(1, 90), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 9))
def test_times_at_variable_rate(steps, clip_len, seed):
    times = np.cumsum([0, *steps]) / 90
    length = times[-1] + np.median(steps) / 90
    middle = time_indices(times, clip_len)
    for i, index in enumerate(middle):
        moment = (i + 0.5) * length / clip_len
        assert times[index] <= moment + 2e-6
        assert index == len(times) - 1 or times[index + 1] > moment
    drawn = time_indices(times, clip_len, np.random.default_rng(seed))
    assert (np.diff(drawn) >= 0).all()
    assert ((drawn >= 0) & (drawn < len(times))).all()


def test_a_frame_stays_until_the_next_is_shown():
    times = np.array([0.5, 1.0, 4.0])
    moments = [[0.0, 0.5, 0.99], [1.0, 3.9, 9.0]]
    assert shown_at(times, moments).tolist() == [[0, 0, 0], [1, 1, 2]]
    # 5.25 s, as the last frame is shown for the median 1.75 s
    assert time_indices(times, 5).tolist() == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: dense_indices(9, 3, 0), "stride"),
        (lambda: dense_indices(9, 30, 2, short="mirror"), "wrap or clamp"),
        (lambda: dense_views(9, 3, 1, 0), "at least 1 clip"),
        (lambda: segment_views(9, 3, 0), "at least 1 clip"),
        (lambda: time_indices([], 3), "finite"),
        (lambda: time_indices([0, np.nan], 3), "finite"),
        (lambda: shown_at([0, 1, 1], [0]), "rise"),
        (lambda: time_indices([0, 1], 0), "at least 1"),
    ],
)
def test_bad_requests(call, word):
    with pytest.raises(InputError, match=word):
        call()


@pytest.mark.parametrize(("frames", "clip_len"), [(0, 4), (4, 0), (-1, 4)])
def test_nothing_to_choose(frames, clip_len):
    with pytest.raises(InputError, match="at least 1"):
        test_indices(frames, clip_len)
    with pytest.raises(InputError, match="at least 1"):
        train_indices(frames, clip_len, np.random.default_rng(0))
