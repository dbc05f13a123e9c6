"""Body proportions, joint angles, and forward kinematics of the 25 Kinect joints.

Body frame: x to the person's own left, y up, z to the front; metres; the floor is y = 0. Rotations
are vectorised over T frames. A hanging arm points along -y and its elbow flexes to the front.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ski_data.synthetic.classes import SIDES

SIGN = {"left": 1.0, "right": -1.0}
_FIRST_ARM = {"left": 4, "right": 8}
_FIRST_LEG = {"left": 12, "right": 16}
_TIPS = {"left": (21, 22), "right": (23, 24)}


@dataclass(frozen=True)
class Body:
    """Lengths of one person in metres; ``girth`` scales the limbs' thickness."""

    height: float
    ankle: float
    shin: float
    thigh: float
    hip: float
    spine_lower: float
    spine_upper: float
    neck: float
    head: float
    shoulder: float
    upper_arm: float
    forearm: float
    hand: float
    foot: float
    girth: float

    @property
    def stand(self) -> float:
        """Height of the pelvis of a person who stands with knees not locked."""
        return self.ankle + 0.985 * (self.shin + self.thigh)


_SHARES = {
    "ankle": 0.045,
    "shin": 0.24,
    "thigh": 0.24,
    "hip": 0.052,
    "spine_lower": 0.15,
    "spine_upper": 0.145,
    "neck": 0.04,
    "head": 0.075,
    "shoulder": 0.105,
    "upper_arm": 0.163,
    "forearm": 0.145,
    "hand": 0.043,
    "foot": 0.078,
}
"""Share of the height, after common anthropometric tables."""


def random_body(rng: np.random.Generator) -> Body:
    """Proportions of a new subject: 1.52-1.90 m tall, limbs about 4 % from the mean shares."""
    height = rng.uniform(1.52, 1.90)
    arm, leg, trunk, width = 1 + 0.04 * rng.uniform(-1.5, 1.5, 4)
    group = {
        **dict.fromkeys(("upper_arm", "forearm", "hand"), arm),
        **dict.fromkeys(("shin", "thigh"), leg),
        **dict.fromkeys(("spine_lower", "spine_upper"), trunk),
        **dict.fromkeys(("hip", "shoulder"), width),
    }
    lengths = {
        name: height * share * group.get(name, 1.0) * (1 + 0.015 * rng.uniform(-1, 1))
        for name, share in _SHARES.items()
    }
    return Body(height=height, girth=rng.uniform(0.9, 1.18), **lengths)


@dataclass
class Pose:
    """Joint angles and contacts of T frames.

    Attributes:
        root: (T, 3) pelvis centre.
        yaw: (T,) turn of the whole person about y, radians, positive to the person's left.
        pelvis: (T, 3) rotation vector of the pelvis after ``yaw``.
        spine: (T, 3) rotation vector of the chest against the pelvis.
        head: (T, 3) rotation vector of the head against the chest.
        arms: Per side (T, 5): shoulder quaternion w x y z against the chest, elbow flexion.
        ankles: Per side (T, 3) where the ankle is, in the stage's frame before ``yaw``.
        toes: Per side (T,) pitch of the foot, positive with the toes down.
    """

    root: np.ndarray
    yaw: np.ndarray
    pelvis: np.ndarray
    spine: np.ndarray
    head: np.ndarray
    arms: dict[str, np.ndarray]
    ankles: dict[str, np.ndarray]
    toes: dict[str, np.ndarray]


@dataclass(frozen=True)
class Figure:
    """The posed body: (T, 25, 3) joints and (T, 3, 3) orientations (columns: left, up, front)."""

    joints: np.ndarray
    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray

    def moved(self, rotation: np.ndarray, offset: np.ndarray) -> Figure:
        """The figure after x -> rotation x + offset."""
        turned = {
            f.name: rotation @ getattr(self, f.name) for f in fields(self) if f.name != "joints"
        }
        return Figure(joints=self.joints @ rotation.T + offset, **turned)


