"""Joint layouts by name, and conversion of joints from one layout to the 25 Kinect joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ski_data.errors import InputError

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Layout:
    """The joints of a skeleton and how they hang together; joint numbers are from 0.

    Attributes:
        name: What users write.
        joints: Joint names.
        centre: The joint that streams are relative to.
        edges: Bones of the model's graph, without direction; every joint hangs together.
        bone_pairs: (child, parent) of the bone stream; each joint but the centre is a child once.
        groups: Hyperedge of each joint, from 0 without gaps.
        left_right: Pairs that swap when the body is mirrored.
        axes: Where the target's x (right), y (up) and z come from in data as published in this
            layout, for example ``("x", "-y", "-z")`` where y points down.
    """

    name: str
    joints: tuple[str, ...]
    centre: int
    edges: Pairs
    bone_pairs: Pairs
    groups: tuple[int, ...]
    left_right: Pairs
    axes: tuple[str, str, str] = ("x", "y", "z")

    def __post_init__(self) -> None:
        count = len(self.joints)
        pairs = (*self.edges, *self.bone_pairs, *self.left_right)
        used = {joint for pair in pairs for joint in pair}
        problems = []
        if len(set(self.joints)) != count:
            problems.append("joint names repeat")
        if not all(0 <= j < count for j in (*used, self.centre)):
            problems.append(f"joint numbers must be in 0..{count - 1}")
        elif sorted(child for child, _ in self.bone_pairs) != [
            j for j in range(count) if j != self.centre
        ]:
            problems.append("every joint but the centre must be the child of one bone pair")
        elif len(_tree(self.edges, self.centre)) != count - 1:
            problems.append("edges must connect all joints")
        if len(self.groups) != count or set(self.groups) != set(range(max(self.groups) + 1)):
            problems.append(f"groups must give each of the {count} joints a group from 0, no gaps")
        if len({j for pair in self.left_right for j in pair}) != 2 * len(self.left_right):
            problems.append("a joint stands in two left-right pairs")
        if problems:
            raise InputError(f"layout {self.name}: " + "; ".join(problems))
        axes_matrix(self.axes)

    @property
    def mirror(self) -> np.ndarray:
        """(V,) joint order of the mirrored body."""
        order = np.arange(len(self.joints))
        for left, right in self.left_right:
            order[left], order[right] = right, left
        return order


def axes_matrix(axes: Sequence[str]) -> np.ndarray:
    """(3, 3) matrix that turns column vectors so that their new x, y, z come from ``axes``.

    Args:
        axes: Three of ``x``, ``y``, ``z``, each once, each with or without a minus sign.

    Raises:
        InputError: Another form, or axes that mirror the body (left would become right).
    """
    matrix = np.zeros((3, 3), np.float32)
    axes = tuple(str(axis) for axis in axes)
    if len(axes) != 3 or sorted(axis.lstrip("-+") for axis in axes) != ["x", "y", "z"]:
        raise InputError(
            f"axes must name x, y and z once each, with or without a minus, not {list(axes)}; "
            "z-up data, for example: [x, z, -y]"
        )
    for row, axis in enumerate(axes):
        matrix[row, "xyz".index(axis[-1])] = -1 if axis[0] == "-" else 1
    if np.linalg.det(matrix) < 0:
        raise InputError(
            f"axes {list(axes)} mirror the body, so left would become right; flip one more sign"
        )
    return matrix


def _tree(edges: Pairs, centre: int) -> Pairs:
    """(child, parent) pairs of the graph, walked from the centre breadth first."""
    parent = {centre: centre}
    queue = [centre]
    for joint in queue:
        for a, b in edges:
            for here, there in ((a, b), (b, a)):
                if here == joint and there not in parent:
                    parent[there] = joint
                    queue.append(there)
    return tuple((child, up) for child, up in parent.items() if child != centre)


def _layout(
    name: str,
    joints: str,
    centre: int,
    edges: Pairs,
    parts: Sequence[Sequence[int]],
    left_right: Pairs,
    axes: tuple[str, str, str] = ("x", "y", "z"),
) -> Layout:
    """A layout whose bone pairs are the graph walked from the centre; ``parts`` are the groups."""
    names = _words(joints)
    groups = tuple(
        next(g for g, part in enumerate(parts) if joint in part) for joint in range(len(names))
    )
    return Layout(name, names, centre, edges, _tree(edges, centre), groups, left_right, axes)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _from_parents(parents: Sequence[int]) -> Pairs:
    return tuple((child, parent) for child, parent in enumerate(parents) if parent >= 0)


_KINECT_BONES: Pairs = (
    *((0, 1), (1, 20), (2, 20), (3, 2), (4, 20), (5, 4), (6, 5), (7, 6), (8, 20), (9, 8)),
    *((10, 9), (11, 10), (12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17)),
    (19, 18),
)

KINECT25 = Layout(
    name="kinect25",
    joints=_words(
        """spine_base spine_middle neck head left_shoulder left_elbow left_wrist left_hand
        right_shoulder right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot
        right_hip right_knee right_ankle right_foot spine_shoulder left_hand_tip left_thumb
        right_hand_tip right_thumb"""
    ),
    centre=20,
    edges=(*_KINECT_BONES, (21, 7), (22, 7), (23, 11), (24, 11)),
    bone_pairs=(*_KINECT_BONES, (21, 22), (22, 7), (23, 24), (24, 11)),
    groups=(0, 4, 2, 2, 2, 2, 1, 1, 2, 2, 1, 1, 2, 3, 3, 3, 2, 3, 3, 3, 1, 0, 1, 0, 1),
    left_right=(
        *((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
        *((21, 23), (22, 24)),
    ),
)
"""Kinect v2, the joints of NTU RGB+D. Edges are Hyperformer's graph; the bone stream chains the
hand tip to the thumb, as CTR-GCN does. The groups are those of Hyperformer's published weights."""

