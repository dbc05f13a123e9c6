"""``ski-data poses``: the poses of many videos, clip by clip, going on after a kill.

The joints of each finished clip lie in a folder beside the output, ``.NAME.partial``, until all are
there; pictures go to the pose process through a pipe and never into a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import numpy as np

from ski_data import __version__
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
from ski_data.folders import missing_parents, remove_empty, writing
from ski_data.layouts import Validity, convert, get_layout, joint_validity
from ski_data.manifest import FORMATS, Record, read_manifest
from ski_data.poses.estimator import Estimate, PoseEstimator, find_python
from ski_data.poses.keypoints import ABOUT, FORMAT, KEYPOINTS, LAYOUT, PoseStore, checksum
from ski_data.processes import locked
from ski_data.progress import Progress
from ski_data.store import NUMBERS, SkeletonStore, StoreWriter

TargetLayout = Literal["kinect25", "mediapipe33"]
VISIBILITY = 0.5
"""MediaPipe's own threshold for landmarks that are seen."""


def poses(
    inputs: list[str],
    out: str,
    *,
    layout: TargetLayout = "kinect25",
    visibility: float = VISIBILITY,
    people: int = 1,
    python: str | None = None,
    workers: int = 1,
) -> int:
    """Estimate 3D joints of the people in videos with MediaPipe, into a skeleton store.

    Every frame of a video becomes a frame of its clip; the middle of the hips is the origin in
    each. The store also holds the landmarks in pixels, for person crops and blurred heads. Exit
    code 1 if nobody was found in some videos. A run that was killed goes on with the same command.

    Args:
        inputs: One manifest (.csv, .jsonl or .parquet), or videos.
        out: Folder of the store to make.
        layout: Joints of the store, kinect25 (as NTU RGB+D) or mediapipe33 (as estimated).
        visibility: Joints estimated as less visible are marked as absent; they keep the guess.
        people: Most people that are looked for in a picture.
        python: Interpreter of an environment with mediapipe 0.10.21; else SKI_POSE_PYTHON says it,
            or hatch's environment `pose` in a checkout.
        workers: Processes that look for poses; at least 1, as MediaPipe has its own.
    """
    records = _records(inputs)
    nobody = extract_poses(
        out,
        records,
        layout=layout,
        visibility=visibility,
        people=people,
        python=find_python(python),
        workers=workers,
    )
    index = PoseStore(out).skeletons.index
    total, empty = int(index["frames"].sum()), int(index["empty_frames"].sum())
    print(f"{out}: {len(index['name'])} clips, {total} frames, nobody found in {empty} of them")
    if nobody:
        print(f"nobody was found in {len(nobody)} clips, which are left out: {', '.join(nobody)}")
    return int(bool(nobody))


def extract_poses(
    folder: Path | str,
    records: Sequence[Record],
    *,
    python: Path,
    layout: TargetLayout = "kinect25",
    visibility: float = VISIBILITY,
    people: int = 1,
    workers: int = 1,
    progress: bool = True,
) -> list[str]:
    """What :func:`poses` does, for records; read the result with :class:`PoseStore`.

    Args:
        folder: The store to make; it must not be there.
        records: Clips with a ``video`` file; names must differ.
        python: Interpreter with MediaPipe, see :func:`find_python`.
        layout: Joints of the store.
        visibility: Joints estimated as less visible are ABSENT in the store's validity.
        people: M of every clip.
        workers: Pose processes; the content does not depend on it.
        progress: Show it on standard error.

    Returns:
        Names of the clips in which nobody was found; they are not in the store.

    Raises:
        ExistingOutputError: The folder is there already.
        MissingFileError, InputError: Videos that cannot be read (the text lists them), or nobody
            in any of them; a record without video; a name used twice.
        PoseError: The pose process cannot be started or failed.
    """
    folder = Path(folder)
    if folder.exists():
        raise ExistingOutputError(f"{folder} is there already; name another folder or remove it")
    if not 0 <= visibility <= 1 or workers < 1 or people < 1:
        raise InputError(
            "visibility must be within 0..1, people and workers at least 1, not "
            f"{visibility}, {people}, {workers}"
        )
    names = [record.name for record in records]
    for i, record in enumerate(records):
        if record.video is None:
            raise InputError(f"clip {record.name} has no video; give its file or leave it out")
        if record.name in names[:i]:
            raise InputError(
                f"clip {record.name}: the name is used twice; give names in a manifest"
            )
    work = folder.with_name(f".{folder.name}.partial")
    made = missing_parents(work)
    keep, lock = False, None
    try:
        with writing(folder, goes_on=True):
            work.mkdir(parents=True, exist_ok=True)
            lock = locked(work / "lock")
            try:
                estimator = _estimate_all(work, records, python, people, workers, progress)
            finally:
                keep = any(work.glob("*.npz"))
            try:
                nobody = _assemble(folder, work, records, layout, visibility, people, estimator)
            except InputError:
                keep = False  # trying again would not change it
                raise
            keep = False
            return nobody
    finally:
        if lock is not None:
            lock.close()
            if not keep:
                shutil.rmtree(work, ignore_errors=True)
        remove_empty(made)