def unit(vector: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def rotation(vector: np.ndarray) -> np.ndarray:
    """(..., 3) rotation vectors as (..., 3, 3) matrices (Rodrigues' formula)."""
    vector = np.asarray(vector, float)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(unit(vector), -1, 0)
    o = np.zeros_like(x)
    cross = np.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def apply(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(..., 3, 3) matrices on (..., 3) vectors."""
    return np.einsum("...ij,...j->...i", matrix, vector)


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations as (..., 4) quaternions w x y z with w >= 0."""
    m = np.moveaxis(matrix, (-2, -1), (0, 1))
    d = m[0, 0], m[1, 1], m[2, 2]
    a, b, c = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    s, u, v = m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1]
    rows = np.stack(
        [
            *(1 + d[0] + d[1] + d[2], a, b, c),
            *(a, 1 + d[0] - d[1] - d[2], s, u),
            *(b, s, 1 - d[0] + d[1] - d[2], v),
            *(c, u, v, 1 - d[0] - d[1] + d[2]),
        ],
        -1,
    ).reshape(*a.shape, 4, 4)
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    q = unit(np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :])
    return np.where(q[..., :1] < 0, -q, q)


def matrix(q: np.ndarray) -> np.ndarray:
    """(..., 4) quaternions of length 1 as (..., 3, 3) rotations."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    return np.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        -1,
    ).reshape(*w.shape, 3, 3)


def blend(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Arm angles (T, 5) from ``a`` (weight 0) to ``b`` (weight 1) along the shorter rotation."""
    weight = np.asarray(weight)[..., None]
    flip = np.where(np.sum(a[..., :4] * b[..., :4], -1, keepdims=True) < 0, -1.0, 1.0)
    q = unit((1 - weight) * a[..., :4] + weight * flip * b[..., :4])
    return np.concatenate([q, (1 - weight) * a[..., 4:] + weight * b[..., 4:]], -1)


def straight_arm(direction: np.ndarray, elbow: float = 0.15) -> np.ndarray:
    """Arm angles (..., 5) whose upper arm has ``direction`` in the chest's frame, without twist."""
    u = unit(np.asarray(direction, float))
    axis = np.cross(np.broadcast_to([0.0, -1.0, 0.0], u.shape), u)
    angle = np.arccos(np.clip(-u[..., 1:2], -1, 1))
    q = quaternion(rotation(unit(axis) * angle))
    return np.concatenate([q, np.full((*u.shape[:-1], 1), elbow)], -1)


def bent_arm(upper: np.ndarray, fore: np.ndarray) -> np.ndarray:
    """Arm angles (..., 5) from the directions of upper arm and forearm in the chest's frame."""
    u, d = np.broadcast_arrays(unit(np.asarray(upper, float)), unit(np.asarray(fore, float)))
    cosine = np.sum(u * d, -1, keepdims=True)
    flex = unit(d - cosine * u)
    frame = np.stack([np.cross(-u, flex), -u, flex], -1)
    return np.concatenate([quaternion(frame), np.arccos(np.clip(cosine, -1, 1))], -1)


def reach(target: np.ndarray, pole: np.ndarray, upper: float, lower: float) -> tuple:
    """Directions of the two bones that reach ``target``, the middle joint towards ``pole``.

    Args:
        target: (..., 3) from the first joint; shortened to what the bones reach.
        pole: (..., 3) roughly where the middle joint points.
        upper: Length of the first bone.
        lower: Length of the second bone.
    """
    axis = unit(target)
    low, high = abs(upper - lower) + 0.02, 0.998 * (upper + lower)
    length = np.clip(np.linalg.norm(target, axis=-1, keepdims=True), low, high)
    pole = np.broadcast_to(np.asarray(pole, float), axis.shape)
    side = unit(pole - np.sum(pole * axis, -1, keepdims=True) * axis)
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    away = np.sqrt(np.maximum(upper**2 - along**2, 0))
    middle = along * axis + away * side
    return unit(middle), unit(length * axis - middle)


