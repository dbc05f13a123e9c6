"""One clip of a video store: what it takes, and its frames, cut out, scaled and blurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from ski_data.errors import InputError
from ski_data.poses.keypoints import open_poses
from ski_data.video.blur import Heads, NoHeadError, blur_heads, find_heads
from ski_data.video.crop import MARGIN, Box, person_box
from ski_data.video.decode import VideoError, VideoInfo, probe, read_frames, scaled_size
from ski_data.video.people import COLOUR_SIZE, ImageJoints, colour_joints
from ski_data.video.sampling import test_indices

Crop = Literal["full", "person"]
CropMissing = Literal["error", "full"]

_CHUNK = 1 << 28
"""Bytes of whole pictures that are held at once."""


@dataclass(frozen=True)
class CacheConfig:
    """What a video store holds.

    Attributes:
        short_side: Frames are scaled so that their shorter side has this many pixels.
        max_frames: Longer videos are thinned to this many evenly spread frames.
        crop: ``full`` pictures, or ``person``: one box per clip around everybody in it.
        margin: Of person crops, on each side, as a share of the longer side of the joints' box.
        crop_missing: What becomes of clips in which nobody was found: an ``error``, or they are
            stored in ``full`` and marked so.
        privacy: ``blur-head`` makes the heads in every frame unrecognisable.
        poses: Folder of poses made from the same videos, to know where people are; without it the
            colour coordinates of the records' ``.skeleton`` files say so.
        colour_size: Width and height of the picture that these coordinates refer to.
    """

    short_side: int = 256
    max_frames: int = 128
    crop: Crop = "full"
    margin: float = MARGIN
    crop_missing: CropMissing = "error"
    privacy: Literal["none", "blur-head"] = "none"
    poses: str | None = None
    colour_size: tuple[int, int] = COLOUR_SIZE

    def __post_init__(self) -> None:
        if self.short_side < 1 or self.max_frames < 1 or min(self.colour_size) < 1:
            raise InputError(
                "short_side, max_frames and the colour size must be at least 1, not "
                f"{self.short_side}, {self.max_frames}, {self.colour_size}"
            )
        if not 0 <= self.margin <= 10:
            raise InputError(f"margin must be a share between 0 and 10, not {self.margin}")
        for key, kind in (("crop", Crop), ("crop_missing", CropMissing)):
            if getattr(self, key) not in get_args(kind):
                allowed = ", ".join(get_args(kind))
                raise InputError(f"{key} {getattr(self, key)!r} is unknown; allowed: {allowed}")
        if self.privacy not in ("none", "blur-head"):
            raise InputError(
                f"privacy {self.privacy!r}: a video store knows none and blur-head; skeleton-only "
                "makes a skeleton store"
            )

    @property
    def needs_people(self) -> bool:
        """Whether one must know where the people are."""
        return self.crop == "person" or self.privacy == "blur-head"

    def settings(self) -> dict[str, Any]:
        """Those of them that decide the content, as a store's description holds them."""
        source = ("poses" if self.poses else "colour") if self.needs_people else "none"
        return {
            "crop": self.crop,
            "margin": float(self.margin) if self.crop == "person" else 0.0,
            "boxes_from": source,
            "privacy": self.privacy,
            "short_side": self.short_side,
            "max_frames": self.max_frames,
        }


@dataclass(frozen=True)
class Clip:
    """One video to store.

    Attributes:
        name: Of the clip.
        video: The file.
        skeleton: The ``.skeleton`` file whose colour coordinates say where people are, or None.
        config: What to make of it.
    """

    name: str
    video: str
    skeleton: str | None
    config: CacheConfig


@dataclass(frozen=True)
class Planned:
    """What a clip takes in the store: frames of height x width, from ``box`` of the video."""

    frames: int
    height: int
    width: int
    source_frames: int
    box: Box
    crop: str

    @property
    def bytes(self) -> int:
        """Of its frames."""
        return self.frames * self.height * self.width * 3


def plan_clip(clip: Clip) -> Planned:
    """Look through the video and the joints.

    Raises:
        MissingFileError: A file is missing.
        InputError: The video or the joints cannot be used, nobody is in the clip, no head is known.
    """
    info, config = probe(clip.video), clip.config
    box: Box = (0, 0, info.width, info.height)
    crop = "full"
    if config.needs_people:
        joints = _joints(clip, info)
        if config.crop == "person":
            found = person_box(joints, info.width, info.height, config.margin)
            if found is None and config.crop_missing == "error":
                raise VideoError(
                    f"{clip.video}: nobody was found in clip {clip.name} to crop to; leave it out "
                    "or choose crop_missing full"
                )
            if found is not None:
                box, crop = found, "person"
        if config.privacy == "blur-head":
            _heads(clip, joints, info)
    height, width = scaled_size(box[3] - box[1], box[2] - box[0], config.short_side)
    frames = min(info.frames, config.max_frames)
    return Planned(frames, height, width, info.frames, box, crop)


def read_clip(clip: Clip, planned: Planned) -> tuple[np.ndarray, int]:
    """The frames as they are stored.

    Args:
        clip: What to read.
        planned: What :func:`plan_clip` said of it.

    Returns:
        uint8 (T, H, W, 3), and the number of frames that had to be hidden wholly.

    Raises:
        MissingFileError, InputError: See :func:`plan_clip`; the video changed or cannot be decoded.
    """
    info = probe(clip.video)
    x0, y0, x1, y1 = planned.box
    if info.frames != planned.source_frames or x1 > info.width or y1 > info.height:
        raise VideoError(f"{clip.video}: changed while it was read; start again")
    size = (planned.height, planned.width)
    indices = np.arange(info.frames)
    if planned.frames < info.frames:
        indices = test_indices(info.frames, planned.frames)
    if planned.crop == "full":
        frames = read_frames(clip.video, indices, size=size, backend="pyav")
    else:
        frames = np.empty((len(indices), *size, 3), np.uint8)
        step = max(1, _CHUNK // (info.width * info.height * 3))
        for start in range(0, len(indices), step):
            whole = read_frames(clip.video, indices[start : start + step], backend="pyav")
            for i, picture in enumerate(whole, start):
                frames[i] = _scaled(picture[y0:y1, x0:x1], size)
    if clip.config.privacy == "none":
        return frames, 0
    heads = _heads(clip, _joints(clip, info), info).at(np.asarray(indices))
    placed = heads.scaled((x0, y0), (planned.width / (x1 - x0), planned.height / (y1 - y0)))
    return blur_heads(frames, placed), int(placed.nowhere.sum())


def _scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(picture), size[::-1], interpolation=how)


def _joints(clip: Clip, info: VideoInfo) -> ImageJoints:
    if clip.config.poses is not None:
        return open_poses(clip.config.poses).joints(clip.name, info.width, info.height, info.frames)
    if clip.skeleton is None:
        raise InputError(
            f"clip {clip.name}: neither a .skeleton file nor poses say where people are"
        )
    return colour_joints(clip.skeleton, info.width, info.height, clip.config.colour_size)


def _heads(clip: Clip, joints: ImageJoints, info: VideoInfo) -> Heads:
    try:
        return find_heads(joints, info.frames)
    except NoHeadError as error:
        raise VideoError(
            f"{clip.video}: {error}; leave clip {clip.name} out, or make poses of it"
        ) from None
