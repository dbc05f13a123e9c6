"""Cameras around the stage, and the depth sensor's noise.

A camera's frame is that of the Kinect: right-handed, x to the sensor's own left, y up, z away from
the sensor, metres. The image is not mirrored, so x grows to the left of the image and a person who
faces the camera has the left hand on the right of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ANGLES = (0.0, -40.0, 40.0)
"""Degrees by which cameras 1, 2, 3 stand to the person's left (positive) of straight ahead."""
SETUPS = ((2.9, 1.05), (3.2, 1.3), (3.5, 0.95), (2.7, 1.2))
"""(distance, height) in metres of each setup."""
FIELD = 1.34
"""Heights of the person that the image spans at the person's distance."""

_CHAINS = ((5, 6, 7, 21, 22), (9, 10, 11, 23, 24), (14, 15), (18, 19))


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``rotation @ (point - position)`` is a point in its frame.

    Attributes:
        rotation: (3, 3).
        position: (3,) in the stage's frame.
        focal: In pixels.
        centre: (2,) principal point in pixels.
    """

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    centre: tuple[float, float]

    def view(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the stage in the camera's frame."""
        return (points - self.position) @ self.rotation.T

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the camera's frame."""
        z = np.maximum(points[..., 2:], 0.1)
        return np.array(self.centre) - self.focal * points[..., :2] / z


def place(number: int, setup: int, size: int, person: float, rng: np.random.Generator) -> Camera:
    """Camera ``number`` (1-3) of ``setup`` (from 1), a little different for each clip.

    It frames a person of height ``person`` with room for raised hands.
    """
    distance, height = SETUPS[(setup - 1) % len(SETUPS)]
    distance += rng.uniform(-0.12, 0.12)
    angle = np.radians(ANGLES[number - 1] + rng.uniform(-4, 4))
    position = np.array([distance * np.sin(angle), height, distance * np.cos(angle)])
    aim = np.array([rng.uniform(-0.06, 0.06), person * rng.uniform(0.6, 0.63), 0.0])
    forward = (aim - position) / np.linalg.norm(aim - position)
    roll = rng.uniform(-0.02, 0.02)
    left = np.cross([np.sin(roll), np.cos(roll), 0.0], forward)
    left /= np.linalg.norm(left)
    rotation = np.stack([left, np.cross(forward, left), forward])
    focal = size * distance / (FIELD * person * rng.uniform(0.98, 1.06))
    return Camera(rotation, position, focal, (size / 2, size / 2))


def sense(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Joints (T, 25, 3) in a camera's frame as a depth sensor reports them.

    White jitter of 3 mm (hands and feet 7 mm), a slow drift of about 8 mm per joint, a steady
    offset of about 7 mm per joint, more along the line of sight, and in some clips a limb that is
    inferred wrongly by some centimetres for a few frames.
    """
    frames = len(joints)
    axis = np.array([1.0, 1.0, 1.6])
    jitter = np.full((25, 1), 0.003)
    jitter[[7, 11, 15, 19, 21, 22, 23, 24]] = 0.007
    noisy = joints + jitter * axis * rng.standard_normal(joints.shape)
    knots = np.linspace(0, frames - 1, 5)
    drift = 0.008 * axis * rng.standard_normal((5, 25, 3))
    at = np.arange(frames)
    low = np.clip(np.searchsorted(knots, at, "right") - 1, 0, 3)
    part = ((at - knots[low]) / (knots[1] - knots[0]))[:, None, None]
    noisy += (1 - part) * drift[low] + part * drift[low + 1]
    noisy += 0.007 * axis * rng.standard_normal((25, 3))
    if rng.random() < 0.3:
        chain = _CHAINS[rng.integers(len(_CHAINS))]
        length = int(rng.integers(2, 7))
        start = int(rng.integers(0, max(1, frames - length)))
        bump = np.sin(np.pi * (np.arange(length) + 1) / (length + 1))[:, None]
        jump = rng.uniform(0.05, 0.16) * rng.standard_normal(3)
        for depth, joint in enumerate(chain):
            piece = noisy[start : start + length, joint]
            piece += (bump * jump * min(1.0, 0.5 + 0.25 * depth))[: len(piece)]
    return noisy
