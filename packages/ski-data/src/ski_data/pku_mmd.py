"""PKU-MMD I and II: long recordings and their temporal labels, as a store of single actions.

Source: the public release (Liu et al., 2017). A recording is a text file with a line per frame, 150
numbers: 25 Kinect joints of two bodies, x y z in metres, zeros where there is no body. Its label
file has a line ``class,start,end,confidence`` per action, classes from 1 to 51, in frames.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.classes import ClassSet
from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import KINECT25
from ski_data.ntu.align import align
from ski_data.progress import Progress
from ski_data.splits import dataset_classes
from ski_data.store import StoreWriter

log = logging.getLogger(__name__)

VIEWS = "LMR"
"""Cameras left, middle, right; a clip's camera is the place here plus 1."""
_VALUES = 150


class PkuMmdError(InputError):
    """A file of PKU-MMD that cannot be used, with the file and the line."""


@dataclass(frozen=True)
class Action:
    """One labelled stretch of a recording: frames ``start`` to ``end - 1``, counted from 0."""

    label: int
    start: int
    end: int


def read_recording(path: Path | str) -> np.ndarray:
    """One recording, float32 (T, 150).

    Raises:
        MissingFileError: There is no such file.
        PkuMmdError: A line without 150 finite numbers; the text names it.
    """
    path = Path(path)
    lines = _text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    rows = np.empty((len(lines), _VALUES), np.float32)
    for number, line in enumerate(lines):
        cells = line.split()
        if len(cells) != _VALUES:
            raise PkuMmdError(
                f"{path}, line {number + 1}: {len(cells)} values, expected {_VALUES} (two bodies "
                "of 25 joints)"
            )
        try:
            rows[number] = cells
        except ValueError as error:
            raise PkuMmdError(f"{path}, line {number + 1}: {error}") from None
        if not np.isfinite(rows[number]).all():
            raise PkuMmdError(f"{path}, line {number + 1}: coordinates must be finite numbers")
    if not len(rows):
        raise PkuMmdError(f"{path}: no frames")
    return rows


def read_actions(path: Path | str, classes: ClassSet, frames: int) -> list[Action]:
    """The label file of a recording of ``frames`` frames; ends past its last frame are cut.

    Raises:
        MissingFileError: There is no such file.
        PkuMmdError: A line of another form, an unknown class, no frame in the recording; the text
            names it.
    """
    path = Path(path)
    actions = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) not in (3, 4) or not all(re.fullmatch(r"\d+", c) for c in cells[:3]):
            raise PkuMmdError(
                f"{where}: expected 'class,start,end,confidence', found {line[:60]!r}"
            )
        label, start, end = int(cells[0]) - 1, int(cells[1]), min(int(cells[2]), frames)
        if not 0 <= label < len(classes):
            raise PkuMmdError(f"{where}: class {label + 1} is not in 1..{len(classes)}")
        if start >= end:
            raise PkuMmdError(
                f"{where}: frames {cells[1]} to {cells[2]} hold none of the recording's {frames}"
            )
        actions.append(Action(label, start, end))
    return actions


def read_parts(path: Path | str) -> dict[str, tuple[str, ...]]:
    """The protocol file (``cross-subject.txt``): recordings of ``train`` and ``test``.

    Two headings end with a colon, each followed by names with commas between them; the first is
    training.

    Raises:
        MissingFileError: There is no such file.
        PkuMmdError: Not two such lists, or a recording in both.
    """
    path = Path(path)
    lists: list[list[str]] = []
    for line in _text(path).splitlines():
        if line.strip().endswith(":"):
            lists.append([])
        elif line.strip():
            if not lists:
                raise PkuMmdError(f"{path}: expected a heading such as 'Training videos:' first")
            lists[-1] += [name.strip() for name in line.split(",") if name.strip()]
    if len(lists) != 2 or not all(lists):
        raise PkuMmdError(f"{path}: expected two lists with headings, found {len(lists)}")
    both = sorted(set(lists[0]) & set(lists[1]))
    if both:
        raise PkuMmdError(f"{path}: in training and test: {', '.join(both[:5])}")
    return {"train": tuple(lists[0]), "test": tuple(lists[1])}


def cut(rows: np.ndarray, action: Action) -> np.ndarray | None:
    """One action of a recording as a clip (3, t, 25, 1 | 2), moved to its first body's spine.

    Frames without a body are left out; a body that is never there takes no slot. None if no frame
    holds a body.
    """
    part = rows[action.start : action.end]
    present = part.reshape(len(part), 2, 75).any(-1)
    bodies = np.flatnonzero(present.any(0))
    if not len(bodies):
        return None
    kept = part[present.any(1)].reshape(-1, 2, 75)[:, bodies].reshape(-1, 75 * len(bodies))
    return align(kept).reshape(len(kept), len(bodies), 25, 3).transpose(3, 0, 2, 1)


def prepare_pku_mmd(
    recordings: str, labels: str, out: str, protocol: str | None = None, part: str | None = None
) -> None:
    """Turn PKU-MMD recordings and labels into a skeleton store of single actions.

    Args:
        recordings: Folder of skeleton text files.
        labels: Folder of label files of the same names.
        out: Store to make; it must not be there yet.
        protocol: Protocol file (cross-subject.txt or cross-view.txt) of which one part is taken.
        part: train or test, with --protocol.

    Raises:
        MissingFileError: A folder or file is not there.
        InputError: No recordings, or a file that cannot be used.
        ExistingOutputError: ``out`` is there already.
    """
    if (protocol is None) != (part is None) or part not in (None, "train", "test"):
        raise InputError("give --protocol and --part train or test together, or neither")
    names = None
    if protocol is not None and part is not None:
        names = read_parts(protocol)[part]
    paths = _recordings(Path(recordings), names)
    classes = dataset_classes("pku-mmd")
    skipped = 0
    with (
        StoreWriter(Path(out), KINECT25, classes=classes) as writer,
        Progress("prepare PKU-MMD", len(paths)) as progress,
    ):
        for done, path in enumerate(paths, 1):
            rows = read_recording(path)
            view = VIEWS.find(path.stem[-1]) + 1
            for number, action in enumerate(
                read_actions(Path(labels) / path.name, classes, len(rows))
            ):
                clip = cut(rows, action)
                if clip is None:
                    skipped += 1
                    continue
                writer.add(
                    f"{path.stem}-{number:03d}",
                    clip,
                    source=path.name,
                    label=action.label,
                    camera=view or -1,
                    start=action.start,
                    end=action.end,
                )
            progress.update(done)
    if skipped:
        log.warning("%s: %d actions without a body in any frame were left out", out, skipped)
    print(out)


def _recordings(folder: Path, names: Collection[str] | None) -> list[Path]:
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    paths = sorted(folder.glob("*.txt"))
    if names is not None:
        there = {path.stem for path in paths}
        gone = [name for name in names if name not in there]
        if gone:
            raise MissingFileError(
                f"{folder}: {len(gone)} recordings of the protocol are not there: "
                f"{', '.join(gone[:5])}"
            )
        paths = [path for path in paths if path.stem in set(names)]
    if not paths:
        raise InputError(f"{folder}: no recordings (*.txt)")
    return paths


def _text(path: Path) -> str:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PkuMmdError(f"{path}: not UTF-8 text ({error.reason})") from error