def _records(inputs: Sequence[str]) -> list[Record]:
    if len(inputs) == 1 and Path(inputs[0]).suffix.lower() in FORMATS:
        return read_manifest(inputs[0])
    return [Record(Path(path).stem.removesuffix("_rgb"), video=Path(path)) for path in inputs]


def _estimate_all(
    work: Path,
    records: Sequence[Record],
    python: Path,
    people: int,
    workers: int,
    progress: bool,
) -> str:
    """Estimate what is not there yet, each clip into a file of its own; the estimator's name."""
    files = [_part(work, record, people) for record in records]
    left = [i for i, file in enumerate(files) if not file.is_file()]
    failed: dict[int, SkiDataError] = {}
    with ExitStack() as stack:
        free: SimpleQueue[PoseEstimator] = SimpleQueue()
        for _ in range(max(1, min(workers, len(left)))):
            worker = stack.enter_context(PoseEstimator(python, people))
            name = worker.name
            free.put(worker)
        stopped = threading.Event()

        def one(i: int) -> None:
            if stopped.is_set():
                return
            estimator = free.get()
            try:
                found = estimator.estimate(records[i].video or "")
                partial = files[i].with_suffix(".new")
                with partial.open("wb") as file:
                    np.savez(file, **vars(found), estimator=np.array(estimator.name))
                os.replace(partial, files[i])
            except (InputError, MissingFileError) as error:
                failed[i] = error
            finally:
                free.put(estimator)

        shown = stack.enter_context(Progress("poses", len(records))) if progress else None
        pool = stack.enter_context(ThreadPoolExecutor(max(1, min(workers, len(left) or 1))))
        futures = {pool.submit(one, i): i for i in left}
        try:
            for done, future in enumerate(as_completed(futures), len(records) - len(left) + 1):
                future.result()
                if shown is not None:
                    shown.update(done, records[futures[future]].name)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        texts = "; ".join(str(error) for _, error in sorted(failed.items()))
        raise InputError(
            f"{len(failed)} of {len(records)} videos cannot be used: {texts}. Mend or leave them "
            "out; the others are not done again"
        )
    return name


def _part(work: Path, record: Record, people: int) -> Path:
    """The file for a clip's joints: another one if the video changed."""
    try:
        state = os.stat(record.video or "")
    except (OSError, ValueError):
        key: tuple = ()  # reading says what is wrong with it
    else:
        key = (state.st_size, state.st_mtime_ns)
    text = repr((__version__, record.name, os.path.abspath(record.video or ""), key, people))
    return work / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


def _read_part(path: Path) -> tuple[Estimate, str]:
    try:
        with np.load(path, allow_pickle=False) as data:
            fields = ("image", "world", "found")
            size = (int(data["width"]), int(data["height"]))
            return Estimate(*(data[key] for key in fields), *size), str(data["estimator"])
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        path.unlink()
        raise SkiDataError(
            f"{path}: damaged ({error}) and removed; the same command goes on"
        ) from None


