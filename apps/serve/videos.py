"""Uploads as frames: read by processes of their own, which hostile files may end or block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from apps.serve.errors import TYPED, BadInputError, TooLargeError, of_package
from apps.serve.settings import Settings
from ski_data.video.guarded import GuardedReader
from ski_data.video.probe import VideoInfo
from ski_data.video.sampling import test_indices

T = TypeVar("T")
_FPS = 25.0  # where a file does not tell
_AT_ONCE = 16  # frames in memory at their full size


class Readers:
    """Processes that read videos, each fed by a thread of this one.

    Args:
        settings: how many, and the limits of videos.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._own = threading.local()
        self._readers: list[GuardedReader] = []
        self._pool = ThreadPoolExecutor(
            settings.workers, thread_name_prefix="read", initializer=self._start
        )

    def submit(self, read: Callable[[Reading], T], video: Path) -> Future[T]:
        """What ``read`` makes of a video that is within the limits.

        The future's errors are those of :mod:`apps.serve.errors`.
        """
        return self._pool.submit(self._read, read, video)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def _start(self) -> None:
        self._own.reader = GuardedReader(timeout=min(30.0, self.settings.timeout))
        self._readers.append(self._own.reader)

    def _read(self, read: Callable[[Reading], T], video: Path) -> T:
        reader = self._own.reader
        try:
            info = reader.probe(video)
            check_limits(info, self.settings)
            return read(Reading(reader, video, info))
        except TYPED as error:
            told = of_package(error, video)
            told.allowed = "a whole video file, such as mp4, webm, mkv, mov or avi"
            raise told from None


@dataclass(frozen=True)
class Reading:
    """A video that can be read."""

    reader: GuardedReader
    path: Path
    info: VideoInfo

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return self.info.fps or _FPS

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.info.frames / self.fps

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Chosen frames, uint8 ``(T, H, W, 3)``."""
        return self.reader.read_frames(self.path, indices)

    def fitted(
        self, indices: Sequence[int] | np.ndarray, fit: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Chosen frames, each changed by ``fit``; few are held at their full size."""
        parts = range(0, len(indices), _AT_ONCE)
        return np.concatenate([fit(self.frames(indices[i : i + _AT_ONCE])) for i in parts])


def check_limits(info: VideoInfo, settings: Settings) -> None:
    """See that a video is not too long or too large.

    Raises:
        TooLargeError: it is.
    """
    seconds = info.frames / (info.fps or _FPS)
    if seconds > settings.max_seconds:
        raise TooLargeError(
            f"the video is {seconds:.1f} s long", f"at most {settings.max_seconds:g} s; cut it"
        )
    if info.width * info.height > settings.max_pixels:
        raise TooLargeError(
            f"the video's pictures have {info.width} x {info.height} pixels",
            f"at most {settings.max_pixels} pixels; make it smaller",
        )


def spans(reading: Reading, window: float, most: int) -> list[tuple[int, int]]:
    """First frame and frame behind the last of each window, one after the other, at least 1 frame.

    Raises:
        TooLargeError: more than ``most`` windows.
    """
    step = max(1.0, window * reading.fps)
    count = int(np.ceil(reading.info.frames / step - 1e-9))
    if count > most:
        least = reading.duration / most
        raise TooLargeError(
            f"{count} windows of {window:g} s are asked for",
            f"at most {most}: windows of {least:.3g} s or more",
        )
    borders = [min(round(i * step), reading.info.frames) for i in range(count + 1)]
    borders[-1] = reading.info.frames
    return [(a, b) for a, b in pairwise(borders) if b > a]


def inside(span: tuple[int, int], length: int) -> np.ndarray:
    """T frames spread over a window: int64 ``(T,)``."""
    return span[0] + test_indices(span[1] - span[0], length)


def need(video: Path | None) -> Path:
    """The upload.

    Raises:
        BadInputError: there is none, or an empty one.
    """
    if video is None or not video.stat().st_size:
        raise BadInputError("the video is empty (0 bytes)", "a whole video file")
    return video
