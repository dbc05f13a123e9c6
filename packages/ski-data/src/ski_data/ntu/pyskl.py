"""PYSKL's annotation pickles (ntu60_3danno.pkl ...) into a skeleton store, without unpickling."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ski_data.errors import InputError
from ski_data.layouts import KINECT25
from ski_data.ntu.names import parse_name
from ski_data.plain_pickle import read_plain_pickle
from ski_data.progress import Progress
from ski_data.store import NUMBERS, StoreWriter

log = logging.getLogger(__name__)


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


def _columns(path: Path, split: object) -> dict[str, dict[str, str]]:
    """By column (``xsub``), the half (``train``, ``val``) of every clip."""
    if not isinstance(split, dict):
        raise InputError(f"{path}: split must be a dictionary of lists")
    columns: dict[str, dict[str, str]] = {}
    for key, names in split.items():
        if not isinstance(key, str) or not isinstance(names, list):
            raise InputError(f"{path}: split must be a dictionary of lists")
        column, _, half = key.rpartition("_")
        column = column or "split"
        if not column.isidentifier() or column in NUMBERS:
            raise InputError(f"{path}: split {key[:40]!r} cannot be a column of a store")
        halves = columns.setdefault(column, {})
        for name in names:
            if not isinstance(name, str):
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
    if not isinstance(name, str):
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
    if frames is not None and frames != joints.shape[1]:
        raise InputError(
            f"{where} ({name}): total_frames says {frames!s:.20}, keypoint has {joints.shape[1]}"
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
