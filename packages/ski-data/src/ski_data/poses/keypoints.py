"""Stores of estimated poses: a skeleton store that also knows where the joints are in the picture.

Beside the parts of a skeleton store its folder holds ``keypoints2d.npy``, float32 (R, 33, 3), the
MediaPipe landmarks of the same bodies and frames in the same order (x and y in pixels of the video
as shown, visibility; zeros where nobody was found), and ``poses.json``, how they were made.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.store import SkeletonStore, StoreError
from ski_data.text import read_text
from ski_data.video.people import ImageJoints

KEYPOINTS, ABOUT = "keypoints2d.npy", "poses.json"
FORMAT = 1
LAYOUT = "mediapipe33"


class PoseStore:
    """A store of poses on disk, read only.

    Args:
        folder: What ``ski-data poses`` made.

    Attributes:
        skeletons: The 3D joints.
        people: Most people that were looked for in a picture.
        visibility: Least visibility of joints that count as seen.
        sha256: Of everything in it.

    Raises:
        MissingFileError: No such folder, or it holds no poses.
        StoreError: A part is damaged or does not fit the others.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        for part in (ABOUT, KEYPOINTS):
            if not (self.folder / part).is_file():
                raise MissingFileError(
                    f"{self.folder}: {part} is missing; name a folder made by `ski-data poses`"
                )
        self.skeletons = SkeletonStore(folder)
        about = _read_about(self.folder / ABOUT)
        self.people: int = about["people"]
        self.visibility: float = about["visibility"]
        try:
            self._points = np.load(self.folder / KEYPOINTS, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise StoreError(
                f"{self.folder / KEYPOINTS}: damaged or cut off ({error}); make the poses again"
            ) from None
        index = self.skeletons.index
        rows = int((index["frames"] * index["bodies"]).sum())
        if self._points.shape != (rows, 33, 3) or about["skeletons"] != self.skeletons.sha256:
            raise StoreError(
                f"{self.folder}: {KEYPOINTS} does not fit the joints; make the poses again"
            )
        self.sha256 = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def _names(self) -> set[str]:
        if not hasattr(self, "_known"):
            self._known = set(self.skeletons.names)
        return self._known

    def keypoints(self, name: str) -> np.ndarray:
        """float32 (M, T, 33, 3): x, y, visibility; a view of the file.

        Raises:
            InputError: No such clip.
        """
        if name not in self:
            raise InputError(
                f"{self.folder}: no poses of clip {name}; nobody was found in it, or its video was "
                "not among those that the poses were made of"
            )
        i = self.skeletons.row(name)
        index = self.skeletons.index
        bodies, frames, start = (int(index[key][i]) for key in ("bodies", "frames", "offset"))
        rows = self._points[start : start + bodies * frames]
        return rows.reshape(bodies, frames, *rows.shape[1:])

    def joints(self, name: str, width: int, height: int, frames: int) -> ImageJoints:
        """Where the people of a clip are in its pictures.

        Args:
            name: Of the clip.
            width: Of the video's pictures, to see whether it is the one the poses were made of.
            height: See ``width``.
            frames: Frames of the video.

        Raises:
            InputError: No poses of this clip, or they were made of another video.
        """
        values = np.asarray(self.keypoints(name))
        i = self.skeletons.row(name)
        made = tuple(int(self.skeletons.index[key][i]) for key in ("width", "height", "frames"))
        if made != (width, height, frames):
            raise InputError(
                f"{self.folder}: the poses of clip {name} were made of {made[2]} frames of "
                f"{made[0]}x{made[1]} pixels, its video has {frames} of {width}x{height}; make "
                "them again"
            )
        known = values.any(axis=(2, 3))
        points = np.where(known[..., None, None], values[..., :2], np.nan)
        return ImageJoints(LAYOUT, points, known, values[..., 2] >= self.visibility)

    def verify(self) -> None:
        """Read everything and compare with the checksums.

        Raises:
            StoreError: The content changed since it was written.
        """
        self.skeletons.verify()
        if checksum(self.folder / KEYPOINTS) != _read_about(self.folder / ABOUT)["sha256"]:
            raise StoreError(f"{self.folder / KEYPOINTS}: does not fit its checksum; make it again")


@lru_cache(maxsize=4)
def open_poses(folder: str) -> PoseStore:
    """The poses in a folder, opened once per process."""
    return PoseStore(folder)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            made.update(block)
    return made.hexdigest()


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(read_text(path))
    except ValueError as error:
        raise StoreError(f"{path}: not readable ({error}); make the poses again") from None
    kinds = {"format": int, "people": int, "visibility": float, "skeletons": str, "sha256": str}
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StoreError(f"{path}: not the description of poses that this version reads")
    wrong = [key for key, kind in kinds.items() if not isinstance(about.get(key), kind)]
    if wrong:
        raise StoreError(f"{path}: missing or of the wrong kind: {', '.join(wrong)}")
    return about