KINECT22 = _layout(
    "kinect22",
    """waist spine chest neck head head_tip left_collar left_upper_arm left_forearm left_hand
    right_collar right_upper_arm right_forearm right_hand left_upper_leg left_lower_leg left_foot
    left_leg_toes right_upper_leg right_lower_leg right_foot right_leg_toes""",
    2,
    _from_parents((-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20)),
    (range(6), range(6, 10), range(10, 14), range(14, 18), range(18, 22)),
    tuple((left, left + 4) for left in (6, 7, 8, 9, 14, 15, 16, 17)),
)
"""Kinect v2 joints rebuilt from joint angles, as in UI-PRMD."""

BANDAI22 = _layout(
    "bandai22",
    """joint_Root Hips Spine Chest Neck Head Shoulder_L UpperArm_L LowerArm_L Hand_L Shoulder_R
    UpperArm_R LowerArm_R Hand_R UpperLeg_L LowerLeg_L Foot_L Toes_L UpperLeg_R LowerLeg_R Foot_R
    Toes_R""",
    3,
    _from_parents((-1, 0, 1, 2, 3, 4, 3, 6, 7, 8, 3, 10, 11, 12, 1, 14, 15, 16, 1, 18, 19, 20)),
    (range(6), range(6, 10), range(10, 14), range(14, 18), range(18, 22)),
    tuple((left, left + 4) for left in (6, 7, 8, 9, 14, 15, 16, 17)),
)
"""Bandai-Namco-Research-Motiondataset; joint 0 is a point on the floor."""

HDM05_31 = _layout(
    "hdm05_31",
    """root lhipjoint lfemur ltibia lfoot ltoes rhipjoint rfemur rtibia rfoot rtoes lowerback
    upperback thorax lowerneck upperneck head lclavicle lhumerus lradius lwrist lhand lfingers
    lthumb rclavicle rhumerus rradius rwrist rhand rfingers rthumb""",
    13,
    (
        *_from_parents((-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 15)),
        *((17, 13), (18, 17), (19, 18), (20, 19), (21, 20), (22, 21), (23, 20)),
        *((24, 13), (25, 24), (26, 25), (27, 26), (28, 27), (29, 28), (30, 27)),
    ),
    ((0, *range(11, 17)), range(17, 24), range(24, 31), range(1, 6), range(6, 11)),
    (*((j, j + 5) for j in range(1, 6)), *((j, j + 7) for j in range(17, 24))),
)
"""HDM05 motion capture; a joint is the far end of the bone of its name."""

