import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.augment import (
    crop_resize,
    draw_crops,
    draw_flips,
    draw_joint_masks,
    draw_rotations,
    draw_shears,
    flip,
    mask_joints,
    transform,
)
from ski_data.errors import InputError
from ski_data.layouts import KINECT25, LAYOUTS, get_layout
from ski_data.skeleton import resize_time, rotate

seeds = st.integers(0, 2**32 - 1)


@st.composite
def batches(draw, most=9):
    shape = (draw(st.integers(1, 4)), 3, draw(st.integers(1, most)), 25, 2)
    clips = np.random.default_rng(draw(seeds)).normal(size=shape).astype(np.float32)
    clips.setflags(write=False)
    return clips


def drawn(clips, seed):
    """Each augmentation with the drawn parameters of a batch."""
    rng = np.random.default_rng(seed)
    count, joints = len(clips), clips.shape[3]
    return {
        "shear": (transform, draw_shears(rng, count)),
        "rotation": (transform, draw_rotations(rng, count)),
        "mask": (mask_joints, draw_joint_masks(rng, count, joints)),
        "flip": (flip, draw_flips(rng, count)),
        "crop": (
            lambda clips, crops: crop_resize(clips, crops, 6),
            draw_crops(rng, np.full(count, clips.shape[2])),
        ),
    }


@given(batches(), seeds)
def test_a_batch_equals_its_clips_one_by_one(clips, seed):
    for apply, parameters in drawn(clips, seed).values():
        batch = apply(clips, parameters)
        alone = [apply(clip, p) for clip, p in zip(clips, parameters, strict=True)]
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        assert all(one.dtype == np.float32 for one in alone)
        np.testing.assert_allclose(batch, alone, rtol=0, atol=1e-6)


@given(batches(), seeds)
def test_input_stays_and_result_is_another_array(clips, seed):
    before = clips.copy()
    for apply, parameters in drawn(clips, seed).values():
        kept = parameters.copy()
        assert not np.shares_memory(apply(clips, parameters), clips)
        assert np.array_equal(parameters, kept)
    nothing = np.zeros(len(clips), bool)
    assert not np.shares_memory(flip(clips, nothing), clips)
    assert np.array_equal(clips, before)


@given(seeds)
def test_the_same_seed_draws_the_same(seed):
    clips = np.zeros((3, 3, 7, 25, 1), np.float32)
    for (_, first), (_, again) in zip(
        drawn(clips, seed).values(), drawn(clips, seed).values(), strict=True
    ):
        assert np.array_equal(first, again)


@given(batches(), seeds)
def test_no_amplitude_is_the_identity(clips, seed):
    rng = np.random.default_rng(seed)
    assert np.array_equal(transform(clips, draw_shears(rng, len(clips), 0)), clips)
    assert np.array_equal(transform(clips, draw_rotations(rng, len(clips), 0)), clips)


@given(seeds, st.floats(0, 2))
def test_shears_are_in_range(seed, amplitude):
    matrices = draw_shears(np.random.default_rng(seed), 5, amplitude)
    assert np.array_equal(matrices[:, range(3), range(3)], np.ones((5, 3)))
    assert (np.abs(matrices - np.eye(3)) <= np.float32(amplitude)).all()


def test_shear_mixes_coordinates_as_published():
    clip = np.zeros((3, 1, 1, 1), np.float32)
    clip[:, 0, 0, 0] = 1, 10, 100
    matrix = np.array([[1, 0.5, 0.25], [-0.5, 1, 0.125], [0.5, -0.25, 1]])
    assert transform(clip, matrix).ravel().tolist() == [31, 22, 98]


@given(batches(), seeds)
def test_rotations_are_those_of_the_feeder(clips, seed):
    matrices = draw_rotations(np.random.default_rng(seed), len(clips))
    turned = [rotate(clip, matrix) for clip, matrix in zip(clips, matrices, strict=True)]
    np.testing.assert_allclose(transform(clips, matrices), turned, atol=1e-6)


@given(batches(), seeds, st.integers(0, 25))
def test_masked_joints_are_zero_and_others_kept(clips, seed, count):
    masked = draw_joint_masks(np.random.default_rng(seed), len(clips), 25, count)
    assert (masked.sum(axis=1) == count).all()
    hidden = clips.copy()
    hidden.swapaxes(1, 3)[masked] = np.nan
    result = mask_joints(hidden, masked).swapaxes(1, 3)
    assert (result[masked] == 0).all()
    assert np.array_equal(result[~masked], clips.swapaxes(1, 3)[~masked])


