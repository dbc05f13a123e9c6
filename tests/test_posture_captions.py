"""Captions that the C2VL benchmark tells from joints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.c2vl_posture.captions import JOINT, clip_captions, frame_caption
from ski_data.layouts import KINECT25

HIPS = 0.9


def body(**moved):
    """Somebody who stands upright, faces +z, and has the arms down; joints can be moved."""
    places = {
        "spine_base": (0, HIPS, 0),
        "spine_middle": (0, 1.15, 0),
        "spine_shoulder": (0, 1.4, 0),
        "neck": (0, 1.45, 0),
        "head": (0, 1.6, 0),
    }
    for name, x in (("left", 1), ("right", -1)):
        places |= {
            f"{name}_shoulder": (0.2 * x, 1.4, 0),
            f"{name}_elbow": (0.21 * x, 1.15, 0),
            f"{name}_wrist": (0.22 * x, 0.9, 0),
            f"{name}_hip": (0.1 * x, HIPS, 0),
            f"{name}_knee": (0.1 * x, 0.45, 0),
            f"{name}_ankle": (0.1 * x, 0.0, 0),
        }
    places |= moved
    joints = np.zeros((25, 3))
    for name, place in places.items():
        joints[JOINT[name]] = place
    return joints


RAISED = {"left_elbow": (0.2, 1.65, 0), "left_wrist": (0.2, 1.9, 0)}


@pytest.mark.parametrize(
    ("moved", "text"),
    [
        ({}, "the person stands, upright, left arm hanging down"),
        (RAISED, "left arm raised above the head"),
        ({"left_elbow": (0.45, 1.4, 0), "left_wrist": (0.7, 1.4, 0)}, "left arm raised to the"),
        ({"left_elbow": (0.2, 1.4, 0.25), "left_wrist": (0.2, 1.4, 0.5)}, "left arm stretched for"),
        ({"left_ankle": (0.1, 0.3, 0)}, "left foot lifted slightly"),
        ({"right_knee": (-0.1, 0.9, 0.4), "right_ankle": (-0.1, 0.5, 0.4)}, "right foot lifted hi"),
        ({"left_ankle": (0.6, 0.0, 0)}, "legs wide apart"),
        ({"left_ankle": (0.1, 0.0, 0.6)}, "left foot far ahead"),
        ({"spine_shoulder": (0, 1.3, 0.3)}, "leaning forward"),
        ({"spine_shoulder": (0.3, 1.3, 0)}, "leaning to the left"),
    ],
)
def test_postures_in_words(moved, text):
    assert text in frame_caption(body(**moved), HIPS)


def test_height_of_the_hips():
    assert "squats deeply" in frame_caption(body(), HIPS / 0.6)
    assert "bends the knees" in frame_caption(body(), HIPS / 0.8)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 6.28), st.tuples(*[st.floats(-2, 2)] * 3), st.floats(0.7, 1.5))
def test_turned_moved_and_scaled_bodies_are_told_alike(angle, place, scale):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    joints = body(**RAISED, right_ankle=(-0.1, 0.3, 0))
    there = scale * (joints @ turn.T) + place
    assert frame_caption(there, scale * HIPS) == frame_caption(joints, HIPS)


def test_mirrored_bodies_swap_left_and_right():
    joints = body(**RAISED, left_ankle=(0.1, 0.3, 0))
    mirrored = joints[KINECT25.mirror] * (-1, 1, 1)
    text = frame_caption(mirrored, HIPS)
    assert "right arm raised above the head" in text
    assert "right foot lifted" in text


def test_one_caption_per_frame():
    clip = np.repeat(body().T[:, None, :, None], 20, 1).astype(np.float32)
    found = clip_captions(clip, frames=5)
    assert len(found) == 5
    assert set(found) == {frame_caption(body(), HIPS)}
