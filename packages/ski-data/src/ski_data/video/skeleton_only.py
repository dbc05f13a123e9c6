"""The most private form of a cache: joints alone; no picture is read or written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import KINECT25
from ski_data.manifest import Record
from ski_data.ntu.prepare import prepare_rows, rows_to_clip
from ski_data.poses.extract import numbers
from ski_data.poses.keypoints import PoseStore
from ski_data.progress import Progress
from ski_data.store import SkeletonStore, StoreWriter


def write_joints(
    folder: Path | str, records: Sequence[Record], poses: str | None = None
) -> SkeletonStore:
    """A skeleton store of the clips of a manifest.

    Args:
        folder: The store to make; it must not be there.
        records: The clips, with labels.
        poses: Folder of poses that holds their joints; without it the records' ``.skeleton`` files
            go through the published preprocessing.

    Returns:
        The store, opened.

    Raises:
        ExistingOutputError: The folder is there already.
        InputError: Clips without joints, or whose files cannot be used; the text lists them.
    """
    source = None if poses is None else PoseStore(poses)
    _check(records, source)
    if source is None:
        layout, bodies, validity = KINECT25, 2, None
        stamp = [(record.name, _stamp(record.skeleton)) for record in records]
    else:
        known = source.skeletons
        layout, bodies, validity = known.layout, known.bodies, known.joint_validity
        stamp = [(record.name, source.sha256) for record in records]
    job = hashlib.sha256(repr([stamp, [numbers(record) for record in records]]).encode())
    writer = StoreWriter(folder, layout, bodies=bodies, validity=validity, job=job.hexdigest())
    failed: list[str] = []
    with writer, Progress("joints", len(records)) as progress:
        for done, record in enumerate(records[len(writer) :], len(writer) + 1):
            try:
                clip, codes = _joints(record, source)
            except (InputError, MissingFileError) as error:
                failed.append(str(error))
            else:
                writer.add(record.name, clip, validity=codes, source=record.name, **numbers(record))
            progress.update(done, record.name)
        if failed:
            raise InputError(f"clips cannot be used: {'; '.join(failed)}. Mend or leave them out")
    return SkeletonStore(folder)


def _joints(record: Record, source: PoseStore | None) -> tuple[np.ndarray, np.ndarray | None]:
    if source is None:
        return rows_to_clip(prepare_rows(record.skeleton or "")), None
    store = source.skeletons
    bodies = int(store.index["bodies"][store.row(record.name)])
    return store.clip(record.name)[..., :bodies], store.validity(record.name)[..., :bodies]


def _check(records: Sequence[Record], source: PoseStore | None) -> None:
    if source is not None:
        lacking = [record.name for record in records if record.name not in source]
        if lacking:
            raise InputError(
                f"{source.folder}: no poses of {', '.join(lacking)}; nobody was found in these "
                "clips, or they were not among the videos: leave them out"
            )
        return
    lacking = [
        record.name
        for record in records
        if record.skeleton is None or record.skeleton.suffix.lower() != ".skeleton"
    ]
    if lacking:
        raise InputError(
            f"no .skeleton file of {', '.join(lacking)}; make poses of the videos first (ski-data "
            "poses) and name their folder with poses"
        )


def _stamp(path: Path | None) -> tuple[str, int, int] | None:
    try:
        state = os.stat(path or "")
    except (OSError, ValueError):
        return None  # reading says what is wrong with it
    return os.path.abspath(path or ""), state.st_size, state.st_mtime_ns
