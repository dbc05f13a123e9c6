"""Raw ``.skeleton`` recordings into a skeleton store, by the published preprocessing chain.

A run that was killed goes on where it was: what is in the unfinished store is not made again, and
the finished store has the bytes of a run that was left alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ski_data.classes import ClassSet, read_classes
from ski_data.errors import ExistingOutputError, InputError, SkiDataError
from ski_data.layouts import KINECT25
from ski_data.ntu.align import align
from ski_data.ntu.archive import get_protocol, write_archive
from ski_data.ntu.denoise import denoise
from ski_data.ntu.names import parse_name
from ski_data.ntu.recordings import Recording, close_archives, find_recordings, fingerprint
from ski_data.ntu.skeleton_file import parse_skeleton, read_skeleton
from ski_data.processes import end_with_parent, keep_freed_memory, worker_count
from ski_data.progress import Progress
from ski_data.splits import dataset_classes
from ski_data.store import SingleBody, SkeletonStore, StoreWriter
from ski_data.text import read_text

log = logging.getLogger(__name__)

Dataset = Literal["ntu60", "ntu120", "other"]
_LAST_SETUP = {"ntu60": 17, "ntu120": 32, "other": None}
_RECORDINGS = {"ntu60": 56_578, "ntu120": 113_945}
"""How many the whole data set has, besides those on the list of missing skeletons."""
_FILES_PER_TASK = 32


def prepare_rows(path: Path | str) -> np.ndarray:
    """One file through the whole chain: read, denoise, translate; float32 (n, 75 | 150)."""
    path = Path(path)
    return align(denoise(read_skeleton(path)), str(path))


def recording_rows(recording: Recording) -> np.ndarray:
    """What :func:`prepare_rows` does, for a recording that may lie in a zip archive."""
    where = str(recording)
    return align(denoise(parse_skeleton(recording.read(), where)), where)


def rows_to_clip(rows: np.ndarray) -> np.ndarray:
    """Rows (n, 75 | 150) as a clip (3, n, 25, 1 | 2)."""
    return rows.reshape(len(rows), -1, 25, 3).transpose(3, 0, 2, 1)


def prepare(
    dataset: Dataset,
    raw: str,
    out: str,
    workers: int | None = None,
    missing: str | None = None,
    classes: str | None = None,
) -> None:
    """Turn NTU .skeleton files, loose or in zip archives, into a skeleton store.

    Coordinates are metres, moved so that the first person's spine starts at the origin. Recordings
    that NTU lists as missing or incomplete are left out. One-body clips repeat their body when
    read in ntu120, as the published arrays do; otherwise the second slot is zero.
    After a kill or a full disk, the same command goes on where it was.

    Args:
        dataset: ntu60 takes setups 1 to 17, ntu120 all; other is for files of the same form and
            naming that are not NTU's.
        raw: Folder that holds the files or zip archives of them, at any depth, or one zip archive;
            archives are read without unpacking.
        out: Store to make; it must not be there yet.
        workers: Processes; by default one per CPU, 0 works in this one.
        missing: Text file with recordings to leave out, one name a line, instead of NTU's list.
        classes: Label file (CSV with id,name) with the actions in order, where they are not NTU's.

    Raises:
        MissingFileError: No such folder or list.
        InputError: No files, a name twice, or a file or archive that cannot be used.
        SkiDataError: The store cannot be written, or a worker process was ended.
        ExistingOutputError: ``out`` is there already.
    """
    if dataset not in _LAST_SETUP:
        raise InputError(f"unknown data set {dataset!r}; known: {', '.join(_LAST_SETUP)}")
    if classes is not None:
        actions: ClassSet | None = read_classes(classes)
    else:
        actions = None if dataset == "other" else dataset_classes(dataset)
    names: set[str] = set()
    if missing is not None:
        names = _listed_names(missing)
    elif dataset != "other":
        names = _missing_names()
    prepare_store(
        Path(raw),
        Path(out),
        expected=_RECORDINGS.get(dataset) if missing is None else None,
        classes=actions,
        last_setup=_LAST_SETUP[dataset],
        missing=names,
        single_body="repeat" if dataset == "ntu120" else "zero",
        workers=workers,
    )


def prepare_store(
    raw: Path,
    out: Path,
    *,
    classes: ClassSet | None = None,
    last_setup: int | None = None,
    missing: Collection[str] = (),
    bodies: int = 2,
    single_body: SingleBody = "zero",
    workers: int | None = None,
    expected: int | None = None,
) -> None:
    """What :func:`prepare` does, for any recordings with NTU names.

    Args:
        raw: Folder that holds the files or zip archives of them, or one zip archive.
        out: Store to make.
        classes: The actions in order, if known; a clip's label is its action - 1.
        last_setup: Recordings of later setups are left out.
        missing: Names of recordings to leave out.
        bodies: M of every clip; 1 where every recording holds a single person.
        single_body: What the second slot of a one-body clip holds when it is read.
        workers: Processes; by default one per CPU, 0 works in this one.
        expected: How many recordings the whole data set has; others are remarked on.

    Raises:
        MissingFileError: No such folder.
        InputError: No files, a name twice, or a file or archive that cannot be used.
        SkiDataError: The store cannot be written, or a worker process was ended.
        ExistingOutputError: ``out`` is there already.
    """
    processes = worker_count(workers)
    if out.exists():
        raise ExistingOutputError(f"{out} is there already; name another folder or remove it")
    recordings = _find(raw, last_setup, missing, classes)
    if expected is not None and len(recordings) != expected:
        log.warning("%s: %d recordings, the data set has %d", raw, len(recordings), expected)
    writer = StoreWriter(
        out,
        KINECT25,
        bodies=bodies,
        single_body=single_body,
        classes=classes,
        job=fingerprint(recordings),
    )
    with writer:
        if done := len(writer):
            log.info("%s: %d of %d clips are there from an earlier run", out, done, len(recordings))
        _add_all(writer, recordings[done:], processes, f"prepare {raw.name}")
    log.info("%s: %d clips", out, len(recordings))


def _add_all(
    writer: StoreWriter, recordings: Sequence[Recording], workers: int, title: str
) -> None:
    start = time.monotonic()
    with (
        in_order(workers, len(recordings), _FILES_PER_TASK) as mapped,
        Progress(title, len(recordings)) as progress,
    ):
        made = mapped(recording_rows, recordings)
        for done, (recording, rows) in enumerate(zip(recordings, made, strict=True), 1):
            name = parse_name(recording.name)
            writer.add(
                recording.stem,
                rows_to_clip(rows),
                source=recording.name,
                label=name.action - 1,
                subject=name.subject,
                camera=name.camera,
                setup=name.setup,
                replication=name.replication,
            )
            rate = done / max(time.monotonic() - start, 1e-6)
            progress.update(done, f"{rate:.0f} clips/s")


def archive(store: str, out: str, protocol: str) -> None:
    """Write a community .npz archive (x_train, y_train, files_train, ...) from a prepared store.

    Args:
        store: Store made by prepare.
        out: File to write, for example NTU60_CS.npz; it must not be there yet.
        protocol: ntu60/xsub, ntu60/xview, ntu120/xsub, ntu120/xset, or the archive's name.
    """
    opened = SkeletonStore(store)
    if opened.layout != KINECT25:
        raise InputError(f"{store}: archives hold kinect25 joints, not {opened.layout.name}")
    write_archive(out, _StoreRows(opened), get_protocol(protocol))


class _StoreRows(Mapping[str, np.ndarray]):
    """The clips of a store as aligned rows (n, 75 | 150), read when looked up."""

    def __init__(self, store: SkeletonStore) -> None:
        self.store = store

    def __getitem__(self, name: str) -> np.ndarray:
        tracks = self.store.tracks(self.store.row(name))
        return tracks.transpose(1, 0, 2, 3).reshape(tracks.shape[1], -1)

    def __iter__(self) -> Iterator[str]:
        return iter(self.store.names)

    def __len__(self) -> int:
        return len(self.store)


def _find(
    raw: Path, last_setup: int | None, missing: Collection[str], classes: ClassSet | None
) -> list[Recording]:
    found: dict[str, Recording] = {}
    left_out = 0
    for recording in find_recordings(raw):
        name = parse_name(recording.name)
        if last_setup is not None and name.setup > last_setup:
            continue
        stem = recording.stem
        if stem in missing:
            left_out += 1
            continue
        if stem in found:
            raise InputError(f"{recording}: the same recording is at {found[stem]}; keep one")
        if name.action < 1 or (classes is not None and name.action > len(classes)):
            allowed = "1 or more" if classes is None else f"1..{len(classes)}"
            raise InputError(
                f"{recording}: action {name.action} is out of range; allowed: {allowed}"
            )
        found[stem] = recording
    if not found:
        upto = "" if last_setup is None else f" of setups 1 to {last_setup}"
        raise InputError(f"{raw}: no .skeleton files{upto} in it")
    if left_out:
        log.info("%d recordings are on the list of missing skeletons and left out", left_out)
    return list(found.values())


def _missing_names() -> set[str]:
    """NTU's list of recordings with missing or incomplete skeletons."""
    return set((files("ski_data") / "resources" / "ntu_missing_skeletons.txt").read_text().split())


def _listed_names(file: str) -> set[str]:
    names = set()
    for line, text in enumerate(read_text(file, "list").split("\n"), 1):
        try:
            names |= {str(parse_name(name)) for name in text.split()}
        except InputError as error:
            raise InputError(f"{file}, line {line}: {error}") from None
    return names


def _start_worker() -> None:
    end_with_parent()
    keep_freed_memory()


@contextmanager
def in_order(workers: int, tasks: int, chunk: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` that keeps the order; in processes where that pays.

    Args:
        workers: Processes; 1 works in this one.
        tasks: How many tasks there are; no processes for up to ``chunk`` of them.
        chunk: Tasks that a process takes at once.

    Raises:
        SkiDataError: A worker process was ended.
    """
    if workers == 1 or tasks <= chunk:
        try:
            yield map
        finally:
            close_archives()
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        yield partial(pool.map, chunksize=chunk)
    except BrokenProcessPool:
        raise SkiDataError(
            "a worker process was ended from outside (out of memory?); run the same command again, "
            "it goes on where it was, perhaps with fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