def test_fifteen_of_25_joints_are_masked():
    assert draw_joint_masks(np.random.default_rng(0), 4, 25).sum(axis=1).tolist() == [15] * 4


def test_masks_fall_on_every_joint_alike():
    share = draw_joint_masks(np.random.default_rng(0), 4000, 25).mean(axis=0)
    np.testing.assert_allclose(share, 0.6, atol=0.04)


@pytest.mark.parametrize("name", ["kinect25", "kinect15", "h36m17", "coco133"])
def test_flip_twice_is_the_identity(name, rng):
    layout = get_layout(name)
    clips = rng.normal(size=(5, 3, 4, len(layout.joints), 2)).astype(np.float32)
    flipped = np.array([True, False, True, True, False])
    once = flip(clips, flipped, layout)
    assert np.array_equal(flip(once, flipped, layout), clips)
    assert np.array_equal(once[~flipped], clips[~flipped])
    assert not np.array_equal(once[0], clips[0])
    assert np.array_equal(once[0, 1:], clips[0, 1:, :, layout.mirror].transpose(1, 2, 0, 3))


@given(batches(), seeds)
def test_flip_twice_of_drawn_flips(clips, seed):
    flipped = draw_flips(np.random.default_rng(seed), len(clips))
    assert np.array_equal(flip(flip(clips, flipped), flipped), clips)


def test_flip_moves_the_left_hand_to_the_right(rng):
    clip = rng.normal(size=(3, 2, 25, 1)).astype(np.float32)
    left, right = KINECT25.joints.index("left_hand"), KINECT25.joints.index("right_hand")
    mirrored = flip(clip, True)
    assert np.array_equal(
        mirrored[:, :, right], clip[:, :, left] * np.float32([[-1], [1], [1]])[..., None]
    )


