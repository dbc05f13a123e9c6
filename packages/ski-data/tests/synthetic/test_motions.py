"""The right limb does the right thing."""

import numpy as np
import pytest

from ski_data.synthetic.body import random_body
from ski_data.synthetic.camera import place, sense
from ski_data.synthetic.classes import ACTIONS
from ski_data.synthetic.motions import perform, random_style

ARM = {"left": [5, 6, 7], "right": [9, 10, 11]}
LEG = {"left": [14, 15], "right": [18, 19]}


def acted(name, seed):
    rng = np.random.default_rng(seed)
    body, style = random_body(rng), random_style(rng)
    action = next(action for action in ACTIONS if action.name == name)
    return body, perform(action, body, style, 32, rng)


def path(joints):
    return np.linalg.norm(np.diff(joints, axis=0), axis=-1).sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_named_hand_moves(side, seed):
    other = {"left": "right", "right": "left"}[side]
    for verb in ("wave {} hand", "raise {} hand", "touch head with {} hand"):
        joints = acted(verb.format(side), seed)[1].figure.joints
        assert path(joints[:, ARM[side]]) > 3 * path(joints[:, ARM[other]])
    joints = acted(f"kick with {side} foot", seed)[1].figure.joints
    assert path(joints[:, LEG[side]]) > 3 * path(joints[:, LEG[other]])


@pytest.mark.parametrize("seed", range(5))
def test_places_are_reached(seed):
    body, clip = acted("touch head with left hand", seed)
    joints = clip.figure.joints[np.argmax(clip.active)]
    assert np.linalg.norm(joints[7] - joints[3]) < 0.12 * body.height
    body, clip = acted("touch knee with right hand", seed)
    joints = clip.figure.joints[np.argmax(clip.active)]
    assert np.linalg.norm(joints[11] - joints[17]) < 0.08 * body.height
    body, clip = acted("raise both hands", seed)
    joints = clip.figure.joints[np.argmax(clip.active)]
    assert min(joints[7, 1], joints[11, 1]) > joints[3, 1] + 0.2
    body, clip = acted("sit down", seed)
    assert clip.figure.joints[-1, 0, 1] < 0.4 * body.height


def test_left_is_on_the_right_of_the_image_and_x_grows_to_the_sensors_left():
    body, clip = acted("sit down", 0)
    for number in (1, 2, 3):
        camera = place(number, 1, 112, body.height, np.random.default_rng(0))
        joints = camera.view(clip.figure.joints)
        pixels = camera.project(joints)
        assert (pixels[:, 4, 0] > pixels[:, 8, 0]).all()
        assert (joints[:, 4, 0] < joints[:, 8, 0]).all()
        assert (joints[..., 2] > 1.5).all()
        assert ((pixels > 0) & (pixels < 112)).all()
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
    noisy = sense(joints, np.random.default_rng(1))
    assert 0.003 < np.abs(noisy - joints).mean() < 0.03
