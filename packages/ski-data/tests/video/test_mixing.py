import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.video.mixing import (
    Mix,
    MixConfig,
    cutmix_box,
    draw_mix,
    mix_targets,
    mix_videos,
    smooth_targets,
)


@given(st.integers(1, 20), st.floats(0, 0.9), st.integers(0, 99))
def test_smooth_targets(classes, smoothing, seed):
    labels = np.random.default_rng(seed).integers(0, classes, 5)
    targets = smooth_targets(labels, classes, smoothing)
    assert targets.shape == (5, classes)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    on, off = 1 - smoothing + smoothing / classes, smoothing / classes
    for label, row in zip(labels, targets, strict=True):
        expected = [on if k == label else off for k in range(classes)]
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize(("labels", "smoothing"), [([3], 0.1), ([-1], 0.1), ([0.5], 0), ([0], 1)])
def test_bad_targets(labels, smoothing):
    with pytest.raises(InputError):
        smooth_targets(np.array(labels), 3, smoothing)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.integers(0, 99))
def test_cutmix_box(height, width, lam, seed):
    box, kept = cutmix_box(height, width, lam, np.random.default_rng(seed))
    top, bottom, left, right = box
    assert 0 <= top <= bottom <= height
    assert 0 <= left <= right <= width
    outside = np.ones((height, width))
    outside[top:bottom, left:right] = 0
    assert kept == pytest.approx(outside.mean())
    assert kept >= lam - 1e-9  # cut at the borders, never larger than asked for


def test_targets_mix_with_the_reversed_batch():
    targets = smooth_targets(np.array([0, 1, 2]), 3, 0)
    mixed = mix_targets(targets, 0.75)
    np.testing.assert_allclose(mixed, [[0.75, 0, 0.25], [0, 1, 0], [0.25, 0, 0.75]])


def test_videos_mix_like_their_targets():
    videos = np.random.default_rng(0).random((4, 2, 3, 8, 6)).astype(np.float32)
    before = videos.copy()
    mixed = mix_videos(videos, Mix(0.3))
    np.testing.assert_allclose(mixed, 0.3 * videos + 0.7 * videos[::-1], rtol=1e-6)
    mixed = mix_videos(videos, Mix(0.5, (2, 6, 0, 3)))
    np.testing.assert_array_equal(mixed[..., 2:6, 0:3], videos[::-1, ..., 2:6, 0:3])
    np.testing.assert_array_equal(mixed[..., 3:], videos[..., 3:])
    np.testing.assert_array_equal(videos, before)
    np.testing.assert_array_equal(mix_videos(videos, Mix()), videos)


def test_half_of_the_batches_are_cut():
    rng = np.random.default_rng(0)
    mixes = [draw_mix(MixConfig(), 32, 32, rng) for _ in range(400)]
    share = np.mean([mix.box is not None for mix in mixes])
    assert 0.4 < share < 0.6
    assert all(0 <= mix.lam <= 1 for mix in mixes)
    assert all(draw_mix(MixConfig(cutmix=0), 8, 8, rng).box is None for _ in range(20))
    assert all(draw_mix(MixConfig(mixup=0), 8, 8, rng).box is not None for _ in range(20))
    assert draw_mix(MixConfig(mixup=0, cutmix=0), 8, 8, rng) == Mix(1.0, None)


@pytest.mark.parametrize("bad", [{"mixup": -1}, {"cutmix": -1}, {"switch": 2}])
def test_bad_settings(bad):
    with pytest.raises(InputError, match="mixing"):
        MixConfig(**bad)