@given(st.lists(st.integers(1, 300), max_size=20), seeds, st.integers(1, 80))
def test_crops_stay_in_range(valid, seed, min_crop):
    crops = draw_crops(np.random.default_rng(seed), np.array(valid, int), min_crop=min_crop)
    assert crops.shape == (len(valid), 2)
    begins, ends = crops.T
    lengths = ends - begins
    assert (begins >= 0).all()
    assert (ends <= valid).all()
    assert (lengths >= np.minimum(np.maximum(np.array(valid, int) // 2, min_crop), valid)).all()


@given(batches(), seeds, st.integers(1, 12))
def test_crop_resize_is_a_slice_resized(clips, seed, window):
    crops = draw_crops(np.random.default_rng(seed), np.full(len(clips), clips.shape[2]))
    result = crop_resize(clips, crops, window)
    assert result.shape == (len(clips), 3, window, 25, 2)
    for clip, (begin, end), got in zip(clips, crops, result, strict=True):
        np.testing.assert_allclose(got, resize_time(clip[:, begin:end], window), atol=1e-6)
        assert got.min() >= clip[:, begin:end].min() - 1e-6
        assert got.max() <= clip[:, begin:end].max() + 1e-6


@given(batches())
def test_the_whole_clip_at_its_length_is_the_clip(clips):
    frames = clips.shape[2]
    crops = np.tile([0, frames], (len(clips), 1))
    assert np.array_equal(crop_resize(clips, crops, frames), clips)


@given(batches(most=1), st.integers(1, 9))
def test_one_frame_is_repeated(clips, window):
    crops = draw_crops(np.random.default_rng(0), np.ones(len(clips), int))
    assert crops.tolist() == [[0, 1]] * len(clips)
    assert np.array_equal(crop_resize(clips, crops, window), clips.repeat(window, axis=2))


def test_an_empty_batch_stays_empty():
    clips = np.zeros((0, 3, 5, 25, 2), np.float32)
    for name, (apply, parameters) in drawn(clips, 0).items():
        frames = 6 if name == "crop" else 5
        assert apply(clips, parameters).shape == (0, 3, frames, 25, 2)


def test_clips_without_frames():
    clips = np.zeros((2, 3, 0, 25, 2), np.float32)
    for matrices in (draw_shears, draw_rotations):
        assert transform(clips, matrices(np.random.default_rng(0), 2)).shape == clips.shape
    assert mask_joints(clips, np.ones((2, 25), bool)).shape == clips.shape
    assert flip(clips, np.array([True, False])).shape == clips.shape
    with pytest.raises(InputError, match="clip 1 has no frame"):
        draw_crops(np.random.default_rng(0), np.array([3, 0]))
    with pytest.raises(InputError, match="crop 0 is"):
        crop_resize(clips, np.array([[0, 1], [0, 1]]), 4)


def test_nan_does_not_spread_to_other_joints(rng):
    clips = rng.normal(size=(2, 3, 6, 25, 1)).astype(np.float32)
    clips[:, 0, 2, 4] = np.nan
    for name, (apply, parameters) in drawn(clips, 1).items():
        if name != "flip":
            bad = np.isnan(apply(clips, parameters)).any(axis=(0, 1, 2, 4))
            assert not np.delete(bad, 4).any(), name
    moved = flip(clips, np.array([True, False]))
    assert np.isnan(moved[0, 0, 2, 8]).all()
    assert np.isnan(moved).sum() == 2


def test_nan_in_a_frame_stays_there_where_frames_are_kept(rng):
    clip = rng.normal(size=(3, 6, 25, 1)).astype(np.float32)
    clip[:, 3] = np.nan
    whole = crop_resize(clip, np.array([0, 6]), 6)
    assert np.isnan(whole).any(axis=(0, 2, 3)).tolist() == [False] * 3 + [True] + [False] * 2
    assert not np.isnan(crop_resize(clip, np.array([4, 6]), 9)).any()


@given(seeds)
def test_absent_bodies_stay_zero(seed):
    clips = np.random.default_rng(seed).normal(size=(3, 3, 5, 25, 2)).astype(np.float32)
    clips[..., 1] = 0
    for apply, parameters in drawn(clips, seed).values():
        assert not apply(clips, parameters)[..., 1].any()


def test_every_layout_can_be_flipped(rng):
    for layout in LAYOUTS.values():
        clip = rng.normal(size=(3, 2, len(layout.joints), 1)).astype(np.float32)
        assert np.array_equal(flip(flip(clip, True, layout), True, layout), clip)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c, rng: transform(c.astype(float), np.eye(3)), "float32"),
        (lambda c, rng: transform(c[0], np.eye(3)), "clips must be"),
        (lambda c, rng: transform(c, np.ones((2, 3, 3))), r"parameters must be \(3, 3\)"),
        (lambda c, rng: transform(c[None], np.eye(3)), r"parameters must be \(1, 3, 3\)"),
        (lambda c, rng: mask_joints(c, np.ones(24, bool)), "parameters must be"),
        (lambda c, rng: mask_joints(c, np.ones(25)), "must be bool"),
        (lambda c, rng: flip(c, 1), "must be bool"),
        (lambda c, rng: flip(c, True, get_layout("coco17")), "layout coco17 has 17"),
        (lambda c, rng: crop_resize(c, np.array([2, 2]), 4), "begin < end"),
        (lambda c, rng: crop_resize(c, np.array([-1, 2]), 4), "begin < end"),
        (lambda c, rng: crop_resize(c, np.array([0, 6]), 4), "begin < end <= 5"),
        (lambda c, rng: crop_resize(c, np.array([0.0, 2.0]), 4), "whole numbers"),
        (lambda c, rng: crop_resize(c, np.array([0, 2]), 0), "window"),
        (lambda c, rng: draw_shears(rng, 2, -1), "amplitude"),
        (lambda c, rng: draw_rotations(rng, 2, 4), "0..pi"),
        (lambda c, rng: draw_joint_masks(rng, 2, 25, 26), r"0\.\.25"),
        (lambda c, rng: draw_crops(rng, np.array([5.0])), "whole numbers"),
        (lambda c, rng: draw_crops(rng, np.array([5]), (0.0, 1.0)), "share"),
        (lambda c, rng: draw_flips(rng, 2, 1.5), "probability"),
        (lambda c, rng: draw_flips(rng, -1), "at least 0"),
    ],
)
def test_refusals(call, words, rng):
    with pytest.raises(InputError, match=words):
        call(np.zeros((3, 5, 25, 2), np.float32), rng)
