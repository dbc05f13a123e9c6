"""PYSKL's annotation pickles (ntu60_3danno.pkl ...) to and from stores, without unpickling.

A pickle holds ``{"split": {"xsub_train": [name, ...], ...}, "annotations": [{"frame_dir": name,
"label": int, "keypoint": (M, T, V, C), "total_frames": T}, ...]}``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ski_data.errors import InputError
from ski_data.folders import whole_file
from ski_data.layouts import KINECT25
from ski_data.ntu.archive import PROTOCOLS, protocol_split
from ski_data.ntu.names import parse_name
from ski_data.plain_pickle import read_plain_pickle, write_plain_pickle
from ski_data.progress import Progress
from ski_data.store import NUMBERS, SkeletonStore, StoreWriter

log = logging.getLogger(__name__)

HALVES = ("train", "val", "test")
"""What a text column of a store may say of a clip for being a split; empty where it is in none."""
_MAX_NAME = 255
_MAX_SPLITS = 64


def import_pyskl(source: str, out: str) -> None:
    """Import a PYSKL pickle of 3D Kinect joints into a skeleton store.

    The file is read by an interpreter of its own that runs nothing from it. Each split, such as
    xsub_train and xsub_val, becomes a column (xsub) that says train, val or nothing. Coordinates
    are those of the file, float16 and not translated: results differ from those of prepare.

    Args:
        source: Pickle with "split" and "annotations", as PYSKL publishes.
        out: Store to make; it must not be there yet.

    Raises:
        MissingFileError: No such file.
        InputError: Not a pickle of this form, or clips that cannot be used.
        ExistingOutputError: ``out`` is there already.
    """
    path = Path(source)
    data = read_plain_pickle(path)
    if not isinstance(data, dict) or not {"split", "annotations"} <= set(data):
        raise InputError(f"{path}: a dictionary with 'split' and 'annotations' expected")
    columns = _columns(path, data["split"])
    annotations = data["annotations"]
    if not isinstance(annotations, list):
        raise InputError(f"{path}: annotations must be a list")
    clips = [_clip(path, i, annotation) for i, annotation in enumerate(annotations)]
    bodies = max((clip.shape[3] for _, _, clip in clips), default=1)
    unknown = set().union(*columns.values()) - {name for name, _, _ in clips}
    if unknown:
        raise InputError(f"{path}: the splits name clips that are not there: {sorted(unknown)[:3]}")
    writer = StoreWriter(out, KINECT25, bodies=bodies)
    with writer, Progress(f"import {path.name}", len(clips)) as progress:
        for done, (name, label, clip) in enumerate(clips, 1):
            splits = {key: halves.get(name, "") for key, halves in columns.items()}
            fields = {**_numbers(name), **splits, "label": label}
            try:
                writer.add(name, clip, source=path.name, **fields)
            except InputError as error:
                raise InputError(f"{path}, annotation {done}: {error}") from None
            progress.update(done)
    log.info("%s: %d clips", out, len(clips))


def export_pyskl(
    store: str, out: str, dataset: Literal["ntu60", "ntu120", "other"] = "ntu60"
) -> None:
    """Write the clips of a store as a pickle that PYSKL and MMAction2 read.

    Args:
        store: Store of kinect25 joints with labels, made by prepare or import-pyskl.
        out: Pickle to write, for example ntu60_3danno.pkl; it must not be there yet.
        dataset: ntu60 writes setups 1 to 17 with the splits xsub and xview, ntu120 all setups with
            xsub and xset; other writes every clip with the splits that the store's columns name
            (xsub with train, val or test in it becomes xsub_train, xsub_val, xsub_test).

    Raises:
        MissingFileError: No such store.
        InputError: Other joints, clips without a label, no split, or names that are not NTU's.
        SkiDataError: The file cannot be written.
        ExistingOutputError: ``out`` is there already.
    """
    opened = SkeletonStore(store)
    if opened.layout != KINECT25:
        raise InputError(f"{store}: PYSKL's are kinect25 joints, not {opened.layout.name}")
    splits = _column_splits(opened) if dataset == "other" else _protocol_splits(opened, dataset)
    names = opened.names
    kept = set(names) if dataset == "other" else set().union(*splits.values())
    rows = [row for row, name in enumerate(names) if name in kept]
    unlabelled = [names[row] for row in rows if opened.index["label"][row] < 0]
    if unlabelled:
        raise InputError(f"{store}: clip {unlabelled[0]} has no label; PYSKL needs one for each")
    title = f"export {opened.folder.name}"
    with (
        whole_file(out) as partial,
        partial.open("wb") as file,
        Progress(title, len(rows)) as progress,
    ):
        annotations = _annotations(opened, rows, progress)
        write_plain_pickle(file, {"split": splits, "annotations": annotations})
    log.info("%s: %d clips", out, len(rows))


def _annotations(
    store: SkeletonStore, rows: Sequence[int], progress: Progress
) -> Iterator[dict[str, Any]]:
    for done, row in enumerate(rows, 1):
        tracks = store.tracks(row)
        yield {
            "frame_dir": store.name(row),
            "label": int(store.index["label"][row]),
            "keypoint": np.asarray(tracks),
            "total_frames": tracks.shape[1],
        }
        progress.update(done)


def _protocol_splits(store: SkeletonStore, dataset: str) -> dict[str, list[str]]:
    splits = {}
    for protocol in PROTOCOLS.values():
        data, _, short = protocol.name.partition("/")
        if data == dataset:
            train, test = protocol_split(store.names, protocol)
            splits |= {f"{short}_train": train, f"{short}_val": test}
    if not any(splits.values()):
        raise InputError(f"{store.folder}: no clip of {dataset} in it")
    return splits


def _column_splits(store: SkeletonStore) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for column, values in store.index.items():
        found = set(values.tolist()) - {""}
        if column in ("name", "source") or not found or not found <= set(HALVES):
            continue
        for half in HALVES:
            names = [store.name(row) for row in np.flatnonzero(values == half)]
            if names:
                splits[half if column == "split" else f"{column}_{half}"] = names
    if not splits:
        raise InputError(
            f"{store.folder}: no column says {', '.join(HALVES)}; give --dataset ntu60 or ntu120"
        )
    return splits


def _columns(path: Path, split: object) -> dict[str, dict[str, str]]:
    """By column (``xsub``), the half (``train``, ``val``) of every clip."""
    if not isinstance(split, dict):
        raise InputError(f"{path}: split must be a dictionary of lists")
    if len(split) > _MAX_SPLITS:
        raise InputError(f"{path}: {len(split)} splits, at most {_MAX_SPLITS} are read")
    columns: dict[str, dict[str, str]] = {}
    for key, names in split.items():
        if not isinstance(key, str) or len(key) > _MAX_NAME or not isinstance(names, list):
            raise InputError(f"{path}: split must be a dictionary of lists")
        column, _, half = key.rpartition("_")
        column = column or "split"
        if not column.isidentifier() or column in NUMBERS:
            raise InputError(f"{path}: split {key[:40]!r} cannot be a column of a store")
        halves = columns.setdefault(column, {})
        for name in names:
            if not isinstance(name, str) or len(name) > _MAX_NAME:
                raise InputError(f"{path}: split {key} must hold names of clips")
            if halves.setdefault(name, half) != half:
                raise InputError(f"{path}: {name} is in {halves[name]} and {half} of {column}")
    return columns


def _clip(path: Path, i: int, annotation: Any) -> tuple[str, int, np.ndarray]:
    """Name, label and (3, T, 25, M) view of one annotation, without empty bodies at the end."""
    where = f"{path}, annotation {i + 1}"
    if not isinstance(annotation, dict):
        raise InputError(f"{where}: a dictionary expected")
    name, label = annotation.get("frame_dir"), annotation.get("label")
    joints, frames = annotation.get("keypoint"), annotation.get("total_frames")
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise InputError(f"{where}: frame_dir must be the clip's name")
    if not isinstance(label, int | np.integer) or label < 0:
        raise InputError(f"{where} ({name}): label must be a whole number from 0")
    if not isinstance(joints, np.ndarray) or joints.ndim != 4 or joints.dtype.kind != "f":
        raise InputError(f"{where} ({name}): keypoint must be floats (M, T, V, C)")
    if joints.shape[2:] != (25, 3):
        raise InputError(
            f"{where} ({name}): {joints.shape[2]} joints of {joints.shape[3]} coordinates; stores "
            "of NTU take the 3D pickles, 25 joints of 3"
        )
    if frames is not None and not isinstance(frames, int | np.integer):
        raise InputError(f"{where} ({name}): total_frames must be a whole number")
    if frames is not None and frames != joints.shape[1]:
        raise InputError(
            f"{where} ({name}): total_frames says {frames}, keypoint has {joints.shape[1]}"
        )
    used = np.flatnonzero(joints.any(axis=(1, 2, 3)))
    if not len(used):
        raise InputError(f"{where} ({name}): no body in any frame")
    return name, int(label), joints[: used[-1] + 1].transpose(3, 1, 2, 0)


def _numbers(name: str) -> dict[str, int]:
    try:
        fields = asdict(parse_name(name))
    except InputError:  # own recordings may have any name
        return {}
    return {key: fields[key] for key in NUMBERS if key in fields}
