"""Videos decoded once into a store that training reads: whole pictures or person crops.

The work is done in a folder beside the store, ``.NAME.partial``: first a plan (what every clip
takes), then the clips, each written to its place and noted in a journal. A run that was killed is
taken up where it was by the same call.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

from ski_data.errors import ExistingOutputError, InputError
from ski_data.folders import missing_parents, remove_empty, writing
from ski_data.manifest import Record, read_manifest
from ski_data.poses.keypoints import PoseStore
from ski_data.processes import locked, worker_count
from ski_data.video.cache_run import LOCK, STORE, Run, listed
from ski_data.video.clips import CacheConfig, Crop, CropMissing
from ski_data.video.crop import MARGIN
from ski_data.video.people import COLOUR_SIZE
from ski_data.video.skeleton_only import write_joints
from ski_data.video.video_store import FRAMES, INDEX, META, VideoStore, VideoStoreError

__all__ = [
    "FRAMES",
    "INDEX",
    "META",
    "CacheConfig",
    "VideoStore",
    "VideoStoreError",
    "cache",
    "write_video_store",
]

log = logging.getLogger(__name__)

Privacy = Literal["none", "skeleton-only", "blur-head"]


def write_video_store(
    folder: Path | str,
    records: Sequence[Record],
    *,
    skip_bad: bool = False,
    workers: int = 1,
    progress: bool = True,
    **settings: Any,
) -> VideoStore:
    """Decode every record's video into a store; it appears whole or not at all.

    After a kill, an interruption or a full disk the same call goes on where the run was; the
    store's bytes are those of an undisturbed run, whatever the number of workers.

    Args:
        folder: The store to make; it must not be there.
        records: Clips with a ``video`` file; names must differ.
        skip_bad: Leave out clips that cannot be used and list them in ``FOLDER.rejected.jsonl``
            (name, video, reason).
        workers: Processes that decode; 0 decodes in this one.
        progress: Show it on standard error.
        **settings: Fields of :class:`CacheConfig`.

    Returns:
        The store, opened.

    Raises:
        ExistingOutputError: The folder, or the list of rejected clips, is there already.
        VideoError, MissingFileError: Videos that are missing or cannot be read, or in which nobody
            is found though the settings need it; the text lists them.
        InputError: A record without video, a name used twice, settings that make no sense, no clip
            that can be used.
        SkiDataError: The disk is full, or another process writes the same store.
    """
    folder = Path(folder)
    config = CacheConfig(**settings)
    if folder.exists():
        raise ExistingOutputError(f"{folder} is there already; name another folder or remove it")
    processes = worker_count(workers)
    _check_records(records, config)
    work = folder.with_name(f".{folder.name}.partial")
    rejected = rejected_list(folder)
    if skip_bad and rejected.exists() and not work.exists():
        raise ExistingOutputError(f"{rejected} is there already; move or remove it")
    made = missing_parents(work)
    run: Run | None = None
    lock: IO[bytes] | None = None
    try:
        with writing(folder, goes_on=True):
            work.mkdir(parents=True, exist_ok=True)
            lock = locked(work / LOCK)
            run = Run(work, records, config, processes, progress)
            run.go(rejected if skip_bad else None)
            os.replace(work / STORE, folder)
            run.done.clear()
    finally:
        if run is not None:
            run.close()
        if lock is not None:
            lock.close()
            if run is None or not run.done:
                shutil.rmtree(work, ignore_errors=True)
        remove_empty(made)
    return VideoStore(folder)


def cache(
    manifest: str,
    out: str,
    *,
    crop: Crop = "full",
    margin: float = MARGIN,
    crop_missing: CropMissing = "error",
    privacy: Privacy = "none",
    poses: str | None = None,
    colour_width: int = COLOUR_SIZE[0],
    colour_height: int = COLOUR_SIZE[1],
    short_side: int = 256,
    max_frames: int = 128,
    skip_bad: bool = False,
    workers: int = 2,
) -> int:
    """Decode the videos of a manifest once, into a store that training reads without decoding.

    A run that was killed goes on with the same command. Exit code 1 if clips were left out.

    Args:
        manifest: List of clips (.csv, .jsonl or .parquet) with a video column.
        out: Folder of the store to make.
        crop: full pictures, or person: one square box per clip around everybody in it.
        margin: Of person crops, on each side, as a share of the longer side of the joints' box.
        crop_missing: Clips in which nobody is found are an error, or stored in full.
        privacy: none; blur-head makes heads unrecognisable; skeleton-only stores no picture at
            all but the joints, as a skeleton store.
        poses: Where people are, as made by the poses command; else the manifest's .skeleton files.
        colour_width: Width of the picture that colour coordinates of .skeleton files refer to.
        colour_height: Its height.
        short_side: Pixels of the frames' shorter side.
        max_frames: Longer videos are thinned to this many evenly spread frames.
        skip_bad: Leave out clips that cannot be used and list them in OUT.rejected.jsonl.
        workers: Processes that decode; 0 decodes in this one.
    """
    records = read_manifest(manifest)
    if privacy == "skeleton-only":
        joints = write_joints(out, records, poses)
        print(f"{joints.folder}: joints of {len(joints)} clips, no pictures")
        return 0
    without = [record.name for record in records if record.video is None]
    if without:
        raise InputError(
            f"{manifest}: clip {without[0]} has no video; give its file or leave it out"
        )
    store = write_video_store(
        out,
        records,
        skip_bad=skip_bad,
        workers=workers,
        crop=crop,
        margin=margin,
        crop_missing=crop_missing,
        privacy=privacy,
        poses=poses,
        colour_size=(colour_width, colour_height),
        short_side=short_side,
        max_frames=max_frames,
    )
    frames = int(store.index["frames"].sum())
    size = (store.folder / FRAMES).stat().st_size
    print(f"{store.folder}: {len(store)} clips, {frames} frames, {size / 1e6:.1f} MB")
    if left_out := len(records) - len(store):
        print(f"{left_out} clips were left out, see {rejected_list(store.folder)}")
    return int(left_out > 0)


def rejected_list(folder: Path) -> Path:
    """Where the clips are listed that a store leaves out."""
    return folder.with_name(f"{folder.name}.rejected.jsonl")


def _check_records(records: Sequence[Record], config: CacheConfig) -> None:
    if not records:
        raise InputError("a video store needs at least one clip")
    names: set[str] = set()
    for record in records:
        if record.video is None:
            raise InputError(f"clip {record.name} has no video; give its file or leave it out")
        if record.name in names:
            raise InputError(f"clip {record.name}: the name is used twice")
        names.add(record.name)
    if not config.needs_people:
        return
    if config.poses is not None:
        people = PoseStore(config.poses).people
        if config.privacy == "blur-head":
            log.warning(
                "the poses follow at most %d people per picture: heads of others are not covered; "
                "make the poses with more --people where there are",
                people,
            )
        return
    without = [
        f"clip {record.name}"
        for record in records
        if record.skeleton is None or record.skeleton.suffix.lower() != ".skeleton"
    ]
    if without:
        raise InputError(
            f"no .skeleton file says where people are in {listed(without)}; make poses of the "
            "videos first (ski-data poses) and name their folder with poses"
        )
