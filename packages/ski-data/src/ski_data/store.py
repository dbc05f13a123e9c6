"""Skeleton stores: many clips in one array on disk, opened in milliseconds.

A store is a folder: ``joints.npy``, float32 (R, V, 3), valid frames only, clip after clip and in a
clip body after body; ``index.arrow``, one row per clip; ``meta.json``, layout and checksum; and
``validity.npy``, uint8 (R, V), if the joints of some clips are not as true as those of the others.
A store never changes: to add clips, merge it with a store of them into a new one.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ski_data.classes import ClassSet
from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import Layout, Validity, get_layout
from ski_data.store_format import (
    INDEX,
    JOINTS,
    META,
    NUMBERS,
    VALIDITY,
    Columns,
    RowFile,
    SingleBody,
    StoreError,
    digest,
    read_index,
    read_meta,
)
from ski_data.store_writer import StoreWriter

__all__ = ["NUMBERS", "SingleBody", "SkeletonStore", "StoreError", "StoreWriter"]

_BLOCK_ROWS = 1 << 15


class SkeletonStore:
    """A store on disk, read only.

    Args:
        folder: Where :class:`StoreWriter` wrote it.

    Attributes:
        folder: The same.
        layout: Joints of the clips.
        bodies: M of every clip.
        single_body: Whether a one-body clip holds zeros or its body again in the other slots.
        classes: Classes that the labels mean, if known.
        joint_validity: (V,) uint8, :class:`~ski_data.layouts.Validity` of the joints in clips that
            say nothing of their own.
        index: The rows as NumPy arrays by column, read only: ``name``, ``label``, ``subject``,
            ``camera``, ``setup``, ``replication`` (-1 unknown), ``frames``, ``bodies``, ``offset``,
            ``source``, and what the importer added. Workers better ask for single clips: a column
            of texts costs memory in each process that reads it.

    Raises:
        MissingFileError: No such folder, or a part is missing.
        StoreError: A part cannot be read or does not fit the others.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise MissingFileError(f"{self.folder}: no such store (a folder with {META})")
        for part in (META, JOINTS):
            if not (self.folder / part).is_file():
                raise MissingFileError(f"{self.folder}: {part} is missing; this is no whole store")
        meta = read_meta(self.folder / META)
        if not (self.folder / INDEX).is_file():
            raise MissingFileError(f"{self.folder}: {INDEX} is missing; this is no whole store")
        self.bodies: int = meta["bodies"]
        self.single_body: SingleBody = meta["single_body"]
        self.sha256: str = meta["sha256"]
        self.joint_validity = np.array(meta["validity"], np.uint8)
        names = meta["classes"]
        self.classes: ClassSet | None = None
        try:
            self.layout: Layout = get_layout(meta["layout"])
            if names is not None:
                self.classes = ClassSet(tuple(names["ids"]), tuple(names["names"]))
        except InputError as error:
            raise StoreError(f"{self.folder / META}: {error}; make the store again") from None
        self.index: Columns = read_index(self.folder / INDEX)
        self._frames, self._bodies, self._offset = (
            self.index[name] for name in ("frames", "bodies", "offset")
        )
        joints = len(self.layout.joints)
        self._joints = RowFile(self.folder / JOINTS, np.float32, (joints, 3))
        self._validity: RowFile | None = None
        if meta["clip_validity"]:
            self._validity = RowFile(self.folder / VALIDITY, np.uint8, (joints,))
        self._check_parts(meta)

    def _check_parts(self, meta: dict[str, Any]) -> None:
        sizes = self._frames * self._bodies
        rows = int(sizes.sum())
        for file in (self._joints, self._validity):
            if file is not None and file.rows != rows:
                raise StoreError(
                    f"{file.path}: {rows} rows expected from the index, found {file.rows}; make "
                    "the store again"
                )
        if len(self) != meta["clips"] or rows != meta["rows"]:
            raise StoreError(
                f"{self.folder}: {META} promises {meta['clips']} clips in {meta['rows']} rows, the "
                f"index has {len(self)} in {rows}; make the store again"
            )
        if (self._bodies < 1).any() or (self._frames > rows).any():
            raise StoreError(f"{self.folder / INDEX}: impossible sizes; make the store again")
        if (self._bodies > self.bodies).any():
            raise StoreError(f"{self.folder / INDEX}: a clip has more than {self.bodies} bodies")
        if (self._offset != np.cumsum(sizes) - sizes).any() or (sizes < 1).any():
            raise StoreError(
                f"{self.folder / INDEX}: the clips do not follow each other; make the store again"
            )
        if len(self.joint_validity) != len(self.layout.joints):
            raise StoreError(
                f"{self.folder / META}: validity must say how true each of "
                f"{len(self.layout.joints)} joints is; make the store again"
            )
        labels = self.index["label"]
        if self.classes is not None and (labels >= len(self.classes)).any():
            i = int((labels >= len(self.classes)).argmax())
            raise StoreError(
                f"{self.folder}: label {labels[i]} of clip {self.name(i)} is out of "
                f"range; allowed: 0..{len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __reduce__(self) -> tuple[type[SkeletonStore], tuple[Path]]:
        return SkeletonStore, (self.folder,)  # workers map the file again instead of copying it

    @property
    def names(self) -> list[str]:
        """Names of the clips, in order."""
        return self.index.text("name").to_pylist()

    def row(self, name: str) -> int:
        """Position of a clip.

        Raises:
            InputError: No clip has this name.
        """
        if (i := self._find(name)) is None:
            raise InputError(f"{self.folder}: no clip named {name!r} among {len(self)}")
        return i

    def name(self, i: int) -> str:
        """Name of clip ``i``."""
        return self.index.text("name")[i].as_py()

    def _find(self, name: str) -> int | None:
        """Binary search in the file: no table of all names in every worker."""
        names, order = self.index.text("name"), self.index.by_name
        at = bisect.bisect_left(order, name, key=lambda i: names[i].as_py())
        if at == len(order) or names[order[at]].as_py() != name:
            return None
        return int(order[at])

    def clip(self, which: int | str) -> np.ndarray:
        """One clip by position or name: float32 (3, T, V, M), a copy.

        Raises:
            InputError: No such clip.
            StoreError: Coordinates that are not finite numbers.
        """
        i = self._number(which)
        tracks = self.tracks(i)
        if not np.isfinite(tracks).all():
            raise StoreError(
                f"{self.folder}: clip {self.name(i)} has coordinates that are not finite numbers; "
                "make the store again"
            )
        clip = np.zeros((3, *tracks.shape[1:3], self.bodies), np.float32)
        for body, joints in enumerate(tracks):  # faster than all bodies at once
            clip[..., body] = joints.transpose(2, 0, 1)
        if len(tracks) == 1 and self.single_body == "repeat":
            clip[..., 1:] = clip[..., :1]
        return clip

    def validity(self, which: int | str) -> np.ndarray:
        """How true each joint of :meth:`clip` is: uint8 (T, V, M) of ``layouts.Validity``.

        ABSENT (0) in body slots that hold nobody, and in frames where all joints of a body are 0.

        Raises:
            InputError: No such clip.
            StoreError: Codes that do not exist.
        """
        i = self._number(which)
        tracks = self.tracks(i)
        if self._validity is None:
            stored = np.broadcast_to(self.joint_validity, tracks.shape[:3])
        else:
            stored = self._tracks(self._validity, i)
            if stored.max() > max(Validity):
                raise StoreError(
                    f"{self.folder / VALIDITY}: clip {self.name(i)} has codes over {max(Validity)};"
                    " make the store again"
                )
        codes = np.zeros((*tracks.shape[1:3], self.bodies), np.uint8)
        there = tracks.any(axis=(2, 3))[..., None]
        codes[..., : len(tracks)] = np.where(there, stored, 0).transpose(1, 2, 0)
        if len(tracks) == 1 and self.single_body == "repeat":
            codes[..., 1:] = codes[..., :1]
        return codes

    def _number(self, which: int | str) -> int:
        i = self.row(which) if isinstance(which, str) else int(which)
        if not 0 <= i < len(self):
            raise InputError(f"{self.folder}: clips are numbered 0..{len(self) - 1}, not {i}")
        return i

    def tracks(self, i: int) -> np.ndarray:
        """The stored bodies of clip ``i``: (M', T, V, 3), M' of this clip, read only."""
        return self._tracks(self._joints, i)

    def _tracks(self, file: RowFile, i: int) -> np.ndarray:
        frames, bodies = int(self._frames[i]), int(self._bodies[i])
        rows = file.read(int(self._offset[i]), frames * bodies)
        return rows.reshape(bodies, frames, *rows.shape[1:])

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Everything that is stored, some rows at a time: joints (n, V, 3), validity (n, V)."""
        for start in range(0, self._joints.rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, self._joints.rows - start)
            if self._validity is None:
                codes = np.broadcast_to(self.joint_validity, (count, len(self.joint_validity)))
            else:
                codes = self._validity.read(start, count)
            yield self._joints.read(start, count), codes

    def verify(self) -> None:
        """Read everything and compare with the checksum.

        Raises:
            StoreError: The content changed since it was written.
        """
        parts = (JOINTS,) if self._validity is None else (JOINTS, VALIDITY)
        if digest(self.folder, parts) != self.sha256:
            raise StoreError(
                f"{self.folder}: the content does not fit its checksum; make the store again"
            )
