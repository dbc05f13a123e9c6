"""The drawn figure."""

import numpy as np

from ski_data.synthetic.background import room
from ski_data.synthetic.body import random_body
from ski_data.synthetic.camera import Camera, place
from ski_data.synthetic.classes import ACTIONS
from ski_data.synthetic.motions import perform, random_style
from ski_data.synthetic.render import Capsule, draw, random_look, render

LIGHT = np.array([0.0, 0.0, 1.0])


def ball(x, z, radius, colour):
    at = np.array([[x, 0.0, z]])
    return Capsule(at, at, radius, radius, colour)


def test_the_nearer_capsule_hides_the_farther_one_in_any_order():
    camera = Camera(np.eye(3), np.zeros(3), 40.0, (20.0, 20.0))
    near, far = ball(0, 2.0, 0.2, (200.0, 0.0, 0.0)), ball(0, 3.0, 0.6, (0.0, 200.0, 0.0))
    for capsules in ([near, far], [far, near]):
        frames = np.zeros((1, 3, 40, 40), np.float32)
        draw(frames, capsules, camera, np.zeros((1, 2)), LIGHT, 0.4)
        assert frames[0, 0, 20, 20] > 150
        assert frames[0, 1, 20, 20] < 1
        assert frames[0, 1, 20, 26] > 50
        assert frames[0, :, 2, 2].sum() == 0


def test_capsules_outside_the_image_are_cut():
    camera = Camera(np.eye(3), np.zeros(3), 40.0, (20.0, 20.0))
    frames = np.zeros((1, 3, 40, 40), np.float32)
    outside = [ball(9.0, 2.0, 0.2, (9.0, 9.0, 9.0)), ball(1.0, 2.0, 0.2, (9.0, 9.0, 9.0))]
    draw(frames, outside, camera, np.zeros((1, 2)), LIGHT, 1.0)
    assert frames[..., :1].max() > 0  # x grows to the left of the image
    assert frames[..., 8:].max() == 0


def test_the_person_covers_most_of_the_height():
    rng = np.random.default_rng(3)
    body, style = random_body(rng), random_style(rng)
    clip = perform(ACTIONS[0], body, style, 10, rng)
    camera = place(1, 1, 64, body.height, rng)
    look = random_look(rng, rng)
    frames, shift = render(clip.figure, clip.props, body, look, camera, 64, rng)
    assert frames.shape == (10, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert shift.shape == (10, 2)
    assert np.abs(shift).max() < 2
    pixels = camera.project(camera.view(clip.figure.joints))
    assert np.ptp(pixels[:, [3, 15, 19], 1], axis=1).min() > 0.6 * 64
    assert frames.std() > 15


def test_rooms_differ_and_stay_in_range():
    rooms = [room(48, 35.0, np.random.default_rng(seed)) for seed in range(4)]
    assert all(image.min() >= 0 and image.max() <= 255 for image in rooms)
    assert np.abs(rooms[0] - rooms[1]).mean() > 5
