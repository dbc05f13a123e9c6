"""Joints of one layout in another, and how true each joint of the result is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from ski_data.errors import InputError
from ski_data.layouts.layout import UNITS, Layout, axes_matrix, words
from ski_data.layouts.tables import get_layout

_SPAN = (0.01, 10.0)
"""A body's largest extent in metres, in the median frame; wide, it is to catch a wrong unit."""


class Validity(IntEnum):
    """How a converted joint came about."""

    ABSENT = 0
    """Nothing stands for it; its coordinates are 0."""
    COPIED = 1
    """Repeats the point of a neighbouring joint that is in the result already."""
    INTERPOLATED = 2
    """The mean of several source joints."""
    MEASURED = 3
    """The source has it."""


_COCO_TO_KINECT25 = """left_hip+right_hip left_shoulder+right_shoulder+left_hip+right_hip
    left_ear+right_ear+left_shoulder+right_shoulder left_ear+right_ear
    left_shoulder left_elbow left_wrist {left_hand} right_shoulder right_elbow right_wrist
    {right_hand} left_hip left_knee left_ankle {left_foot} right_hip right_knee right_ankle
    {right_foot} left_shoulder+right_shoulder {left_fingers} {right_fingers}"""

_MAPS: dict[tuple[str, str], str] = {
    ("kinect22", "kinect25"): """waist spine neck head_tip
        left_upper_arm left_forearm left_hand =left_hand
        right_upper_arm right_forearm right_hand =right_hand
        left_upper_leg left_lower_leg left_foot left_leg_toes
        right_upper_leg right_lower_leg right_foot right_leg_toes
        chest =left_hand =left_hand =right_hand =right_hand""",
    ("bvh22", "kinect25"): """Hips Spine Neck Head
        UpperArm_L LowerArm_L Hand_L =Hand_L UpperArm_R LowerArm_R Hand_R =Hand_R
        UpperLeg_L LowerLeg_L Foot_L Toes_L UpperLeg_R LowerLeg_R Foot_R Toes_R
        Chest =Hand_L =Hand_L =Hand_R =Hand_R""",
    ("hdm05-31", "kinect25"): """root upperback upperneck head
        lclavicle lhumerus lradius lhand rclavicle rhumerus rradius rhand
        lhipjoint lfemur ltibia lfoot rhipjoint rfemur rtibia rfoot
        thorax lfingers lthumb rfingers rthumb""",
    ("mediapipe33", "kinect25"): _COCO_TO_KINECT25.format(
        left_hand="left_pinky+left_index",
        right_hand="right_pinky+right_index",
        left_foot="left_foot_index",
        right_foot="right_foot_index",
        left_fingers="left_index left_thumb",
        right_fingers="right_index right_thumb",
    ),
    ("coco17", "kinect25"): _COCO_TO_KINECT25.format(
        left_hand="=left_wrist",
        right_hand="=right_wrist",
        left_foot="=left_ankle",
        right_foot="=right_ankle",
        left_fingers="=left_wrist =left_wrist",
        right_fingers="=right_wrist =right_wrist",
    ),
    ("coco133", "kinect25"): _COCO_TO_KINECT25.format(
        left_hand="left_hand_root+left_middle_finger_1",
        right_hand="right_hand_root+right_middle_finger_1",
        left_foot="left_big_toe+left_small_toe",
        right_foot="right_big_toe+right_small_toe",
        left_fingers="left_middle_finger_4 left_thumb_4",
        right_fingers="right_middle_finger_4 right_thumb_4",
    ),
    ("kinect20", "kinect25"): """hip_centre spine shoulder_centre+head head
        left_shoulder left_elbow left_wrist left_hand
        right_shoulder right_elbow right_wrist right_hand
        left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot
        shoulder_centre =left_hand =left_hand =right_hand =right_hand""",
    ("kinect15", "kinect25"): """left_hip+right_hip torso neck head
        left_shoulder left_elbow =left_hand left_hand
        right_shoulder right_elbow =right_hand right_hand
        left_hip left_knee =left_foot left_foot right_hip right_knee =right_foot right_foot
        left_shoulder+right_shoulder =left_hand =left_hand =right_hand =right_hand""",
    ("h36m17", "kinect25"): """root spine thorax+neck_nose neck_nose+head
        left_shoulder left_elbow left_wrist =left_wrist
        right_shoulder right_elbow right_wrist =right_wrist
        left_hip left_knee left_ankle =left_ankle right_hip right_knee right_ankle =right_ankle
        thorax =left_wrist =left_wrist =right_wrist =right_wrist""",
    ("kinect25", "kinect20"): """spine_base spine_middle spine_shoulder head
        left_shoulder left_elbow left_wrist left_hand
        right_shoulder right_elbow right_wrist right_hand
        left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot""",
    ("kinect25", "kinect15"): """head neck spine_middle left_shoulder left_elbow
        right_shoulder right_elbow left_hip left_knee right_hip right_knee
        left_hand right_hand left_foot right_foot""",
    ("kinect25", "coco17"): """- - - - - left_shoulder right_shoulder left_elbow right_elbow
        left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle""",
    ("kinect25", "h36m17"): """spine_base right_hip right_knee right_ankle
        left_hip left_knee left_ankle spine_middle spine_shoulder - -
        left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""",
    ("coco133", "coco17"): " ".join(get_layout("coco17").joints),
    ("mediapipe33", "coco17"): " ".join(get_layout("coco17").joints),
}
"""For each target joint, in order: the source joint, a mean ``a+b``, a copy ``=a``, or ``-``."""


