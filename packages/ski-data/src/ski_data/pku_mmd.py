"""PKU-MMD I and II: long recordings and their temporal labels, as a store of single actions.

Source: the public release (Liu et al., 2017). A recording is a text file with a line per frame, 150
numbers: 25 Kinect joints of two bodies, x y z in metres, zeros where there is no body. Its label
file has a line ``class,start,end,confidence`` per action, classes from 1 to 51, in frames.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.classes import ClassSet
from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import KINECT25
from ski_data.ntu.align import align
from ski_data.ntu.prepare import in_order
from ski_data.ntu.recordings import Recording, file_stamp, fingerprint
from ski_data.processes import worker_count
from ski_data.progress import Progress
from ski_data.splits import dataset_classes
from ski_data.store import StoreWriter
from ski_data.text import read_text

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
        InputError: Not UTF-8, or a line without 150 finite numbers; the text names it.
    """
    path = Path(path)
    lines = read_text(path).split("\n")
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
            with np.errstate(over="ignore"):  # infinite, which is refused below
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
        InputError: Not UTF-8, a line of another form, an unknown class, no frame in the recording;
            the text names it.
    """
    path = Path(path)
    actions = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) not in (3, 4) or not all(re.fullmatch("[0-9]{1,9}", c) for c in cells[:3]):
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
        InputError: Not UTF-8, not two such lists, or a recording in both.
    """
    path = Path(path)
    lists: list[list[str]] = []
    for line in read_text(path).split("\n"):
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
    recordings: str,
    labels: str,
    out: str,
    split_file: str | None = None,
    part: str | None = None,
    workers: int | None = None,
) -> None:
    """Turn PKU-MMD recordings and labels into a skeleton store of single actions.

    After a kill or a full disk, the same command goes on where it was.

    Args:
        recordings: Folder of skeleton text files.
        labels: Folder of label files of the same names.
        out: Store to make; it must not be there yet.
        split_file: Its cross-subject.txt or cross-view.txt, of which one part is taken.
        part: train or test, with --split_file.
        workers: Processes; by default one per CPU, 0 works in this one.

    Raises:
        MissingFileError: A folder or file is not there.
        InputError: No recordings, or a file that cannot be used.
        SkiDataError: The store cannot be written, or a worker process was ended.
        ExistingOutputError: ``out`` is there already.
    """
    if (split_file is None) != (part is None) or part not in (None, "train", "test"):
        raise InputError("give --split_file and --part train or test together, or neither")
    processes = worker_count(workers)
    names = None
    if split_file is not None and part is not None:
        names = read_parts(split_file)[part]
    files = _files(Path(recordings), Path(labels), names)
    job = fingerprint(Recording(file, None, file_stamp(file)) for pair in files for file in pair)
    with StoreWriter(Path(out), KINECT25, classes=dataset_classes("pku-mmd"), job=job) as writer:
        there = set(writer.names)
        if there:
            log.info("%s: %d clips are there from an earlier run", out, len(there))
            last = writer.names[-1].rpartition("-")[0]  # the recordings before it are whole
            files = [pair for pair in files if pair[0].stem >= last]
        skipped = _add_all(writer, files, there, processes)
    if skipped:
        log.warning("%s: left out %d actions without a body in any frame", out, skipped)
    print(out)


def _add_all(
    writer: StoreWriter, files: Sequence[tuple[Path, Path]], there: Collection[str], workers: int
) -> int:
    """Add the clips that are not there yet; how many actions have no body."""
    skipped, start = 0, time.monotonic()
    with (
        in_order(workers, len(files), 1) as mapped,
        Progress("prepare PKU-MMD", len(files)) as progress,
    ):
        made = mapped(recording_clips, files)
        for done, ((path, _), clips) in enumerate(zip(files, made, strict=True), 1):
            for number, (action, clip) in enumerate(clips):
                name = f"{path.stem}-{number:03d}"
                skipped += clip is None
                if clip is None or name in there:
                    continue
                writer.add(
                    name,
                    clip,
                    source=path.name,
                    label=action.label,
                    camera=VIEWS.find(path.stem[-1]) + 1 or -1,
                    start=action.start,
                    end=action.end,
                )
            rate = done / max(time.monotonic() - start, 1e-6)
            progress.update(done, f"{rate:.1f} recordings/s")
    return skipped


def recording_clips(files: tuple[Path, Path]) -> list[tuple[Action, np.ndarray | None]]:
    """The actions of one recording, each with what :func:`cut` gives, in the label file's order.

    Args:
        files: The recording and its label file.

    Raises:
        MissingFileError: One of them is not there.
        InputError: One of them cannot be used.
    """
    rows = read_recording(files[0])
    actions = read_actions(files[1], dataset_classes("pku-mmd"), len(rows))
    return [(action, cut(rows, action)) for action in actions]


def _files(folder: Path, labels: Path, names: Collection[str] | None) -> list[tuple[Path, Path]]:
    """Every recording with its label file, by ascending name."""
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    paths = sorted(folder.glob("*.txt"), key=lambda path: path.stem)
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
    pairs = [(path, labels / path.name) for path in paths]
    unlabelled = [str(label) for _, label in pairs if not label.is_file()]
    if unlabelled:
        raise MissingFileError(
            f"{labels}: {len(unlabelled)} recordings have no label file: "
            f"{', '.join(unlabelled[:5])}"
        )
    return pairs
