"""Long or live video, window by window: what goes on, from when to when.

A ring keeps the last T frames at the model's sampling rate; nothing else grows with the video's
length. Overlapping windows share frames: ViFi-CLIP, prompted or not, sees every frame alone, so
each frame goes through its image tower once. FROSTER's frames look at their neighbours in the
window and X-CLIP's at all of them: there a frame's features belong to one window, and every window
is computed whole.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ski_data.video.live import is_live, sampled_frames
from ski_data.video.sampling import test_indices
from ski_vlm.calibration import ScoreName, WindowRule, score_of
from ski_vlm.errors import ConfigError
from ski_vlm.predict import Recognizer, check_names
from ski_vlm.segments import Segment, Segmenter, Smoother, Smoothing
from ski_vlm.students import ViFiClip

MEASURED = 10_000
"""Last windows whose latency is kept."""
AHEAD = 4
"""Windows' worth of frames that may wait for the model."""


@dataclass(frozen=True)
class StreamConfig:
    """Windows of a stream, and when none of the classes is seen."""

    window: float = 3.0
    """Seconds that the model sees at once; about those of a clip in its training."""
    stride: float = 0.75
    """Seconds from window to window, rounded to whole frames of the model's sampling."""
    smoothing: Smoothing = "exponential"
    span: int = 3
    """Windows over which scores are smoothed."""
    score: ScoreName = "probability"
    """What is compared with ``threshold``."""
    threshold: float | None = None
    """Windows that score less show none of the classes; None rejects nothing."""

    def __post_init__(self) -> None:
        if not 0 < self.window < 3600:
            raise ConfigError(f"window must be above 0 and below 3600 seconds, got {self.window}")
        if not 0 < self.stride <= self.window:
            raise ConfigError(
                f"stride must be above 0 and at most the window's {self.window} s, got "
                f"{self.stride}"
            )
        if self.span < 1:
            raise ConfigError(f"span must be at least 1 window, got {self.span}")

    @property
    def windows(self) -> WindowRule:
        """How windows are cut and smoothed, which a calibration is made for."""
        return WindowRule(self.window, self.stride, self.smoothing, self.span)


@dataclass(frozen=True)
class StreamStats:
    """How a stream kept up."""

    seconds: float
    """Of video."""
    windows: int
    skipped: int
    """Windows that came while the model was busy with another."""
    dropped: int
    """Frames that a live source gave too fast to be kept."""
    p50: float
    """Median seconds from a window's last frame to its answer; of files, which are read ahead, from
    the beginning of its computation."""
    p95: float
    factor: float
    """Seconds of computing per second of video; above 1 is slower than the video."""

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.seconds:.1f} s of video, {self.windows} windows ({self.skipped} skipped, "
            f"{self.dropped} frames dropped); latency p50 {1000 * self.p50:.0f} ms, p95 "
            f"{1000 * self.p95:.0f} ms; real-time factor {self.factor:.2f}"
        )


