"""What a person's posture looks like in words, told from joints by fixed rules; no class is known.

Clips are ``kinect25`` in metres, y up, of one body. Directions are the body's own: forward is
across the hips' line, so turned people are told alike.
"""

from __future__ import annotations

import numpy as np

from ski_data.layouts import KINECT25

JOINT = {name: number for number, name in enumerate(KINECT25.joints)}
UP = np.array([0.0, 1.0, 0.0])


def clip_captions(clip: np.ndarray, frames: int = 12) -> list[str]:
    """One sentence for each of ``frames`` uniform frames of a clip (3, T, 25, 1)."""
    joints = clip[..., 0].transpose(1, 2, 0).astype(np.float64)  # (T, V, 3)
    chosen = (2 * np.arange(frames) + 1) * len(joints) // (2 * frames)
    height = np.quantile(_hip_height(joints), 0.95)  # of the hips in this clip when upright
    return [frame_caption(joints[t], height) for t in chosen]


def frame_caption(joints: np.ndarray, standing: float) -> str:
    """A sentence on one frame (25, 3); ``standing`` is the height of the hips when upright."""
    side = _unit(joints[JOINT["left_hip"]] - joints[JOINT["right_hip"]])
    forward = _unit(np.cross(side, UP))
    trunk = joints[JOINT["spine_shoulder"]] - joints[JOINT["spine_base"]]
    length = float(np.linalg.norm(trunk)) or 1.0
    low = float(_hip_height(joints[None])[0]) / standing
    stance = "squats deeply" if low < 0.7 else "bends the knees" if low < 0.9 else "stands"
    ahead, aside = float(trunk @ forward) / length, float(trunk @ side) / length
    lean = "upright"
    if abs(ahead) > 0.35 or abs(aside) > 0.25:
        if abs(ahead) > abs(aside):
            lean = "leaning forward" if ahead > 0 else "leaning backward"
        else:
            lean = "leaning to the left" if aside > 0 else "leaning to the right"
    parts = [f"the person {stance}, {lean}"]
    parts += [_arm(joints, name, side, forward, length) for name in ("left", "right")]
    parts.append(_legs(joints, side, forward, length))
    return ", ".join(part for part in parts if part) + "."


def _arm(
    joints: np.ndarray, name: str, side: np.ndarray, forward: np.ndarray, length: float
) -> str:
    shoulder, elbow, wrist = (
        joints[JOINT[f"{name}_{joint}"]] for joint in ("shoulder", "elbow", "wrist")
    )
    reach = (wrist - shoulder) / length
    outward = float(reach @ side) * (1 if name == "left" else -1)
    bent = float(_unit(shoulder - elbow) @ _unit(wrist - elbow)) > -0.5
    if reach[1] > 0.5:
        where = "raised above the head"
    elif reach[1] > -0.25:
        ahead = float(reach @ forward)
        where = "stretched forward" if ahead > abs(outward) else "raised to the side"
        if outward < -abs(ahead) or (outward < -0.15 and outward < ahead):
            where = "across the chest"
    elif float(reach @ forward) > 0.35:
        where = "held in front of the belly"
    elif outward > 0.35:
        where = "spread a little from the body"
    else:
        where = "hanging down"
    return f"{name} arm {'bent and ' if bent else ''}{where}"


def _legs(joints: np.ndarray, side: np.ndarray, forward: np.ndarray, length: float) -> str:
    feet = {name: joints[JOINT[f"{name}_ankle"]] for name in ("left", "right")}
    gap = (feet["left"] - feet["right"]) / length
    if abs(gap[1]) > 0.2:
        name = "left" if gap[1] > 0 else "right"
        knee = joints[JOINT[f"{name}_knee"]] - joints[JOINT[f"{name}_hip"]]
        high = "high" if knee[1] / length > -0.3 else "slightly"
        return f"{name} foot lifted {high} off the floor"
    if abs(float(gap @ forward)) > 0.7:
        return f"{'left' if gap @ forward > 0 else 'right'} foot far ahead of the other"
    if float(gap @ side) > 0.9:
        return "legs wide apart"
    return "feet next to each other"


def _hip_height(joints: np.ndarray) -> np.ndarray:
    """Height (T,) of the hips over the lower ankle."""
    ankles = joints[:, [JOINT["left_ankle"], JOINT["right_ankle"]], 1].min(1)
    heights: np.ndarray = joints[:, JOINT["spine_base"], 1] - ankles
    return np.maximum(heights, 1e-3)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
