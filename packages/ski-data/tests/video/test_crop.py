import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.video.crop import MIN_SIDE, person_box
from ski_data.video.people import ImageJoints


def bodies(points, known=None):
    """Joints from (M, T, V, 2)."""
    points = np.asarray(points, np.float32)
    known = np.ones(points.shape[:2], bool) if known is None else np.asarray(known)
    points = np.where(known[..., None, None], points, np.nan).astype(np.float32)
    return ImageJoints("kinect25", points, known, np.isfinite(points).all(axis=-1))


@given(
    seed=st.integers(0, 999),
    width=st.integers(40, 2000),
    height=st.integers(40, 2000),
    margin=st.floats(0, 2),
    spread=st.floats(0, 1.5),
)
def test_every_visible_joint_is_in_the_box(seed, width, height, margin, spread):
    rng = np.random.default_rng(seed)
    points = (rng.random((2, 5, 4, 2)) - 0.5) * spread + rng.random(2)
    points = (points * (width, height)).astype(np.float32)
    box = person_box(bodies(points), width, height, margin)
    flat = points.reshape(-1, 2)
    visible = flat[((flat >= 0) & (flat < (width, height))).all(axis=1)]
    if box is None:
        assert not len(visible)
        return
    x0, y0, x1, y1 = box
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert (visible >= (x0 - 1, y0 - 1)).all()
    assert (visible <= (x1 + 1, y1 + 1)).all()
    assert x1 - x0 == y1 - y0 or x1 - x0 == width or y1 - y0 == height
    assert min(x1 - x0, y1 - y0) >= min(MIN_SIDE, width, height)


def test_the_margin():
    points = np.array([[[[300, 200], [320, 300]]]])
    assert person_box(bodies(points), 1920, 1080, margin=0) == (260, 200, 360, 300)
    assert person_box(bodies(points), 1920, 1080) == (250, 190, 370, 310)
    assert person_box(bodies(points - (260, 0)), 1920, 1080, margin=0) == (0, 200, 100, 300)
    with pytest.raises(InputError, match="margin"):
        person_box(bodies(points), 1920, 1080, margin=-0.1)


def test_larger_than_the_picture():
    points = np.array([[[[100, 100], [1800, 900]]]])
    assert person_box(bodies(points), 1920, 1080) == (0, 0, 1920, 1080)
    points = np.array([[[[500, 100], [1500, 900]]]])
    assert person_box(bodies(points), 1920, 1080) == (400, 0, 1600, 1080)


def test_bodies_that_flash_up_are_left_out():
    points = np.zeros((2, 40, 3, 2)) + np.array([[[[500, 500]]], [[[1800, 100]]]])
    brief = np.ones((2, 40), bool)
    brief[1, 11:] = False
    box = person_box(bodies(points, brief), 1920, 1080)
    assert box is not None
    assert box[2] < 600
    brief[1, 11] = True
    assert person_box(bodies(points, brief), 1920, 1080)[2] > 1800
    only = bodies(points[1:], brief[1:] & (np.arange(40) < 3))
    assert person_box(only, 1920, 1080)[0] > 1700


def test_joints_out_of_reach_do_not_count():
    points = np.array([[[[300, 200], [320, 300], [1e7, 5], [-9e5, 5]]]])
    assert person_box(bodies(points), 1920, 1080, margin=0) == (260, 200, 360, 300)
    assert person_box(bodies(points[:, :, 2:]), 1920, 1080) is None
    assert person_box(bodies(points, [[False]]), 1920, 1080) is None


def test_guessed_joints_do_not_count():
    joints = bodies([[[[300, 200], [320, 300], [1000, 900]]]])
    joints.seen[0, 0, 2] = False
    assert person_box(joints, 1920, 1080, margin=0) == (260, 200, 360, 300)
