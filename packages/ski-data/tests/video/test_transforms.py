import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError
from ski_data.video.transforms import (
    VideoTransformConfig,
    center_crop,
    color_jitter,
    crop,
    fixed_places,
    flip,
    grayscale,
    multi_scale_boxes,
    multi_scale_crop,
    resize,
    resize_short_side,
    test_transform,
    three_crop,
    train_transform,
)

SCALES = (1, 0.875, 0.75, 0.66)
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}


def clip(height=48, width=64, frames=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@given(st.integers(8, 40), st.integers(8, 40), st.integers(4, 50))
def test_resize_short_side(height, width, side):
    out = resize_short_side(clip(height, width, 2), side)
    assert out.shape[0] == 2
    assert min(out.shape[1:3]) == side
    assert max(out.shape[1:3]) == int(max(height, width) * side / min(height, width) + 0.5)


def test_resize_is_bilinear_with_pixel_centres():
    frames = np.zeros((1, 1, 2, 3), np.uint8)
    frames[0, 0, 1] = 200
    assert resize(frames, 1, 4)[0, 0, :, 0].tolist() == [0, 50, 150, 200]
    same = clip()
    np.testing.assert_array_equal(resize(same, 48, 64), same)


def test_center_crop():
    frames = clip(7, 9)
    np.testing.assert_array_equal(center_crop(frames, 4), frames[:, 1:5, 2:6])
    with pytest.raises(InputError, match="does not lie"):
        center_crop(frames, 8)


def test_three_crop_goes_left_right_middle():
    frames = clip(8, 21)
    left, right, middle = three_crop(frames, 8)
    np.testing.assert_array_equal(left, frames[:, :, :8])
    np.testing.assert_array_equal(right, frames[:, :, 12:20])
    np.testing.assert_array_equal(middle, frames[:, :, 6:14])
    top, _, middle = three_crop(frames.transpose(0, 2, 1, 3), 8)
    np.testing.assert_array_equal(top, left.transpose(0, 2, 1, 3))
    assert middle.shape == (3, 8, 8, 3)


def test_boxes_of_the_published_setting():
    boxes = multi_scale_boxes(256, 340, 224, SCALES, 1)
    sides = [256, 224, 192, 168]
    expected = [(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1]
    assert sorted(boxes) == sorted(expected)
    assert len(multi_scale_boxes(256, 340, 224, SCALES, 3)) == 16


def test_sides_near_the_size_snap_to_it():
    sides = {h for h, _ in multi_scale_boxes(256, 256, 190, SCALES, 1)}
    assert sides == {256, 224, 190, 168}
    sides = {h for h, _ in multi_scale_boxes(256, 256, 189, SCALES, 1)}
    assert sides == {256, 224, 192, 168}


def test_fixed_places():
    assert fixed_places(256, 340, 192, 224) == [(0, 0), (0, 116), (64, 0), (64, 116), (32, 58)]
    assert fixed_places(256, 341, 256, 256) == [(0, 0), (0, 84), (0, 0), (0, 84), (0, 42)]


@settings(max_examples=30)
@given(st.integers(10, 40), st.integers(10, 40), st.integers(4, 24), st.integers(0, 99))
def test_multi_scale_crop_is_one_of_the_boxes(height, width, size, seed):
    frames = clip(height, width, 2)
    out = multi_scale_crop(frames, size, SCALES, np.random.default_rng(seed))
    allowed = [
        resize(crop(frames, top, left, h, w), size, size)
        for h, w in multi_scale_boxes(height, width, size, SCALES, 1)
        for top, left in fixed_places(height, width, h, w)
    ]
    assert any((out == option).all() for option in allowed)


def test_flip_twice_is_nothing():
    frames = clip()
    np.testing.assert_array_equal(flip(frames)[:, :, 0], frames[:, :, -1])
    np.testing.assert_array_equal(flip(flip(frames)), frames)


def test_grayscale():
    out = grayscale(clip())
    assert (out[..., 0] == out[..., 1]).all()
    assert (out[..., 0] == out[..., 2]).all()
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert grayscale(red)[0, 0, 0, 0] == 76
    np.testing.assert_array_equal(grayscale(out), out)


def only(name, amount):
    return dict.fromkeys(COLOURS, 0.0) | {name: amount}


def test_jitter_is_drawn_for_each_frame():
    frames = np.repeat(clip(frames=1), 6, axis=0)
    for name in COLOURS:
        out = color_jitter(frames, np.random.default_rng(0), **only(name, COLOURS[name]))
        assert len({frame.tobytes() for frame in out}) == 6, name
    still = color_jitter(frames, np.random.default_rng(0), **dict.fromkeys(COLOURS, 0.0))
    np.testing.assert_array_equal(still, frames)


def test_brightness_contrast_saturation_hue_do_what_they_say():
    frames = clip(frames=8) // 2 + 40
    rng = np.random.default_rng(0)
    means = color_jitter(frames, rng, **only("brightness", 0.4)).mean((1, 2, 3))
    ratio = means / frames.mean((1, 2, 3))
    assert ((ratio > 0.6) & (ratio < 1.4)).all()
    assert ratio.std() > 0.05
    luminance = grayscale(frames).mean((1, 2, 3))
    for name in ("contrast", "saturation"):
        out = color_jitter(frames, rng, **only(name, 0.4))
        np.testing.assert_allclose(grayscale(out).mean((1, 2, 3)), luminance, atol=1.5)
        assert not np.array_equal(out, frames)
    gray = grayscale(frames)
    for name in ("saturation", "hue"):
        out = color_jitter(gray, rng, **only(name, 0.5))
        np.testing.assert_allclose(out, gray, atol=1)
    red = np.zeros((32, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    turned = color_jitter(red, rng, **only("hue", 0.1))
    assert (turned[..., 0] > 240).all()  # at most 36 degrees off red
    assert turned[..., 1].max() > 60
    assert turned[..., 2].max() > 60


def test_train_transform_depends_on_the_generator_alone():
    config = VideoTransformConfig(size=24)
    frames = clip(60, 80, 4)
    before = frames.copy()
    one, same, other = (
        train_transform(frames, config, np.random.default_rng(s)) for s in (0, 0, 1)
    )
    assert one.shape == (4, 24, 24, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(frames, before)


def test_train_transform_treats_all_frames_alike_in_space():
    config = VideoTransformConfig(size=16, jitter=0)
    frames = np.repeat(clip(40, 50, 1), 5, axis=0)
    for seed in range(20):
        out = train_transform(frames, config, np.random.default_rng(seed))
        assert (out == out[:1]).all()


def test_test_transform():
    config = VideoTransformConfig(size=28)
    assert config.resized == 32
    frames = clip(64, 96, 2)
    expected = resize(frames, 32, 48)[:, 2:30, 10:38]
    np.testing.assert_array_equal(test_transform(frames, config), expected)
    assert VideoTransformConfig().resized == 256


def test_config_round_trip_and_errors():
    config = VideoTransformConfig(size=112, scales=(1.0, 0.8))
    assert from_plain(VideoTransformConfig, to_plain(config), "test") == config
    with pytest.raises(InputError, match=r"size must.*short_side.*flip.*hue.*scales"):
        VideoTransformConfig(size=0, short_side=-1, flip=2, hue=0.6, scales=())


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
)
def test_other_arrays_are_refused(frames):
    with pytest.raises(InputError, match="uint8"):
        resize_short_side(frames, 4)
