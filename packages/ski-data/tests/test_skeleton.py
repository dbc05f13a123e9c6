import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data import skeleton
from ski_data.errors import InputError
from ski_data.layouts import KINECT25, LAYOUTS, Layout
from ski_data.skeleton import (
    STREAMS,
    FeederConfig,
    bone,
    clip_to_row,
    ctrgcn_bone,
    feed,
    joint,
    motion,
    resize_time,
    rotate,
    rotation_matrix,
    row_to_clip,
    train_crop,
    train_crop_at,
    valid_frames,
)

ATOL = 1e-5
angle = st.floats(-math.pi, math.pi)


@pytest.fixture
def case(golden):
    config = json.loads((golden / "feeder.json").read_text())["config"]
    with np.load(golden / "feeder.npz") as arrays:
        return config, {name: arrays[name] for name in arrays.files}


def test_golden_case_names(case):
    config, arrays = case
    assert set(config["valid"]) == {name[8:] for name in arrays if name.startswith("in_rows_")}


@pytest.mark.golden
@pytest.mark.parametrize("name", ["short", "long", "full"])
def test_test_path_equals_the_published_feeder(case, name):
    config, arrays = case
    clip = row_to_clip(arrays[f"in_rows_{name}"])
    valid = valid_frames(clip)
    assert valid == config["valid"][name]
    begin, end = skeleton.test_crop(valid, config["p_test"][0])
    for window in config["windows"]:
        resized = resize_time(clip[:, begin:end], window)
        np.testing.assert_allclose(resized, arrays[f"out_resized_{name}_w{window}"], atol=ATOL)
        for stream in ("joint", "bone", "joint_motion", "bone_motion"):
            fed = feed(clip, FeederConfig(window=window, stream=stream), None)
            assert fed.dtype == np.float32
            want = arrays[f"out_test_{name}_w{window}_{stream}"]
            np.testing.assert_allclose(fed, want, atol=ATOL)
        if f"out_ctrgcn_bone_{name}" in arrays:
            want = arrays[f"out_ctrgcn_bone_{name}"]
            np.testing.assert_allclose(ctrgcn_bone(resized), want, atol=ATOL)


@pytest.mark.golden
@pytest.mark.parametrize("key", ["short_0", "short_1", "long_0", "long_1", "full_0", "full_1"])
def test_train_path_equals_the_published_feeder(case, key):
    config, arrays = case
    crop = config["crops"][key]
    name, k = key.split("_")
    clip = row_to_clip(arrays[f"in_rows_{name}"])
    begin, end = train_crop_at(crop["valid"], crop["p"], crop["begin"], config["min_crop"])
    assert end - begin == crop["length"]
    matrix = rotation_matrix(arrays["in_angles"][int(k)])
    np.testing.assert_allclose(matrix, arrays["out_rotation_matrices"][int(k)], atol=1e-6)
    turned = rotate(resize_time(clip[:, begin:end], config["windows"][0]), matrix)
    for stream in ("joint", "bone"):
        want = arrays[f"out_train{k}_{name}_{stream}"]
        np.testing.assert_allclose(STREAMS[stream](turned, KINECT25), want, atol=ATOL)


def make_clip(rng, frames=20, joints=25, bodies=2):
    return rng.normal(size=(3, frames, joints, bodies)).astype(np.float32)


def test_rows_and_clips(rng):
    row = rng.normal(size=(9, 150)).astype(np.float32)
    clip = row_to_clip(row)
    assert clip[2, 4, 7, 1] == row[4, 75 + 7 * 3 + 2]
    assert np.array_equal(clip_to_row(clip), row)
    with pytest.raises(InputError, match="150"):
        row_to_clip(row[:, :75])


def test_valid_frames_counts_frames_that_do_not_sum_to_zero(rng):
    clip = make_clip(rng)
    clip[:, 15:] = 0
    assert valid_frames(clip) == 15


@given(st.integers(1, 400), st.floats(0.01, 1))
def test_centre_crop_is_inside_and_centred(valid, p):
    begin, end = skeleton.test_crop(valid, p)
    assert 0 <= begin < end <= valid
    assert begin == valid - end


@given(st.integers(1, 400), st.integers(0, 2**32 - 1), st.integers(1, 100))
def test_train_crop_is_inside(valid, seed, min_crop):
    begin, end = train_crop(valid, (0.5, 1.0), min_crop, np.random.default_rng(seed))
    assert 0 <= begin < end <= valid
    assert end - begin >= min(valid, min_crop, max(1, math.floor(valid / 2)))


def test_train_crop_reaches_every_begin(rng):
    begins = {train_crop(10, (0.5, 0.5), 1, rng)[0] for _ in range(300)}
    assert begins == set(range(6))
    with pytest.raises(InputError, match=r"0\.\.5"):
        train_crop_at(10, 0.5, 6, 1)


@given(st.integers(1, 60))
def test_resize_to_the_same_length_is_identity(frames):
    clip = make_clip(np.random.default_rng(frames), frames, 3, 1)
    assert np.array_equal(resize_time(clip, frames), clip)


@given(st.integers(2, 60), st.integers(1, 90))
def test_resize_keeps_lines_and_bounds(frames, window):
    line = np.arange(frames, dtype=np.float32)
    clip = np.broadcast_to(line[:, None, None], (3, frames, 2, 1)).copy()
    resized = resize_time(clip, window)[0, :, 0, 0]
    want = (np.arange(window) + 0.5) * frames / window - 0.5
    np.testing.assert_allclose(resized, np.clip(want, 0, frames - 1), atol=1e-4)