def arm_to(target: np.ndarray, pole: np.ndarray, body: Body) -> np.ndarray:
    """Arm angles (..., 5) with the hand at ``target``, given from the shoulder in chest axes."""
    return bent_arm(*reach(target, pole, body.upper_arm, body.forearm + body.hand))


def shoulder_offset(body: Body, side: str) -> np.ndarray:
    """The shoulder in the chest's frame, from the joint spine_shoulder."""
    return np.array([SIGN[side] * body.shoulder, -0.015 * body.height, 0.0])


def forward(body: Body, pose: Pose) -> Figure:
    """Joints of the posed body in the stage's frame."""
    yaw = rotation(pose.yaw[:, None] * np.array([0.0, 1.0, 0.0]))
    pelvis = yaw @ rotation(pose.pelvis)
    middle = pelvis @ rotation(0.5 * pose.spine)
    chest = pelvis @ rotation(pose.spine)
    head = chest @ rotation(pose.head)
    joints = np.empty((len(pose.root), 25, 3))
    root = apply(yaw, pose.root)
    joints[:, 0] = root
    joints[:, 1] = root + pelvis[..., 1] * body.spine_lower
    joints[:, 20] = joints[:, 1] + middle[..., 1] * body.spine_upper
    joints[:, 2] = joints[:, 20] + chest[..., 1] * body.neck
    joints[:, 3] = joints[:, 2] + head[..., 1] * body.head
    for side in SIDES:
        _arm(joints, body, pose.arms[side], chest, side)
        _leg(joints, body, pose, yaw, pelvis, side)
    return Figure(joints, pelvis, chest, head)


def _arm(joints: np.ndarray, body: Body, arm: np.ndarray, chest: np.ndarray, side: str) -> None:
    first, (tip, thumb) = _FIRST_ARM[side], _TIPS[side]
    frame = chest @ matrix(arm[:, :4])
    flexion = arm[:, 4:]
    fore = -np.cos(flexion) * frame[..., 1] + np.sin(flexion) * frame[..., 2]
    inner = np.cos(flexion) * frame[..., 2] + np.sin(flexion) * frame[..., 1]
    joints[:, first] = joints[:, 20] + apply(chest, shoulder_offset(body, side))
    joints[:, first + 1] = joints[:, first] - frame[..., 1] * body.upper_arm
    joints[:, first + 2] = joints[:, first + 1] + fore * body.forearm
    joints[:, first + 3] = joints[:, first + 2] + fore * body.hand
    joints[:, tip] = joints[:, first + 3] + fore * body.hand
    joints[:, thumb] = joints[:, first + 3] + 0.3 * body.hand * fore + 0.6 * body.hand * inner


def _leg(
    joints: np.ndarray, body: Body, pose: Pose, yaw: np.ndarray, pelvis: np.ndarray, side: str
) -> None:
    first = _FIRST_LEG[side]
    hip = joints[:, 0] + pelvis[..., 0] * (SIGN[side] * body.hip)
    pole = apply(yaw, np.array([0.18 * SIGN[side], 0.0, 1.0]))
    thigh, shin = reach(apply(yaw, pose.ankles[side]) - hip, pole, body.thigh, body.shin)
    pitch = pose.toes[side][:, None]
    out = unit(np.array([0.15 * SIGN[side], 0.0, 1.0]))
    front, up = apply(yaw, out), np.array([0.0, 1.0, 0.0])
    toes = np.cos(pitch) * front - np.sin(pitch) * up
    instep = np.cos(pitch) * up + np.sin(pitch) * front
    joints[:, first] = hip
    joints[:, first + 1] = hip + thigh * body.thigh
    joints[:, first + 2] = joints[:, first + 1] + shin * body.shin
    step = body.foot * toes - 0.55 * body.ankle * instep
    joints[:, first + 3] = joints[:, first + 2] + step
