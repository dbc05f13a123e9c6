"""Video stores: clips decoded once, at training resolution, in one memory-mapped file.

A store is a folder: ``frames.bin``, uint8 RGB frames, clip after clip; ``index.parquet``, one row
per clip; ``meta.json``, settings and checksum. Frames are whole pictures or person crops, with or
without faces, as the settings say; training still draws its own crops from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ski_data.errors import InputError, MissingFileError

FRAMES, INDEX, META = "frames.bin", "index.parquet", "meta.json"
FORMAT = 2
COLUMNS = {
    "name": pa.string(),
    "frames": pa.int64(),
    "offset": pa.int64(),
    "height": pa.int64(),
    "width": pa.int64(),
    "label": pa.int64(),
    "source_frames": pa.int64(),
    "source": pa.string(),
    "crop": pa.string(),
    "x0": pa.int64(),
    "y0": pa.int64(),
    "x1": pa.int64(),
    "y1": pa.int64(),
    "hidden_frames": pa.int64(),
    "sha256": pa.string(),
}
SETTINGS = {
    "crop": str,
    "margin": float,
    "boxes_from": str,
    "privacy": str,
    "short_side": int,
    "max_frames": int,
}
"""What decides the content besides the videos; part of a store's checksum."""
_META = {"format": int, "clips": int, "bytes": int, "settings": dict, "sha256": str}


class VideoStoreError(InputError):
    """A video store whose parts are missing, damaged or do not fit together."""


class VideoStore:
    """A store on disk, read only.

    Args:
        folder: What :func:`write_video_store` wrote.

    Attributes:
        folder: The same.
        short_side: Pixels of every frame's shorter side.
        crop: ``full`` pictures or ``person`` crops.
        privacy: ``none``, or ``blur-head``.
        settings: These and the others, see :data:`SETTINGS`.
        sha256: Of content and settings: equal for equal stores.
        index: NumPy arrays by column: ``name``, ``frames``, ``offset`` (bytes), ``height``,
            ``width``, ``label`` (-1 unknown), ``source_frames`` (of the video), ``source``
            (its path), ``crop`` (``full`` also for clips of a person store in which nobody was
            found), ``x0``, ``y0``, ``x1``, ``y1`` (the part of the video's picture),
            ``hidden_frames`` (covered wholly for want of a head), ``sha256`` (of the clip's bytes).

    Raises:
        MissingFileError: No such folder, or a part is missing.
        VideoStoreError: A part cannot be read or does not fit the others.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise MissingFileError(f"{self.folder}: no such video store (a folder with {META})")
        for part in (META, INDEX, FRAMES):
            if not (self.folder / part).is_file():
                raise MissingFileError(f"{self.folder}: {part} is missing; this is no whole store")
        meta = _read_meta(self.folder / META)
        self.settings: dict[str, Any] = meta["settings"]
        self.short_side: int = self.settings["short_side"]
        self.crop: str = self.settings["crop"]
        self.privacy: str = self.settings["privacy"]
        self.sha256: str = meta["sha256"]
        try:
            table = pq.read_table(self.folder / INDEX)
        except (pa.ArrowException, OSError) as error:
            raise VideoStoreError(f"{self.folder / INDEX}: not readable ({error})") from None
        if set(table.column_names) != set(COLUMNS):
            raise VideoStoreError(
                f"{self.folder / INDEX}: columns {', '.join(COLUMNS)} expected, found "
                f"{', '.join(table.column_names)}"
            )
        self.index: dict[str, np.ndarray] = {
            name: table.column(name).to_numpy() for name in table.column_names
        }
        size = (self.folder / FRAMES).stat().st_size
        ends = self.index["offset"] + clip_bytes(self.index)
        if len(self) != meta["clips"] or size != meta["bytes"] or ends.max(initial=0) != size:
            raise VideoStoreError(
                f"{self.folder}: {META}, {INDEX} and {FRAMES} do not fit together; it was cut off "
                "or mixed up, make the store again"
            )
        self._data = np.memmap(self.folder / FRAMES, np.uint8, mode="r")
        self._rows = {name: i for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.index["name"])

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def __reduce__(self) -> tuple[type[VideoStore], tuple[Path]]:
        return VideoStore, (self.folder,)  # workers map the file again instead of copying it

    @property
    def names(self) -> list[str]:
        """Names of the clips, in order."""
        return self.index["name"].tolist()

    def row(self, which: int | str) -> int:
        """Position of a clip given by position or name.

        Raises:
            InputError: No such clip.
        """
        if isinstance(which, str):
            if which not in self._rows:
                raise InputError(f"{self.folder}: no clip named {which!r} among {len(self)}")
            return self._rows[which]
        if not 0 <= which < len(self):
            raise InputError(f"{self.folder}: clips are numbered 0..{len(self) - 1}, not {which}")
        return int(which)

    def length(self, which: int | str) -> int:
        """How many frames a clip has in the store."""
        return int(self.index["frames"][self.row(which)])

    def clip(self, which: int | str) -> np.ndarray:
        """All frames of a clip: uint8 (T, H, W, 3), a read-only view of the file."""
        i = self.row(which)
        shape = tuple(int(self.index[key][i]) for key in ("frames", "height", "width"))
        start = int(self.index["offset"][i])
        return self._data[start : start + int(np.prod(shape)) * 3].reshape(*shape, 3)

    def frames(self, which: int | str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Chosen frames of a clip: uint8 (T, H, W, 3), a copy.

        Raises:
            InputError: No such clip, or frames beyond it.
        """
        clip = self.clip(which)
        chosen = np.asarray(indices)
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= len(clip):
            raise InputError(
                f"{self.folder}: clip {which!r} has frames 0..{len(clip) - 1}, asked for {indices}"
            )
        return np.asarray(clip[chosen])

    def verify(self) -> None:
        """Read everything and compare with the checksums.

        Raises:
            VideoStoreError: The content changed since it was written; names the first such clip.
        """
        for i, name in enumerate(self.names):
            if hashlib.sha256(np.ascontiguousarray(self.clip(i))).hexdigest() != str(
                self.index["sha256"][i]
            ):
                raise VideoStoreError(
                    f"{self.folder}: clip {name} does not fit its checksum; make the store again"
                )
        if digest(self.settings, self.index) != self.sha256:
            raise VideoStoreError(f"{self.folder}: {INDEX} does not fit {META}'s checksum")


