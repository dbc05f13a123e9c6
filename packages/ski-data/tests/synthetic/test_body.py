"""Rotations, reaching and forward kinematics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.layouts import KINECT25
from ski_data.synthetic import body as kinematics
from ski_data.synthetic.classes import ACTIONS
from ski_data.synthetic.motions import perform, random_style

VECTOR = st.tuples(*[st.floats(-3, 3)] * 3).map(np.array)


@given(VECTOR)
def test_quaternion_and_matrix_are_inverse(vector):
    matrix = kinematics.rotation(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(kinematics.matrix(kinematics.quaternion(matrix)), matrix, atol=1e-7)


@given(VECTOR.filter(lambda v: np.linalg.norm(v) > 0.1), st.floats(0.1, 0.6))
def test_reach_ends_at_the_target_with_the_elbow_at_the_pole(vector, distance):
    target = distance * kinematics.unit(vector)
    pole = np.array([0.31, -1.0, 0.17])
    upper, fore = kinematics.reach(target, pole, 0.29, 0.33)
    np.testing.assert_allclose(0.29 * upper + 0.33 * fore, target, atol=1e-9)
    axis = kinematics.unit(target)
    assert (upper - upper @ axis * axis) @ (pole - pole @ axis * axis) >= -1e-9


def test_bent_arm_gives_back_its_directions():
    arm = kinematics.bent_arm(np.array([0.8, 0.1, 0.3]), np.array([0.1, 0.9, 0.2]))
    frame = kinematics.matrix(arm[:4])
    fore = -np.cos(arm[4]) * frame[:, 1] + np.sin(arm[4]) * frame[:, 2]
    np.testing.assert_allclose(-frame[:, 1], kinematics.unit(np.array([0.8, 0.1, 0.3])), atol=1e-9)
    np.testing.assert_allclose(fore, kinematics.unit(np.array([0.1, 0.9, 0.2])), atol=1e-9)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_bones_keep_their_length_and_feet_stay_above_the_floor(action):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        body, style = kinematics.random_body(rng), random_style(rng)
        joints = perform(action, body, style, 30, rng).figure.joints
        for child, parent in KINECT25.edges:
            lengths = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)
            assert np.ptp(lengths) < 1e-6
        lowest = joints[:, [15, 19], 1].min(axis=1)
        assert lowest.min() > 0.0
        assert lowest.max() < 0.06, "one foot is always on the floor"
        assert joints[..., 1].min() > 0.0
