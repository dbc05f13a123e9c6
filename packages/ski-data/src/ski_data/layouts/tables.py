"""The joint layouts by name."""

from __future__ import annotations

from itertools import pairwise

from ski_data.errors import InputError
from ski_data.layouts.layout import Layout, Pairs, build_layout, from_parents, words

_KINECT_BONES: Pairs = (
    *((0, 1), (1, 20), (2, 20), (3, 2), (4, 20), (5, 4), (6, 5), (7, 6), (8, 20), (9, 8)),
    *((10, 9), (11, 10), (12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17)),
    (19, 18),
)

KINECT25 = Layout(
    name="kinect25",
    joints=words(
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

KINECT22 = build_layout(
    "kinect22",
    """waist spine chest neck head head_tip left_collar left_upper_arm left_forearm left_hand
    right_collar right_upper_arm right_forearm right_hand left_upper_leg left_lower_leg left_foot
    left_leg_toes right_upper_leg right_lower_leg right_foot right_leg_toes""",
    2,
    from_parents((-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20)),
    (range(6), range(6, 10), range(10, 14), range(14, 18), range(18, 22)),
    tuple((left, left + 4) for left in (6, 7, 8, 9, 14, 15, 16, 17)),
)
"""Kinect v2 joints rebuilt from joint angles, as in UI-PRMD."""

BVH22 = build_layout(
    "bvh22",
    """joint_Root Hips Spine Chest Neck Head Shoulder_L UpperArm_L LowerArm_L Hand_L Shoulder_R
    UpperArm_R LowerArm_R Hand_R UpperLeg_L LowerLeg_L Foot_L Toes_L UpperLeg_R LowerLeg_R Foot_R
    Toes_R""",
    3,
    from_parents((-1, 0, 1, 2, 3, 4, 3, 6, 7, 8, 3, 10, 11, 12, 1, 14, 15, 16, 1, 18, 19, 20)),
    (range(6), range(6, 10), range(10, 14), range(14, 18), range(18, 22)),
    tuple((left, left + 4) for left in (6, 7, 8, 9, 14, 15, 16, 17)),
)
"""Bandai-Namco-Research-Motiondataset; joint 0 is a point on the floor."""

HDM05_31 = build_layout(
    "hdm05-31",
    """root lhipjoint lfemur ltibia lfoot ltoes rhipjoint rfemur rtibia rfoot rtoes lowerback
    upperback thorax lowerneck upperneck head lclavicle lhumerus lradius lwrist lhand lfingers
    lthumb rclavicle rhumerus rradius rwrist rhand rfingers rthumb""",
    13,
    (
        *from_parents((-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 15)),
        *((17, 13), (18, 17), (19, 18), (20, 19), (21, 20), (22, 21), (23, 20)),
        *((24, 13), (25, 24), (26, 25), (27, 26), (28, 27), (29, 28), (30, 27)),
    ),
    ((0, *range(11, 17)), range(17, 24), range(24, 31), range(1, 6), range(6, 11)),
    (*((j, j + 5) for j in range(1, 6)), *((j, j + 7) for j in range(17, 24))),
)
"""HDM05 motion capture; a joint is the far end of the bone of its name."""

MEDIAPIPE33 = build_layout(
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

KINECT20 = build_layout(
    "kinect20",
    """hip_centre spine shoulder_centre head left_shoulder left_elbow left_wrist left_hand
    right_shoulder right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot
    right_hip right_knee right_ankle right_foot""",
    2,
    from_parents((-1, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18)),
    (range(4), range(4, 8), range(8, 12), range(12, 16), range(16, 20)),
    tuple((left, left + 4) for left in (4, 5, 6, 7, 12, 13, 14, 15)),
)
"""Kinect v1 in the order of its SDK, as in NW-UCLA."""

KINECT15 = build_layout(
    "kinect15",
    """head neck torso left_shoulder left_elbow right_shoulder right_elbow left_hip left_knee
    right_hip right_knee left_hand right_hand left_foot right_foot""",
    2,
    from_parents((1, 2, -1, 1, 3, 1, 5, 2, 7, 2, 9, 4, 6, 8, 10)),
    ((0, 1, 2), (3, 4, 11), (5, 6, 12), (7, 8, 13), (9, 10, 14)),
    ((3, 5), (4, 6), (7, 9), (8, 10), (11, 12), (13, 14)),
    unit="millimetres",
)
"""Kinect v1 by OpenNI, in the order and unit of CAD-60; it has no wrists and no ankles."""

_COCO_BODY = """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow
    right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle
    right_ankle"""
_COCO_PARENTS = (-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14)
_COCO_PAIRS: Pairs = tuple((left, left + 1) for left in range(1, 16, 2))
_IMAGE_AXES = ("x", "-y", "-z")

COCO17 = build_layout(
    "coco17",
    _COCO_BODY,
    0,
    from_parents(_COCO_PARENTS),
    (range(5), (5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16)),
    _COCO_PAIRS,
    _IMAGE_AXES,
    "pixels",
)
"""COCO person keypoints, the tree of PYSKL's graph; pixels with y down, or lifted to 3D."""

_FOOT = ("big_toe", "small_toe", "heel")
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")


def _whole_body_names() -> str:
    names = [f"{side}_{toe}" for side in ("left", "right") for toe in _FOOT]
    names += [f"face_{number}" for number in range(68)]
    for side in ("left", "right"):
        names.append(f"{side}_hand_root")
        names += [f"{side}_{finger}_{number}" for finger in _FINGERS for number in (1, 2, 3, 4)]
    return " ".join((_COCO_BODY, *names))


_FACE_CHAINS = (
    *((*range(9), 57, 66, 62, 51, 33, 30, 29, 28, 27), tuple(range(16, 7, -1))),
    *((17, 18, 19, 20, 21, 27), (26, 25, 24, 23, 22, 27), (31, 32, 33), (35, 34, 33)),
    *((36, 37, 38, 39, 27), (41, 40, 39), (45, 44, 43, 42, 27), (46, 47, 42)),
    *((48, 49, 50, 51), (54, 53, 52, 51), (59, 58, 57), (55, 56, 57)),
    *((60, 61, 62), (64, 63, 62), (67, 66), (65, 66)),
)


def _whole_body_edges() -> Pairs:
    """The body's tree, toes and heels on ankles, the tip of the face's nose on the nose, hands."""
    edges = [*from_parents(_COCO_PARENTS), (17, 15), (18, 15), (19, 15), (20, 16), (21, 16)]
    edges += [(22, 16), (53, 0)]
    for chain in _FACE_CHAINS:
        edges += [(23 + a, 23 + b) for a, b in pairwise(chain)]
    for root, wrist in ((91, 9), (112, 10)):
        edges.append((root, wrist))
        for first in range(root + 1, root + 21, 4):
            edges += pairwise((root, *range(first, first + 4)))
    return tuple(edges)


_FACE_PAIRS: Pairs = (
    *((j, 16 - j) for j in range(8)),
    *((j, 43 - j) for j in range(17, 22)),
    *((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
)

COCO133 = build_layout(
    "coco133",
    _whole_body_names(),
    0,
    _whole_body_edges(),
    (
        (*range(5), *range(23, 91)),
        *((5, 7, 9, *range(91, 112)), (6, 8, 10, *range(112, 133))),
        *((11, 13, 15, 17, 18, 19), (12, 14, 16, 20, 21, 22)),
    ),
    (
        *_COCO_PAIRS,
        *((17, 20), (18, 21), (19, 22)),
        *((23 + a, 23 + b) for a, b in _FACE_PAIRS),
        *((left, left + 21) for left in range(91, 112)),
    ),
    _IMAGE_AXES,
    "pixels",
)
"""COCO-WholeBody: body, feet, 68 points of the face, two hands; pixels, or lifted to 3D."""

H36M17 = build_layout(
    "h36m17",
    """root right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck_nose
    head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""",
    0,
    from_parents((-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)),
    ((0, 7, 8, 9, 10), (11, 12, 13), (14, 15, 16), (4, 5, 6), (1, 2, 3)),
    ((4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)),
    _IMAGE_AXES,
)
"""Human3.6M, the 17 joints that pose lifters give, in the camera's axes (y down, z away); the
head is its top."""

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *(KINECT25, KINECT22, KINECT20, KINECT15),
        *(BVH22, HDM05_31, MEDIAPIPE33, COCO17, COCO133, H36M17),
    )
}


def get_layout(name: str) -> Layout:
    """A layout by its name.

    Raises:
        InputError: Unknown name.
    """
    if name not in LAYOUTS:
        raise InputError(f"unknown joint layout {name!r}; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