MEDIAPIPE33 = _layout(
    "mediapipe33",
    """nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer
    left_ear right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow
    right_elbow left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb
    right_thumb left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel
    right_heel left_foot_index right_foot_index""",
    0,
    (
        *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (0, 9), (0, 10)),
        *((0, 11), (0, 12), (11, 12), (11, 13), (13, 15), (15, 17), (15, 19), (15, 21)),
        *((12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (11, 23), (12, 24), (23, 24)),
        *((23, 25), (25, 27), (27, 29), (27, 31), (24, 26), (26, 28), (28, 30), (28, 32)),
    ),
    (range(11), range(11, 23, 2), range(12, 23, 2), range(23, 33, 2), range(24, 33, 2)),
    (*((1, 4), (2, 5), (3, 6)), *((j, j + 1) for j in range(7, 32, 2))),
    ("x", "-y", "-z"),
)
"""MediaPipe Pose world landmarks: y points down and z away from the camera as published."""

LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (KINECT25, KINECT22, BANDAI22, HDM05_31, MEDIAPIPE33)
}

_TO_KINECT25: dict[str, tuple[tuple[int, ...], ...]] = {
    "kinect22": (
        *((0,), (1,), (3,), (5,)),
        *((7,), (8,), (9,), (9,)),
        *((11,), (12,), (13,), (13,)),
        *((14,), (15,), (16,), (17,)),
        *((18,), (19,), (20,), (21,)),
        *((2,), (9,), (9,), (13,), (13,)),
    ),
    "bandai22": (
        *((1,), (2,), (4,), (5,)),
        *((7,), (8,), (9,), (9,)),
        *((11,), (12,), (13,), (13,)),
        *((14,), (15,), (16,), (17,)),
        *((18,), (19,), (20,), (21,)),
        *((3,), (9,), (9,), (13,), (13,)),
    ),
    "hdm05_31": (
        *((0,), (12,), (15,), (16,)),
        *((17,), (18,), (19,), (21,)),
        *((24,), (25,), (26,), (28,)),
        *((1,), (2,), (3,), (4,)),
        *((6,), (7,), (8,), (9,)),
        *((13,), (22,), (23,), (29,), (30,)),
    ),
    "mediapipe33": (
        *((23, 24), (11, 12, 23, 24), (7, 8, 11, 12), (7, 8)),
        *((11,), (13,), (15,), (17, 19)),
        *((12,), (14,), (16,), (18, 20)),
        *((23,), (25,), (27,), (31,)),
        *((24,), (26,), (28,), (32,)),
        *((11, 12), (19,), (21,), (20,), (22,)),
    ),
}
"""For each of the 25 Kinect joints the source joints whose mean it is."""


def get_layout(name: str) -> Layout:
    """A layout by its name.

    Raises:
        InputError: Unknown name.
    """
    if name not in LAYOUTS:
        raise InputError(f"unknown joint layout {name!r}; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def convert(
    joints: np.ndarray,
    source: str | Layout,
    target: str | Layout = "kinect25",
    axes: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Joints of one layout in another, y up.

    Args:
        joints: (..., V, 3) in ``source``, as published there.
        source: Layout of the data.
        target: ``kinect25``, or the source's own layout to turn the axes only.
        axes: Where the result's x, y, z come from; by default as the source layout says.

    Returns:
        float32 (..., V', 3), and a (V',) bool that is False for joints that were not measured: a
        mean of others (a hip centre between two hips) or a repetition of a joint that is already
        used (fingers copied from a wrist).

    Raises:
        InputError: Unknown or unsupported layouts, or another number of joints.
    """
    source = get_layout(source) if isinstance(source, str) else source
    target = get_layout(target) if isinstance(target, str) else target
    joints = np.asarray(joints)
    count = len(source.joints)
    if joints.ndim < 2 or joints.shape[-2:] != (count, 3):
        raise InputError(
            f"layout {source.name} has {count} joints: (..., {count}, 3) expected, "
            f"not {joints.shape}"
        )
    turned = joints.astype(np.float32) @ axes_matrix(axes or source.axes).T
    if source.name == target.name:
        return turned, np.ones(count, bool)
    if target.name != KINECT25.name or source.name not in _TO_KINECT25:
        raise InputError(
            f"no map from {source.name} to {target.name}; to kinect25 there is one from "
            f"{', '.join(_TO_KINECT25)}"
        )
    mapping = _TO_KINECT25[source.name]
    result = np.empty((*joints.shape[:-2], len(target.joints), 3), np.float32)
    measured = np.zeros(len(target.joints), bool)
    used: set[int] = set()
    for joint, sources in enumerate(mapping):
        result[..., joint, :] = turned[..., list(sources), :].mean(axis=-2)
        if len(sources) == 1:
            measured[joint] = sources[0] not in used
            used.update(sources)
    return result, measured