class Feed:
    """Reads items ahead in a thread; at most ``capacity`` of them wait.

    Args:
        items: read in the thread.
        capacity: how many may wait.
        drop: whether the oldest goes when there are more (live), or reading pauses (files).
    """

    def __init__(self, items: Iterable[Any], capacity: int, *, drop: bool) -> None:
        self.capacity, self.drop, self.dropped = capacity, drop, 0
        self._items = items
        self._ready: deque[Any] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def reading(self) -> bool:
        """Whether the thread is at work, or waits for its source."""
        return self._thread.is_alive()

    def take(self) -> list[Any]:
        """All items that wait, at least one; none at the end.

        Raises:
            Exception: what reading ended with.
        """
        with self._changed:
            while not self._ready and not self._ended:
                self._changed.wait(0.5)  # a limit lets Ctrl-C through on every system
            taken = list(self._ready)
            self._ready.clear()
            self._changed.notify_all()
            if not taken and self._error is not None:
                raise self._error
        return taken

    def end(self) -> None:
        """Nothing more is wanted: what waits is given up. A signal's handler may call it."""
        self._ended = True

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(1.0)

    def _fill(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    while len(self._ready) >= self.capacity and not (self.drop or self._stopped):
                        self._changed.wait(0.5)
                    if self._stopped:
                        return
                    if len(self._ready) >= self.capacity:
                        self._ready.popleft()
                        self.dropped += 1
                    self._ready.append(item)
                    self._changed.notify_all()
        except Exception as error:  # given to who takes
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()


@dataclass
class _Held:
    """A frame in the ring; the features take the place of the pixels once they are known."""

    moment: float
    arrived: float
    pixels: np.ndarray | None
    features: Tensor | None = None


class Windows:
    """The ring of the last T sampled frames, and the model's answers about them.

    Args:
        recognizer: the model.
        names: class names.
        config: windows.
        cache: whether frames' features are kept from window to window; by default where the
            student allows it.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        names: Sequence[str],
        config: StreamConfig,
        *,
        cache: bool | None = None,
    ) -> None:
        self.recognizer, self.names = recognizer, list(names)
        self.length = recognizer.model.config.frames
        self.step = config.window / self.length
        self.stride = max(1, round(config.stride / self.step))
        allowed = isinstance(recognizer.model, ViFiClip)
        if cache and not allowed:
            raise ConfigError(
                f"{type(recognizer.model).__name__} computes frames together; they cannot be kept"
            )
        self.cache = allowed if cache is None else cache
        self.since = 0
        """Frames since the last answer."""
        self._answered = False
        self.ring: deque[_Held] = deque(maxlen=self.length)

    @property
    def rate(self) -> float:
        """Frames per second that are wanted."""
        return 1 / self.step

    @property
    def due(self) -> bool:
        """Whether a whole window, a stride on from the last, is there."""
        return len(self.ring) == self.length and (self.since >= self.stride or not self._answered)

    def add(self, moment: float, pixels: np.ndarray, arrived: float) -> bool:
        """Take a frame in; False if it does not follow the last one, which are then forgotten.

        Args:
            moment: seconds in the video, the middle of what the frame stands for.
            pixels: uint8 ``(H, W, 3)`` at the model's input size.
            arrived: when it came, by the clock of ``time.monotonic``.
        """
        follows = not self.ring or moment - self.ring[-1].moment < 1.5 * self.step
        if not follows:
            self.ring.clear()
            self.since, self._answered = 0, False
        self.ring.append(_Held(moment, arrived, pixels))
        self.since += 1
        return follows

    @property
    def span(self) -> tuple[float, float]:
        """First and last second of the ring."""
        half = self.step / 2
        return max(0.0, self.ring[0].moment - half), self.ring[-1].moment + half

    def cosines(self) -> np.ndarray:
        """Similarities ``(K,)`` of the ring's frames with the classes; fewer than T repeat."""
        self.since, self._answered = 0, True
        chosen = test_indices(len(self.ring), self.length)
        if not self.cache:
            clip = np.stack([self.ring[i].pixels for i in chosen])
            return self.recognizer.cosines(clip[None], self.names)[0]
        model = self.recognizer.model
        assert isinstance(model, ViFiClip)
        with torch.inference_mode():
            fresh = [held for held in self.ring if held.features is None]
            if fresh:
                pixels = torch.from_numpy(np.stack([held.pixels for held in fresh]))
                video = model.normalise(pixels[None].to(self.recognizer.device))
                for held, row in zip(fresh, model.frame_features(video)[0], strict=True):
                    held.features, held.pixels = row, None
            features = torch.stack([self.ring[i].features for i in chosen])
            text = self.recognizer.class_texts(self.names)
            cosines = model.pool_frames(features[None]) @ text.T
        return self.recognizer.checked(cosines)[0]


class Stream:
    """One run over a source.

    >>> stream = Stream(recognizer, ["sit down", "stand up"])  # doctest: +SKIP
    >>> for segment in stream.segments("rtsp://camera/1"):  # doctest: +SKIP
    ...     print(segment.start, segment.end, segment.label)
    """

    def __init__(
        self,
        recognizer: Recognizer,
        classes: Sequence[str],
        config: StreamConfig | None = None,
        *,
        cache: bool | None = None,
    ) -> None:
        self.names, self.config = check_names(classes), config or StreamConfig()
        if self.config.score == "margin" and len(self.names) < 2:
            raise ConfigError("a margin needs two classes; choose another score")
        self.recognizer = recognizer
        self.windows = Windows(recognizer, self.names, self.config, cache=cache)
        self._smoother = Smoother(self.config.smoothing, self.config.span)
        self._segmenter = Segmenter(self.windows.stride * self.windows.step)
        self._latencies: deque[float] = deque(maxlen=MEASURED)
        self._feed: Feed | None = None
        self._live = False
        self._stopped = False
        self._busy = self._seconds = 0.0
        self._count = self._skipped = 0

    def segments(self, source: str, *, timeout: float = 10.0) -> Iterator[Segment]:
        """Segments in order of time, each as soon as it is over.

        What is open when this ends by an error is given by :meth:`close`.

        Args:
            source: a file, a camera's number, or an address; see
                :func:`ski_data.video.live.sampled_frames`.
            timeout: seconds to wait for a camera or address.

        Raises:
            MissingFileError, VideoError: no such source, or the connection was lost.
            CheckpointError: the model's scores are not finite.
        """
        yield from self.run(self._frames(source, timeout), live=is_live(source))

    def run(
        self, frames: Iterable[tuple[float, np.ndarray, float]], *, live: bool
    ) -> Iterator[Segment]:
        """:meth:`segments` of sampled frames: moments, pixels at input size, times of arrival.

        Args:
            frames: as :meth:`Windows.add` takes them.
            live: whether windows that come while the model is busy are skipped.
        """
        for cosines in self._answers(frames, live):
            yield from self._decide(cosines)
        yield from self.close()

    def cosines(self, source: str) -> np.ndarray:
        """What windows over a file are decided by: smoothed similarities ``(windows, K)``.

        Raises:
            MissingFileError, VideoError: no such file, or it is no video.
            CheckpointError: the model's scores are not finite.
        """
        return np.stack(list(self._answers(self._frames(source, 10.0), live=False)))

    def stop(self) -> None:
        """End soon, as at the end of the video; a signal's handler may call it."""
        self._stopped = True
        if self._feed is not None:
            self._feed.end()

    @property
    def reading(self) -> bool:
        """Whether a source is still read from; one that gives nothing ends by its timeout."""
        return self._feed is not None and self._feed.reading

    def close(self) -> list[Segment]:
        """The segment that is open, as far as windows have seen it."""
        return self._segmenter.close()

    def _frames(self, source: str, timeout: float) -> Iterator[tuple[float, np.ndarray, float]]:
        fit = self.recognizer.fitted
        for moment, frame in sampled_frames(source, self.windows.rate, timeout=timeout):
            yield moment, fit(frame[None])[0], time.monotonic()

    def _answers(
        self, frames: Iterable[tuple[float, np.ndarray, float]], live: bool
    ) -> Iterator[np.ndarray]:
        """Smoothed cosines ``(K,)`` of window after window; the ring holds the one they are of."""
        windows, self._live = self.windows, live
        self._feed = feed = Feed(frames, AHEAD * windows.length, drop=live)
        try:
            while not self._stopped and (items := feed.take()):
                for moment, pixels, arrived in items:
                    if not windows.add(moment, pixels, arrived):
                        self._smoother.clear()
                    self._seconds = windows.span[1]
                    if windows.due and not live:
                        yield self._answer()
                    if self._stopped:
                        return
                if windows.due:
                    self._skipped += max(0, windows.since // windows.stride - 1)
                    yield self._answer()
            if windows.ring and windows.since and not self._stopped:  # what no window has seen
                yield self._answer()
        finally:
            feed.close()

    def _answer(self) -> np.ndarray:
        begin = time.monotonic()
        cosines = self._smoother.add(self.windows.cosines())
        now = time.monotonic()
        self._latencies.append(now - (self.windows.ring[-1].arrived if self._live else begin))
        self._busy += now - begin
        self._count += 1
        return cosines

    def _decide(self, cosines: np.ndarray) -> list[Segment]:
        scale, threshold = self.recognizer.scale, self.config.threshold
        score = float(score_of(cosines[None], scale, self.config.score)[0])
        known = threshold is None or score >= threshold
        label = self.names[int(cosines.argmax())] if known else None
        return self._segmenter.add(*self.windows.span, label, score)

    @property
    def stats(self) -> StreamStats:
        """How it kept up so far."""
        times = np.array(self._latencies or [0.0])
        return StreamStats(
            seconds=self._seconds,
            windows=self._count,
            skipped=self._skipped,
            dropped=0 if self._feed is None else self._feed.dropped,
            p50=float(np.percentile(times, 50)),
            p95=float(np.percentile(times, 95)),
            factor=self._busy / self._seconds if self._seconds else 0.0,
        )