def test_resize_refuses_nothing(rng):
    with pytest.raises(InputError, match="0 frames"):
        resize_time(make_clip(rng)[:, :0], 64)


@given(angle, angle, angle)
def test_rotation_is_orthogonal_and_keeps_hands(x, y, z):
    matrix = rotation_matrix(np.array([x, y, z]))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)


@given(angle, st.sampled_from(sorted(STREAMS)))
def test_streams_other_than_the_trajectory_turn_with_the_body(x, stream):
    clip = make_clip(np.random.default_rng(3), 4)
    matrix = rotation_matrix(np.array([x, 0.1, -0.2]))
    turned_first = STREAMS[stream](rotate(clip, matrix), KINECT25)
    np.testing.assert_allclose(
        turned_first, rotate(STREAMS[stream](clip, KINECT25), matrix), atol=1e-4
    )


@given(st.floats(-5, 5))
def test_shifting_the_origin_moves_the_trajectory_only(shift):
    clip = make_clip(np.random.default_rng(4), 4)
    for stream in (joint, bone):
        change = stream(clip + np.float32(shift)) - stream(clip)
        np.testing.assert_allclose(change[:, :, 20], shift, atol=1e-4)
        np.testing.assert_allclose(np.delete(change, 20, axis=2), 0, atol=1e-4)


@given(st.permutations(range(25)), st.sampled_from(sorted(STREAMS)))
def test_permuting_joints_with_the_layout_permutes_the_stream(order, stream):
    new = {old: i for i, old in enumerate(order)}
    permuted = Layout(
        name="permuted",
        joints=tuple(KINECT25.joints[old] for old in order),
        centre=new[KINECT25.centre],
        edges=tuple((new[a], new[b]) for a, b in KINECT25.edges),
        bone_pairs=tuple((new[a], new[b]) for a, b in KINECT25.bone_pairs),
        groups=tuple(KINECT25.groups[old] for old in order),
        left_right=tuple((new[a], new[b]) for a, b in KINECT25.left_right),
    )
    clip = make_clip(np.random.default_rng(5), 3)
    got = STREAMS[stream](clip[:, :, list(order)], permuted)
    assert np.array_equal(got, STREAMS[stream](clip, KINECT25)[:, :, list(order)])


def test_motion_ends_with_zero(rng):
    clip = make_clip(rng)
    moved = motion(clip)
    assert not moved[:, -1].any()
    assert np.array_equal(moved[:, 3], clip[:, 4] - clip[:, 3])


def test_streams_leave_the_clip_alone(rng):
    clip = make_clip(rng)
    before = clip.copy()
    for stream in STREAMS.values():
        stream(clip, KINECT25)
    assert np.array_equal(clip, before)


@given(st.integers(1, 40))
def test_padding_does_not_change_what_is_fed(extra):
    clip = make_clip(np.random.default_rng(6), 30)
    padded = np.concatenate([clip, np.zeros((3, extra, 25, 2), np.float32)], axis=1)
    config = FeederConfig(window=16)
    assert np.array_equal(feed(clip, config, None), feed(padded, config, None))
    one, two = (feed(c, config, np.random.default_rng(1)) for c in (clip, padded))
    assert np.array_equal(one, two)


@given(st.integers(1, 12), st.booleans())
def test_raw_clips_are_only_padded_or_cut(frames, train):
    clip = np.random.default_rng(frames).normal(size=(3, frames, 25, 2)).astype(np.float32)
    rng = np.random.default_rng(0) if train else None
    fed = feed(clip, FeederConfig(window=8, raw=True), rng)
    kept = min(frames, 8)
    assert fed.shape == (3, 8, 25, 2)
    assert np.array_equal(fed[:, :kept], clip[:, :kept])
    assert not fed[:, kept:].any()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_every_layout_is_fed(layout, rng):
    clip = make_clip(rng, 30, len(layout.joints), 1)
    for stream in STREAMS:
        fed = feed(clip, FeederConfig(window=8, stream=stream), rng, layout)
        assert fed.shape == (3, 8, len(layout.joints), 1)
        assert fed.dtype == np.float32


def test_chance_comes_from_the_generator_only(rng):
    clip = make_clip(rng, 90)
    config = FeederConfig()
    one, two, other = (feed(clip, config, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert np.array_equal(feed(clip, config, None), feed(clip, config, None))


def test_feed_refuses(rng):
    with pytest.raises(InputError, match="no frame with a body"):
        feed(np.zeros((3, 5, 25, 2), np.float32), FeederConfig(), None)
    with pytest.raises(InputError, match="22 joints"):
        feed(make_clip(rng, joints=22), FeederConfig(), None)
    with pytest.raises(InputError, match="must be"):
        feed(np.zeros((5, 25, 3)), FeederConfig(), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0},
        {"stream": "velocity"},
        {"train_crop": (0.9, 0.5)},
        {"train_crop": (0.5, 0.7, 1.0)},
        {"test_crop": 0},
        {"min_crop": 0},
        {"rotation": -1},
        {"raw": True, "stream": "bone"},
    ],
)
def test_config_is_checked(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        FeederConfig(**wrong)


def test_all_config_errors_at_once():
    with pytest.raises(InputError, match=r"window.*stream.*min_crop"):
        FeederConfig(window=0, stream="x", min_crop=0)
