from dataclasses import replace

import numpy as np
import pytest

from ski_data.errors import InputError
from ski_data.layouts import KINECT25, LAYOUTS, axes_matrix, convert, get_layout


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_layout_hangs_together(layout):
    count = len(layout.joints)
    assert len(layout.groups) == count
    assert sorted(layout.mirror) == list(range(count))
    assert np.array_equal(layout.mirror[layout.mirror], np.arange(count))
    edges = {frozenset(edge) for edge in layout.edges}
    mirrored = {frozenset(int(layout.mirror[j]) for j in edge) for edge in edges}
    assert mirrored == edges


def test_kinect25_follows_the_published_code():
    assert len(KINECT25.joints) == 25
    assert KINECT25.joints[KINECT25.centre] == "spine_shoulder"
    assert len(KINECT25.edges) == len(KINECT25.bone_pairs) == 24
    assert set(KINECT25.edges) - set(KINECT25.bone_pairs) == {(21, 7), (23, 11)}
    assert set(KINECT25.bone_pairs) - set(KINECT25.edges) == {(21, 22), (23, 24)}
    assert max(KINECT25.groups) == 4


def test_kinect25_longest_path_is_eleven():
    count = 25
    distance = np.full((count, count), 99)
    np.fill_diagonal(distance, 0)
    for a, b in KINECT25.edges:
        distance[a, b] = distance[b, a] = 1
    for k in range(count):
        distance = np.minimum(distance, distance[:, [k]] + distance[[k]])
    assert distance.max() == 11


def test_unknown_layout_lists_the_known():
    with pytest.raises(InputError, match=r"kinect25.*mediapipe33"):
        get_layout("coco17")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joints": ("a",) * 25}, "repeat"),
        ({"centre": 25}, "joint numbers"),
        ({"bone_pairs": KINECT25.bone_pairs[1:]}, "child of one bone"),
        ({"edges": KINECT25.edges[1:]}, "connect"),
        ({"groups": (0,) * 24 + (2,)}, "groups"),
        ({"left_right": ((4, 8), (4, 9))}, "two left-right"),
        ({"axes": ("x", "y", "y")}, "axes"),
    ],
)
def test_broken_layouts_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        replace(KINECT25, **change)


def test_axes():
    up = axes_matrix(["x", "z", "-y"]) @ np.array([1, 2, 3])
    assert up.tolist() == [1, 3, -2]
    with pytest.raises(InputError, match="mirror"):
        axes_matrix(["x", "z", "y"])
    for wrong in (["x", "y"], ["x", "y", "up"], ["", "y", "z"]):
        with pytest.raises(InputError, match="axes must name"):
            axes_matrix(wrong)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "kinect25"])
def test_convert_keeps_left_and_right(name, rng):
    layout = get_layout(name)
    joints = rng.normal(size=(2, 4, len(layout.joints), 3))
    converted, measured = convert(joints, name)
    assert converted.shape == (2, 4, 25, 3)
    assert converted.dtype == np.float32
    mirrored, _ = convert(joints[..., layout.mirror, :], name)
    np.testing.assert_allclose(mirrored, converted[..., KINECT25.mirror, :], atol=1e-6)
    assert np.array_equal(measured, measured[KINECT25.mirror])


def test_copied_joints_are_marked(rng):
    joints = rng.normal(size=(5, 22, 3))
    converted, measured = convert(joints, "kinect22")
    assert np.flatnonzero(~measured).tolist() == [7, 11, 21, 22, 23, 24]
    assert np.array_equal(converted[:, 7], converted[:, 6])
    np.testing.assert_allclose(converted[:, 20], joints[:, 2], atol=1e-6)
    assert convert(rng.normal(size=(31, 3)), "hdm05_31")[1].all()


def test_mediapipe_points_down_and_has_no_spine(rng):
    joints = rng.normal(size=(3, 33, 3))
    converted, measured = convert(joints, "mediapipe33")
    np.testing.assert_allclose(converted[:, 5], joints[:, 13] * [1, -1, -1], atol=1e-6)
    hips = joints[:, 23:25].mean(axis=1) * [1, -1, -1]
    np.testing.assert_allclose(converted[:, 0], hips, atol=1e-6)
    middle = (converted[:, 0] + converted[:, 20]) / 2
    np.testing.assert_allclose(converted[:, 1], middle, atol=1e-6)
    neck = (converted[:, 3] + converted[:, 20]) / 2
    np.testing.assert_allclose(converted[:, 2], neck, atol=1e-6)
    assert np.flatnonzero(~measured).tolist() == [0, 1, 2, 3, 7, 11, 20]


def test_same_layout_only_turns(rng):
    joints = rng.normal(size=(4, 33, 3))
    turned, measured = convert(joints, "mediapipe33", "mediapipe33")
    np.testing.assert_allclose(turned, joints * [1, -1, -1], atol=1e-6)
    assert measured.all()
    kept, _ = convert(joints, "mediapipe33", "mediapipe33", axes=("x", "y", "z"))
    np.testing.assert_allclose(kept, joints, atol=1e-6)


def test_convert_refuses(rng):
    with pytest.raises(InputError, match="22 joints"):
        convert(rng.normal(size=(4, 25, 3)), "kinect22")
    with pytest.raises(InputError, match="no map from kinect25 to kinect22"):
        convert(rng.normal(size=(4, 25, 3)), "kinect25", "kinect22")


@pytest.mark.parametrize(
    ("file", "layout"),
    [
        ("ui_prmd/ui_prmd_kinect22.npz", "kinect22"),
        ("hdm05_11/hdm05_11class_30fps.npz", "hdm05_31"),
        ("bandai_namco_motion/bandai_namco_motion1_30fps.npz", "bandai22"),
    ],
)
def test_layouts_equal_those_of_the_real_files(shared, file, layout):
    path = shared / "data" / file
    if not path.is_file():
        pytest.skip(f"{file} is not there")
    known = get_layout(layout)
    with np.load(path) as arrays:
        assert tuple(arrays["joint_names"].tolist()) == known.joints
        parents = arrays["parents"].tolist()
    edges = {frozenset((child, parent)) for child, parent in enumerate(parents) if parent >= 0}
    assert {frozenset(edge) for edge in known.edges} == edges


def test_real_poses_stand_upright(shared):
    with np.load(shared / "data" / "rgb_pose_clips" / "poses_mediapipe33.npz") as arrays:
        world = arrays["squats__pose_squats__world"]
    joints, _ = convert(world, "mediapipe33")
    assert (joints[:, 3, 1] > joints[:, 0, 1]).mean() > 0.95
    assert (joints[:, 0, 1] > joints[:, 14, 1]).mean() > 0.95