def clip_bytes(index: Mapping[str, Any]) -> np.ndarray:
    """int64, how many bytes of the file each clip takes."""
    sizes = (np.asarray(index[key], np.int64) for key in ("frames", "height", "width"))
    return np.prod(list(sizes), axis=0) * 3


def digest(settings: Mapping[str, Any], index: Mapping[str, Sequence[Any] | np.ndarray]) -> str:
    """SHA-256 over settings, names, boxes and content."""
    columns = [list(index[key]) for key in ("name", "sha256", "crop", "x0", "y0", "x1", "y1")]
    lines = ["\t".join(f"{key}={settings[key]}" for key in SETTINGS)]
    lines += ["\t".join(map(str, row)) for row in zip(*columns, strict=True)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode("utf-8")).hexdigest()


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise VideoStoreError(f"{path}: not readable ({error}); make the store again") from None
    if not isinstance(meta, dict):
        raise VideoStoreError(f"{path}: not the description of a video store")
    if meta.get("format", FORMAT) != FORMAT:
        raise VideoStoreError(
            f"{path}: format {meta['format']!r}, this version reads {FORMAT}; make the store again"
        )
    wrong = [key for key, kind in _META.items() if not isinstance(meta.get(key), kind)]
    if wrong:
        raise VideoStoreError(f"{path}: missing or of the wrong kind: {', '.join(wrong)}")
    settings = meta["settings"]
    wrong = [key for key, kind in SETTINGS.items() if not isinstance(settings.get(key), kind)]
    if wrong:
        raise VideoStoreError(f"{path}: settings missing or of the wrong kind: {', '.join(wrong)}")
    return meta
