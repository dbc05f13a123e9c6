"""Where people's joints are in a video's pictures: from ``.skeleton`` files or estimated poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.errors import InputError
from ski_data.ntu.skeleton_file import read_colour, read_skeleton

COLOUR_SIZE = (1920, 1080)
"""Width and height of the picture that the colour coordinates of ``.skeleton`` files refer to."""
_ASPECT = 0.02
"""Largest relative difference between the shapes of that picture and of the video."""


@dataclass(frozen=True)
class ImageJoints:
    """Joints of the people in one clip.

    Attributes:
        layout: Name of the joint layout.
        points: float32 (M, T, V, 2), pixels x, y of the video as shown; NaN where not known.
        known: bool (M, T), whether a body was found in a frame.
        seen: bool (M, T, V), joints that were seen and not guessed.
    """

    layout: str
    points: np.ndarray
    known: np.ndarray
    seen: np.ndarray


def colour_joints(
    path: Path | str, width: int, height: int, colour_size: tuple[int, int] = COLOUR_SIZE
) -> ImageJoints:
    """The colour coordinates of every body of a ``.skeleton`` file, phantom bodies included.

    Args:
        path: The file.
        width: Of the video that goes with it; coordinates are scaled to it.
        height: See ``width``.
        colour_size: Width and height that the file's coordinates refer to.

    Raises:
        MissingFileError, SkeletonFileError: See :func:`ski_data.ntu.skeleton_file.read_skeleton`.
        InputError: The video's shape is not that of ``colour_size``.
    """
    if abs(width * colour_size[1] / (height * colour_size[0]) - 1) > _ASPECT:
        raise InputError(
            f"{path}: its colour coordinates are taken for {colour_size[0]}x{colour_size[1]} "
            f"pixels, the video has {width}x{height}; say with colour_width and colour_height "
            "what they refer to"
        )
    raw = read_skeleton(path)
    frame, colour = read_colour(path)
    bodies, which = np.unique(raw.body_id, return_inverse=True)
    points = np.full((len(bodies), raw.frames, *colour.shape[1:]), np.nan, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # tells infinities as such below
        scaled = (colour * (width / colour_size[0], height / colour_size[1])).astype(np.float32)
    points[which, frame] = np.where(np.isfinite(scaled).all(-1, keepdims=True), scaled, np.nan)
    seen = np.isfinite(points).all(axis=3)
    return ImageJoints("kinect25", points, seen.any(axis=2), seen)
