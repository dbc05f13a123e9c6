"""The work of making a video store, in a folder of its own: plan, clips, and the whole.

The plan says what every clip takes. Each clip is written to its place in the file and then noted
in a journal; a run that finds plan and journal of the same job goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ski_data import __version__
from ski_data.errors import InputError, MissingFileError, SkiDataError
from ski_data.manifest import Record
from ski_data.poses.keypoints import PoseStore
from ski_data.processes import end_with_parent
from ski_data.progress import Progress
from ski_data.video.clips import CacheConfig, Clip, Planned, plan_clip, read_clip
from ski_data.video.decode import VideoError
from ski_data.video.video_store import (
    COLUMNS,
    FORMAT,
    FRAMES,
    INDEX,
    META,
    clip_bytes,
    digest,
)

LOCK, STORE = "lock", "store"
_PLAN, _JOURNAL, _REJECTED = "plan.json", "journal.jsonl", "rejected"
_LISTED = 20
"""Clips that an error names; a list file names all."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    """Why a clip cannot be used."""

    missing: bool
    text: str


class Run:
    """One run of the work in its folder; ``done`` are the clips written so far: row by position."""

    def __init__(
        self,
        work: Path,
        records: Sequence[Record],
        config: CacheConfig,
        workers: int,
        progress: bool,
    ) -> None:
        self.work, self.records, self.config = work, records, config
        self.workers, self.progress = workers, progress
        self.clips = [_clip(record, config) for record in records]
        self.job = _fingerprint(self.clips, records, config)
        self.done: dict[int, dict[str, Any]] = {}
        self.failed: dict[int, _Failure] = {}
        self.journal: IO[bytes] | None = None
        self.pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """End processes and journal; what a full disk does not take is done by the next run."""
        self._end_pool()
        if self.journal is not None:
            try:
                self.journal.close()
            except OSError:
                log.warning("%s: the last clips could not be noted", self.work)

    def go(self, rejected: Path | None) -> None:
        """Do what is left, and put the store together; bad clips are listed in ``rejected``."""
        plan = self._plan()
        self._take_up(plan)
        self._stop_if_bad(rejected)
        self._decode(plan)
        self._stop_if_bad(rejected)
        good = [i for i in sorted(plan) if i in self.done]
        if not good:
            raise InputError(f"no clip can be used: {listed(self._reasons())}")
        self._put_together(plan, good)
        if rejected is not None and self.failed:
            rows = [
                {
                    "name": self.records[i].name,
                    "video": str(self.records[i].video),
                    "reason": failure.text,
                }
                for i, failure in sorted(self.failed.items())
            ]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (self.work / _REJECTED).write_text(text, encoding="utf-8")
            os.replace(self.work / _REJECTED, rejected)

    def _plan(self) -> dict[int, Planned]:
        """What every usable clip takes; from an earlier run of the same job if there is one."""
        path = self.work / _PLAN
        if path.is_file():
            try:
                plan = json.loads(path.read_text(encoding="utf-8"))
                if plan["job"] == self.job:
                    self.failed = {int(i): _Failure(*why) for i, why in plan["failed"].items()}
                    return {
                        int(i): Planned(*row[:4], tuple(row[4]), row[5])
                        for i, row in plan["rows"].items()
                    }
            except (ValueError, KeyError, TypeError) as error:
                log.warning("%s: the plan of an earlier run is damaged (%s)", path, error)
        for part in (_JOURNAL, FRAMES):
            (self.work / part).unlink(missing_ok=True)
        shutil.rmtree(self.work / STORE, ignore_errors=True)
        rows = dict(self._each("look at videos", _plan_clip, dict(enumerate(self.clips))))
        data = {
            "job": self.job,
            "rows": {i: astuple(row) for i, row in sorted(rows.items())},
            "failed": {i: astuple(why) for i, why in sorted(self.failed.items())},
        }
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(data), encoding="utf-8")
        os.replace(partial, path)
        return rows

    def _take_up(self, plan: Mapping[int, Planned]) -> None:
        """Open file and journal, and take over the clips that are whole in both."""
        frames, early = self.work / FRAMES, self.work / STORE / FRAMES
        if early.is_file() and not frames.is_file():  # killed while the store was put together
            os.replace(early, frames)
        offsets, total = _offsets(plan)
        frames.touch()
        missing = total - getattr(frames.stat(), "st_blocks", 0) * 512
        free = shutil.disk_usage(self.work).free
        if missing > free:
            raise SkiDataError(
                f"{self.work.parent}: the store takes {total / 1e9:.2f} GB, {free / 1e9:.2f} GB "
                "are free; free space, name another folder, or choose fewer or smaller frames"
            )
        os.truncate(frames, total)
        self.journal = (self.work / _JOURNAL).open("a+b")
        self.journal.seek(0)
        whole = 0
        with frames.open("rb") as file:
            for line in self.journal:
                try:
                    i, row = json.loads(line) if line.endswith(b"\n") else (None, None)
                    known = i in plan and self._is_whole(file, offsets[i], plan[i], row["sha256"])
                except (ValueError, TypeError, KeyError):
                    break
                if known:
                    self.done[i] = row
                whole += len(line)
        self.journal.truncate(whole)
        self.journal.seek(0, os.SEEK_END)
        if self.done:
            log.info(
                "%s: %d of %d clips are there from an earlier run",
                self.work,
                len(self.done),
                len(plan),
            )

    @staticmethod
    def _is_whole(file: IO[bytes], offset: int, planned: Planned, sha256: str) -> bool:
        file.seek(offset)
        return hashlib.sha256(file.read(planned.bytes)).hexdigest() == sha256

    def _decode(self, plan: Mapping[int, Planned]) -> None:
        offsets, _ = _offsets(plan)
        target = str(self.work / FRAMES)
        jobs = {
            i: _Job(self.clips[i], plan[i], target, offsets[i]) for i in plan if i not in self.done
        }
        assert self.journal is not None
        for i, row in self._each("decode videos", _decode_clip, jobs):
            self.journal.write(json.dumps([i, row]).encode() + b"\n")  # the frames are there
            self.journal.flush()
            self.done[i] = row

    def _map(
        self, function: Callable[[Any], Any], jobs: Mapping[int, Any]
    ) -> Iterator[tuple[int, Any]]:
        """(clip, result) of each job as it gets ready."""
        if self.workers == 1 or len(jobs) <= 1:
            yield from ((i, function(job)) for i, job in jobs.items())
            return
        left = dict(jobs)
        while left:
            futures: dict[Future, int] = {}
            with suppress(BrokenProcessPool):  # what was not handed over stays left
                for i, job in left.items():
                    futures[self._submit(function, job)] = i
            for future in as_completed(futures):
                try:
                    result = future.result()
                except BrokenProcessPool:
                    continue
                del left[futures[future]]
                yield futures[future], result
            if left:  # a process died: find out at which clip, and go on
                suspects = list(left)[: 2 * self.workers + 1]
                yield from ((i, self._alone(function, i, left.pop(i))) for i in suspects)
                self._end_pool()

    def _alone(self, function: Callable[[Any], Any], i: int, job: Any) -> Any:
        """The result of a job in a process of its own, which may die."""
        self._end_pool()
        try:
            return self._submit(function, job).result()
        except BrokenProcessPool:
            video = self.records[i].video
            return _Failure(
                False, f"{video}: the process that read it died; damaged, or too little memory"
            )

    def _submit(self, function: Callable[[Any], Any], job: Any) -> Future:
        if self.pool is None:
            spawn = multiprocessing.get_context("spawn")  # a fork copies locks of other threads
            self.pool = ProcessPoolExecutor(self.workers, spawn, _start_worker)
        return self.pool.submit(function, job)

    def _end_pool(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None

    def _each(
        self, title: str, function: Callable[[Any], Any], jobs: Mapping[int, Any]
    ) -> Iterator[tuple[int, Any]]:
        """Results as they get ready; failures are noted instead."""
        with _shown(title if self.progress else None, len(jobs)) as update:
            for number, (i, result) in enumerate(self._map(function, jobs), 1):
                if isinstance(result, _Failure):
                    self.failed[i] = result
                else:
                    yield i, result
                update(number, self.records[i].name)

    def _reasons(self) -> list[str]:
        return [failure.text for _, failure in sorted(self.failed.items())]

    def _stop_if_bad(self, rejected: Path | None) -> None:
        if not self.failed or rejected is not None:
            return
        kind = MissingFileError if all(f.missing for f in self.failed.values()) else VideoError
        kept = "; the clips that were decoded are kept for the next run" if self.done else ""
        raise kind(
            f"{listed(self._reasons())}. Mend or remove what is listed, or leave it out with "
            f"skip_bad{kept}"
        )

    def _put_together(self, plan: Mapping[int, Planned], good: Sequence[int]) -> None:
        store = self.work / STORE
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        rows = [plan[i] for i in good]
        index: dict[str, Any] = {
            "name": [self.records[i].name for i in good],
            "frames": [row.frames for row in rows],
            "height": [row.height for row in rows],
            "width": [row.width for row in rows],
            "label": [-1 if (label := self.records[i].label) is None else label for i in good],
            "source_frames": [row.source_frames for row in rows],
            "source": [self.clips[i].video for i in good],
            "crop": [row.crop for row in rows],
            **{key: [row.box[n] for row in rows] for n, key in enumerate(("x0", "y0", "x1", "y1"))},
            **{key: [self.done[i][key] for i in good] for key in ("hidden_frames", "sha256")},
        }
        sizes = clip_bytes(index)
        index["offset"] = (np.cumsum(sizes) - sizes).tolist()
        schema = pa.schema(list(COLUMNS.items()))
        arrays = [pa.array(index[key], kind) for key, kind in COLUMNS.items()]
        pq.write_table(pa.table(arrays, schema=schema), store / INDEX)
        settings = self.config.settings()
        meta = {
            "format": FORMAT,
            "clips": len(good),
            "bytes": int(sizes.sum()),
            "settings": settings,
            "pixels": "uint8 RGB (T, H, W, 3)",
            "created_by": f"ski-data {__version__}",
            "sha256": digest(settings, index),
        }
        (store / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        if len(good) == len(plan):
            os.replace(self.work / FRAMES, store / FRAMES)
            return
        offsets, _ = _offsets(plan)
        with (self.work / FRAMES).open("rb") as source, (store / "new").open("wb") as target:
            for i in good:
                source.seek(offsets[i])
                target.write(source.read(plan[i].bytes))
        os.replace(store / "new", store / FRAMES)


@dataclass(frozen=True)
class _Job:
    """One clip to decode into its place in the file."""

    clip: Clip
    planned: Planned
    file: str
    offset: int


def _clip(record: Record, config: CacheConfig) -> Clip:
    by_colour = config.needs_people and config.poses is None
    return Clip(
        name=record.name,
        video=os.path.abspath(record.video or ""),
        skeleton=os.path.abspath(record.skeleton or "") if by_colour else None,
        config=config,
    )


def _fingerprint(clips: Sequence[Clip], records: Sequence[Record], config: CacheConfig) -> str:
    """Equal for the same work on files in the same state."""
    parts: list[Any] = [FORMAT, __version__, sorted(asdict(config).items())]
    if config.needs_people and config.poses is not None:
        parts.append(PoseStore(config.poses).sha256)
    made = hashlib.sha256(repr(parts).encode())
    for clip, record in zip(clips, records, strict=True):
        files = (clip.video, clip.skeleton)
        made.update(repr((clip.name, record.label, *map(_stamp, files), *files)).encode())
    return made.hexdigest()


def _stamp(path: str | None) -> tuple[int, int] | None:
    try:
        state = None if path is None else os.stat(path)
    except (OSError, ValueError):
        return None  # planning says what is wrong with it
    return None if state is None else (state.st_size, state.st_mtime_ns)


def _offsets(plan: Mapping[int, Planned]) -> tuple[dict[int, int], int]:
    """Where each clip starts in the file, and its size."""
    offsets, total = {}, 0
    for i in sorted(plan):
        offsets[i] = total
        total += plan[i].bytes
    return offsets, total


def listed(texts: Sequence[str]) -> str:
    """The first of many texts, in one line."""
    more = len(texts) - _LISTED
    return "; ".join(texts[:_LISTED]) + (f"; and {more} more" if more > 0 else "")


@contextmanager
def _shown(title: str | None, total: int) -> Iterator[Callable[[int, str], None]]:
    if title is None:
        yield lambda *_: None
        return
    with Progress(title, total) as progress:
        yield progress.update


def _start_worker() -> None:
    end_with_parent()
    cv2.setNumThreads(1)


def _plan_clip(clip: Clip) -> Planned | _Failure:
    try:
        return plan_clip(clip)
    except InputError as error:
        return _Failure(False, str(error))
    except MissingFileError as error:
        return _Failure(True, str(error))


def _decode_clip(job: _Job) -> dict[str, Any] | _Failure:
    """Decode one clip into the store's file."""
    try:
        frames, hidden = read_clip(job.clip, job.planned)
    except InputError as error:
        return _Failure(False, str(error))
    except MissingFileError as error:
        return _Failure(True, str(error))
    data = memoryview(np.ascontiguousarray(frames)).cast("B")
    with open(job.file, "r+b") as file:
        file.seek(job.offset)
        file.write(data)
    return {"hidden_frames": hidden, "sha256": hashlib.sha256(data).hexdigest()}
