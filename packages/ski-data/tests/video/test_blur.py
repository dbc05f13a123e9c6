import numpy as np
import pytest

from ski_data.errors import InputError
from ski_data.layouts import get_layout
from ski_data.video.blur import HOLD, Heads, NoHeadError, blur_heads, find_heads
from ski_data.video.people import ImageJoints

KINECT = get_layout("kinect25").joints.index
MEDIAPIPE = get_layout("mediapipe33").joints


def kinect(head, known):
    """A body that stands upright, head at ``head`` (T, 2), 100 pixels from head to hips."""
    head = np.asarray(head, np.float32)
    points = np.zeros((1, len(head), 25, 2), np.float32) + head[None, :, None]
    for name, place in {
        "neck": (0, 20),
        "left_shoulder": (25, 30),
        "right_shoulder": (-25, 30),
        "spine_base": (0, 100),
    }.items():
        points[0, :, KINECT(name)] += place
    known = np.asarray(known, bool)[None]
    points[~known] = np.nan
    return ImageJoints("kinect25", points, known, np.isfinite(points).all(axis=-1))


def test_the_head_of_a_kinect_body():
    heads = find_heads(kinect([[50, 60]] * 3, [True] * 3), 3)
    np.testing.assert_allclose(heads.centres, [[[50, 60]] * 3])
    assert (heads.radii > 20).all()
    assert (heads.radii < 40).all()
    assert not heads.nowhere.any()


def test_a_head_seen_from_any_side():
    """Landmarks of a face that turns away: the circle still reaches over the skull."""
    for turn in np.linspace(0, 2 * np.pi, 9):
        points = np.zeros((1, 1, 33, 2), np.float32)
        face = np.array([0, *[0.3] * 3, *[-0.3] * 3, 0.8, -0.8, 0.2, -0.2]) * np.cos(turn)
        points[0, 0, :11, 0] = 100 + 9 * face
        points[0, 0, :11, 1] = 50
        for name, place in {"shoulder": (20, 80), "hip": (12, 130)}.items():
            for side, sign in (("left", 1), ("right", -1)):
                x = 100 + sign * place[0] * np.cos(turn)
                points[0, 0, MEDIAPIPE.index(f"{side}_{name}")] = (x, place[1])
        known = np.ones((1, 1), bool)
        joints = ImageJoints("mediapipe33", points, known, np.ones((1, 1, 33), bool))
        heads = find_heads(joints, 1)
        x, y = heads.centres[0, 0]
        assert y - heads.radii[0, 0] < 50 - 15
        assert y + heads.radii[0, 0] > 50 + 10
        assert x - heads.radii[0, 0] < 88
        assert x + heads.radii[0, 0] > 112


def test_between_two_sightings():
    known = np.ones(11, bool)
    known[3:8] = False
    path = np.stack([np.arange(11) * 10, np.full(11, 30)], axis=1)
    heads = find_heads(kinect(path, known), 11)
    np.testing.assert_allclose(heads.centres[0], path, rtol=1e-5)
    assert heads.radii[0, 5] > 1.4 * heads.radii[0, 0]
    assert not heads.nowhere.any()


def test_long_without_a_head():
    known = np.zeros(80, bool)
    known[[10, 60]] = True
    heads = find_heads(kinect([[50, 60]] * 80, known), 90)
    away = np.abs(np.arange(90)[:, None] - [10, 60]).min(axis=1)
    np.testing.assert_array_equal(heads.nowhere, away > HOLD)
    assert heads.radii[0, 89] == 0


def test_no_head():
    with pytest.raises(NoHeadError, match="no head"):
        find_heads(kinect([[50, 60]] * 3, [False] * 3), 3)
    joints = ImageJoints("coco17", *(np.ones((1, 1, 17, 2)),) * 3)
    with pytest.raises(InputError, match="coco17"):
        find_heads(joints, 1)


def correlation(one, other):
    one, other = (np.asarray(each, float).ravel() for each in (one, other))
    return abs(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize("centre", [(50, 40), (2, 3), (95, 60)])
def test_nothing_of_the_head_is_left(rng, centre):
    frames = rng.integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)
    before = frames.copy()
    centres = np.zeros((1, 5, 2), np.float32) + np.float32(centre)
    heads = Heads(centres, np.full((1, 5), 14, np.float32), np.zeros(5, bool))
    blur_heads(frames, heads)
    y, x = np.mgrid[:64, :96]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= 14**2
    assert correlation(before[:, inside], frames[:, inside]) < 0.2
    for t in range(5):
        assert len(np.unique(frames[t][inside], axis=0)) <= inside.sum() * 0.9
    far = (abs(x - centre[0]) > 17) | (abs(y - centre[1]) > 17)
    np.testing.assert_array_equal(before[:, far], frames[:, far])


def test_a_head_that_keeps_still_stays_hidden(rng):
    """The mean of many frames tells no more than one: there is nothing to be averaged out."""
    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frames = np.stack([picture] * 40)
    centres = np.full((1, 40, 2), 32, np.float32) + rng.normal(size=(1, 40, 2)).astype(np.float32)
    blur_heads(frames, Heads(centres, np.full((1, 40), 16, np.float32), np.zeros(40, bool)))
    middle = (slice(None), slice(22, 42), slice(22, 42))
    assert correlation(frames[middle].mean(axis=0), picture[middle[1:]]) < 0.25


def test_pictures_without_a_known_head_are_hidden_wholly(rng):
    frames = rng.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    before = frames.copy()
    heads = Heads(
        np.zeros((1, 2, 2), np.float32), np.zeros((1, 2), np.float32), np.array([1, 0]) > 0
    )
    blur_heads(frames, heads)
    assert correlation(before[0], frames[0]) < 0.1
    np.testing.assert_array_equal(before[1], frames[1])


def test_heads_in_a_crop():
    heads = find_heads(kinect([[50, 60]], [True]), 1).scaled((10, 20), (2.0, 3.0))
    np.testing.assert_allclose(heads.centres, [[[80, 120]]])
    np.testing.assert_allclose(heads.radii, 3 * find_heads(kinect([[50, 60]], [True]), 1).radii)