def _sources(source: Layout, target: Layout) -> list[tuple[Validity, list[int]]]:
    """State and source joints of each target joint."""
    if source.name == target.name:
        return [(Validity.MEASURED, [joint]) for joint in range(len(source.joints))]
    if (source.name, target.name) not in _MAPS:
        known = ", ".join(f"{a} to {b}" for a, b in _MAPS)
        raise InputError(f"no map from {source.name} to {target.name}; there is: {known}")
    result = []
    for text in words(_MAPS[source.name, target.name]):
        joints = [source.joints.index(name) for name in text.lstrip("=-").split("+") if name]
        if text == "-":
            state = Validity.ABSENT
        elif text[0] == "=":
            state = Validity.COPIED
        else:
            state = Validity.MEASURED if len(joints) == 1 else Validity.INTERPOLATED
        result.append((state, joints))
    return result


def joint_validity(source: str | Layout, target: str | Layout = "kinect25") -> np.ndarray:
    """(V',) uint8 of :class:`Validity`: how each joint that :func:`convert` gives came about.

    Raises:
        InputError: Unknown layouts, or no map between them.
    """
    source, target = _known(source), _known(target)
    return np.array([state for state, _ in _sources(source, target)], np.uint8)


def convert(
    joints: np.ndarray,
    source: str | Layout,
    target: str | Layout = "kinect25",
    axes: Sequence[str] | None = None,
    unit: str = "metres",
) -> tuple[np.ndarray, np.ndarray]:
    """Joints of one layout in another: in metres with y up, or in pixels as they are.

    Args:
        joints: (..., V, 3) in ``source``, axes as published there; (..., V, 2) in pixels.
        source: Layout of the data.
        target: Layout of the result; the source's own to turn the axes only.
        axes: Where the result's x, y, z come from; by default as the source layout says.
        unit: Of ``joints``; the layout's ``unit`` is that of the data as published.

    Returns:
        float32 (..., V', 3 or 2), and a (V',) bool that is False for joints that were not measured;
        :func:`joint_validity` tells copied, interpolated and absent joints (all zero) apart.

    Raises:
        InputError: Unknown layouts, no map between them, another number of joints or coordinates,
            an unknown unit, or bodies that are no bodies in it (millimetres called metres).
    """
    source, target = _known(source), _known(target)
    joints = np.asarray(joints)
    count = len(source.joints)
    if unit not in UNITS:
        raise InputError(f"unknown unit {unit!r}; known: {', '.join(UNITS)}")
    scale = UNITS[unit]
    size = 2 if scale is None else 3
    if joints.ndim < 2 or joints.shape[-2:] != (count, size):
        raise InputError(
            f"layout {source.name} has {count} joints: (..., {count}, {size}) in {unit} expected, "
            f"not {joints.shape}"
        )
    if scale is not None:
        turned = joints.astype(np.float32) @ axes_matrix(axes or source.axes).T
        turned *= np.float32(scale)
        _check_span(turned, source, unit)
    elif axes is not None:
        raise InputError("pixels have no axes to turn; leave axes out")
    else:
        turned = joints.astype(np.float32)
    mapping = _sources(source, target)
    result = np.zeros((*joints.shape[:-2], len(mapping), size), np.float32)
    for joint, (_, sources) in enumerate(mapping):
        if sources:
            result[..., joint, :] = turned[..., sources, :].mean(axis=-2)
    return result, np.array([state == Validity.MEASURED for state, _ in mapping])


def _known(layout: str | Layout) -> Layout:
    return get_layout(layout) if isinstance(layout, str) else layout


def _check_span(joints: np.ndarray, layout: Layout, unit: str) -> None:
    """Bodies of (..., V, 3) in metres have a plausible size; all-zero frames do not count."""
    frames = joints.reshape(-1, *joints.shape[-2:])
    spans = (frames.max(axis=1) - frames.min(axis=1)).max(axis=-1)
    spans = spans[np.isfinite(spans) & (spans > 0)]
    if spans.size and not _SPAN[0] <= np.median(spans) <= _SPAN[1]:
        raise InputError(
            f"the bodies span {np.median(spans):.4g} m if the unit is {unit}, which no body does; "
            f"layout {layout.name} is published in {layout.unit}, known: {', '.join(UNITS)}"
        )