def _assemble(
    folder: Path,
    work: Path,
    records: Sequence[Record],
    layout: TargetLayout,
    visibility: float,
    people: int,
    estimator: str,
) -> list[str]:
    """Put the clips into a store in the order of the records; those without a person."""
    target = work / "store"
    shutil.rmtree(target, ignore_errors=True)
    nobody: list[str] = []
    rows = 0
    writer = StoreWriter(
        target, get_layout(layout), bodies=people, validity=joint_validity(LAYOUT, layout)
    )
    with (work / "keypoints").open("wb") as keypoints, writer:
        for record in records:
            part = _part(work, record, people)
            found, name = _read_part(part)
            if name != estimator:
                part.unlink()
                raise SkiDataError(
                    f"clip {record.name} was estimated by {name} in an earlier run, not "
                    f"{estimator}; the same command does it again"
                )
            bodies = [body for body in range(people) if found.found[body].any()]
            if not bodies:
                nobody.append(record.name)
                continue
            clip, codes = pose_clip(found, bodies, layout, visibility)
            writer.add(
                record.name,
                clip,
                validity=codes,
                source=os.path.basename(record.video or ""),
                width=found.width,
                height=found.height,
                empty_frames=int((~found.found.any(axis=0)).sum()),
                **numbers(record),
            )
            rows += len(bodies) * found.image.shape[1]
            keypoints.write(np.ascontiguousarray(found.image[bodies], "<f4").tobytes())
        if not rows:
            raise InputError("nobody was found in any of the videos; there is nothing to store")
    points = np.memmap(work / "keypoints", "<f4", mode="r", shape=(rows, 33, 3))
    np.save(target / KEYPOINTS, points)
    del points
    about = {
        "format": FORMAT,
        "estimator": estimator,
        "layout": LAYOUT,
        "pixels": "x, y of the video as shown, visibility",
        "people": people,
        "visibility": float(visibility),
        "created_by": f"ski-data {__version__}",
        "skeletons": SkeletonStore(target).sha256,
        "sha256": checksum(target / KEYPOINTS),
    }
    (target / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    os.replace(target, folder)
    return nobody


def numbers(record: Record) -> dict[str, int]:
    """What a record knows of those columns that every skeleton store has."""
    values = {key: getattr(record, key) for key in NUMBERS}
    return {key: value for key, value in values.items() if value is not None}


def pose_clip(
    found: Estimate, bodies: Sequence[int], layout: TargetLayout, visibility: float
) -> tuple[np.ndarray, np.ndarray]:
    """Estimated joints as a clip.

    Args:
        found: Of one video.
        bodies: Which of its bodies.
        layout: Joints of the result.
        visibility: Least one that counts as seen.

    Returns:
        float32 (3, T, V, M) in metres, y up; and uint8 (T, V, M) of
        :class:`~ski_data.layouts.Validity`: ABSENT in frames without the body (zeros) and where a
        landmark that the joint is made of is less visible (the estimator's guess), else as the
        conversion says.
    """
    joints, _ = convert(found.world[bodies], LAYOUT, layout)
    there = found.found[bodies]
    joints[~there] = 0
    seen = found.image[bodies][..., 2] >= visibility
    codes = np.broadcast_to(joint_validity(LAYOUT, layout), joints.shape[:3]).copy()
    codes[~(_all_seen(seen, layout) & there[..., None])] = Validity.ABSENT
    return joints.transpose(3, 1, 2, 0), codes.transpose(1, 2, 0)


def _all_seen(seen: np.ndarray, layout: TargetLayout) -> np.ndarray:
    """bool (M, T, V'): all the landmarks (M, T, 33) that a joint is made of are seen."""
    single = np.eye(seen.shape[-1], dtype=np.float32)[..., None].repeat(2, axis=2)
    parts, _ = convert(single, LAYOUT, layout, unit="pixels")  # (33, V', 2): what each counts
    return (~seen).astype(np.float32) @ parts[..., 0] == 0
