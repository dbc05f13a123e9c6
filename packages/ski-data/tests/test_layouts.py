from dataclasses import replace

import numpy as np
import pytest

from ski_data.errors import InputError
from ski_data.layouts import (
    COCO133,
    KINECT25,
    LAYOUTS,
    UNITS,
    Validity,
    axes_matrix,
    convert,
    get_layout,
    joint_validity,
)
from ski_data.layouts.conversion import _MAPS

PAIRS = sorted(_MAPS)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_layout_hangs_together(layout):
    count = len(layout.joints)
    assert len(layout.groups) == count
    assert sorted(layout.mirror) == list(range(count))
    assert np.array_equal(layout.mirror[layout.mirror], np.arange(count))
    edges = {frozenset(edge) for edge in layout.edges}
    mirrored = {frozenset(int(layout.mirror[j]) for j in edge) for edge in edges}
    assert mirrored == edges
    assert layout.unit in UNITS
    assert np.linalg.det(axes_matrix(layout.axes)) == 1


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_bones_are_one_tree(layout):
    assert len(layout.bone_pairs) == len(layout.joints) - 1
    parent = dict(layout.bone_pairs)
    assert len(parent) == len(layout.bone_pairs)
    for joint in range(len(layout.joints)):
        steps = 0
        while joint != layout.centre:
            joint, steps = parent[joint], steps + 1
            assert steps < len(layout.joints)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_left_and_right_by_name(layout):
    for a, b in layout.left_right:
        left, right = layout.joints[a], layout.joints[b]
        if left.startswith(("left", "right")):
            assert left.replace("left", "right") == right
    paired = {j for pair in layout.left_right for j in pair}
    named = {j for j, name in enumerate(layout.joints) if name.startswith(("left_", "right_"))}
    assert named <= paired


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *[("kinect25", 25), ("kinect22", 22), ("kinect20", 20), ("kinect15", 15)],
        *[("bvh22", 22), ("hdm05-31", 31), ("mediapipe33", 33)],
        *[("coco17", 17), ("coco133", 133), ("h36m17", 17)],
    ],
)
def test_every_layout_has_its_joints(name, count):
    assert len(get_layout(name).joints) == count
    assert len(LAYOUTS) == 10


def test_coco133_numbers_follow_the_data_set():
    at = COCO133.joints.index
    assert [at(n) for n in ("nose", "right_ankle", "left_big_toe", "right_heel")] == [0, 16, 17, 22]
    assert [at(n) for n in ("face_0", "face_67", "left_hand_root")] == [23, 90, 91]
    assert [at(n) for n in ("left_pinky_finger_4", "right_hand_root")] == [111, 112]
    assert COCO133.mirror[[23 + 36, 23 + 48, 23 + 8, 91]].tolist() == [23 + 45, 23 + 54, 31, 112]


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
        get_layout("kinect26")


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
        ({"unit": "feet"}, "unit must be"),
        (
            {
                "bone_pairs": (
                    (21, 22),
                    (22, 21),
                    *KINECT25.bone_pairs[:-4],
                    *KINECT25.bone_pairs[-2:],
                )
            },
            "lead from every joint",
        ),
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


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_convert_keeps_left_and_right(source, target, rng):
    source, target = get_layout(source), get_layout(target)
    joints = rng.normal(size=(2, 4, len(source.joints), 3))
    converted, measured = convert(joints, source, target)
    assert converted.shape == (2, 4, len(target.joints), 3)
    assert converted.dtype == np.float32
    mirrored, _ = convert(joints[..., source.mirror, :], source, target)
    np.testing.assert_allclose(mirrored, converted[..., target.mirror, :], atol=1e-6)
    assert np.array_equal(measured, measured[target.mirror])


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_no_point_appears_twice_unmarked(source, target, rng):
    joints = rng.normal(size=(len(get_layout(source).joints), 3))
    converted, measured = convert(joints, source, target)
    validity = joint_validity(source, target)
    assert np.array_equal(measured, validity == Validity.MEASURED)
    true = converted[np.isin(validity, [Validity.MEASURED, Validity.INTERPOLATED])]
    assert len(np.unique(true, axis=0)) == len(true)
    for joint in converted[validity == Validity.COPIED]:
        assert (true == joint).all(axis=1).sum() == 1
    assert not converted[validity == Validity.ABSENT].any()


def test_every_layout_reaches_kinect25():
    assert {source for source, target in PAIRS if target == "kinect25"} | {"kinect25"} == set(
        LAYOUTS
    )


@pytest.mark.parametrize("name", ["kinect20", "kinect15"])
def test_there_and_back_keeps_measured_joints(name, rng):
    joints = rng.normal(size=(3, len(get_layout(name).joints), 3)).astype(np.float32)
    full, measured = convert(joints, name)
    back, _ = convert(full, "kinect25", name)
    np.testing.assert_array_equal(back, joints)
    assert not measured.all()


def test_absent_joints_are_zero_and_said_so(rng):
    converted, measured = convert(rng.normal(size=(2, 25, 3)), "kinect25", "coco17")
    assert not converted[:, :5].any()
    assert converted[:, 5:].all()
    assert joint_validity("kinect25", "coco17")[:5].tolist() == [Validity.ABSENT] * 5
    assert measured.tolist() == [False] * 5 + [True] * 12


def test_units(rng):
    joints = rng.normal(size=(3, 15, 3))
    metres, _ = convert(joints, "kinect15")
    scaled, _ = convert(joints * 1000, "kinect15", unit="millimetres")
    np.testing.assert_allclose(scaled, metres, atol=1e-5)
    with pytest.raises(InputError, match="published in millimetres"):
        convert(joints * 1000, "kinect15")
    with pytest.raises(InputError, match="no body does"):
        convert(joints, "kinect15", unit="millimetres")
    with pytest.raises(InputError, match=r"unknown unit.*centimetres"):
        convert(joints, "kinect15", unit="feet")
    assert not convert(np.zeros((3, 15, 3)), "kinect15")[0].any()


def test_pixels_stay_pixels(rng):
    points = rng.uniform(0, 1000, (4, 133, 2)).astype(np.float32)
    body, measured = convert(points, "coco133", "coco17", unit="pixels")
    np.testing.assert_array_equal(body, points[:, :17])
    assert measured.all()
    with pytest.raises(InputError, match=r"2\) in pixels expected"):
        convert(rng.normal(size=(4, 17, 3)), "coco17", unit="pixels")
    with pytest.raises(InputError, match="no axes to turn"):
        convert(points, "coco133", "coco17", axes=("x", "-y", "-z"), unit="pixels")
    with pytest.raises(InputError, match="3\\) in metres expected"):
        convert(points, "coco133", "coco17")


def test_copied_joints_are_marked(rng):
    joints = rng.normal(size=(5, 22, 3))
    converted, measured = convert(joints, "kinect22")
    assert np.flatnonzero(~measured).tolist() == [7, 11, 21, 22, 23, 24]
    assert np.array_equal(converted[:, 7], converted[:, 6])
    np.testing.assert_allclose(converted[:, 20], joints[:, 2], atol=1e-6)
    assert convert(rng.normal(size=(31, 3)), "hdm05-31")[1].all()


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
        ("hdm05_11/hdm05_11class_30fps.npz", "hdm05-31"),
        ("bandai_namco_motion/bandai_namco_motion1_30fps.npz", "bvh22"),
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
