"""From answers to overlapping windows of a long video to segments in time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ski_vlm.errors import ConfigError

Smoothing = Literal["none", "exponential", "median"]
_TOUCH = 1e-6  # seconds


@dataclass(frozen=True)
class Segment:
    """A stretch of a video in which one class goes on."""

    start: float
    """Seconds from the first frame."""
    end: float
    label: str
    score: float
    """Mean score of its windows."""


class Smoother:
    """Windows' cosines with classes, steadied by those before.

    Cosines, not decisions, are smoothed, so that every score that follows from them is.

    Args:
        how: ``exponential`` gives the newest window the weight 2 / (span + 1), the rest to what
            went before; ``median`` takes that of the last ``span`` windows, class by class.
        span: windows.
    """

    def __init__(self, how: Smoothing, span: int) -> None:
        if span < 1:
            raise ConfigError(f"smoothing goes over at least 1 window, got {span}")
        self.how, self.span = how, span
        self._last: deque[np.ndarray] = deque(maxlen=span if how == "median" else 1)

    def add(self, cosines: np.ndarray) -> np.ndarray:
        """Cosines ``(K,)`` of the next window to smoothed ones."""
        if self.how == "exponential" and self._last:
            share = 2 / (self.span + 1)
            cosines = share * cosines + (1 - share) * self._last[-1]
        self._last.append(cosines)
        return np.median(self._last, axis=0) if self.how == "median" else cosines

    def clear(self) -> None:
        """Forget what went before, at a break in the video."""
        self._last.clear()


class Segmenter:
    """Joins windows of the same class; a segment is given out as soon as it is over.

    Windows overlap: each decides from where the one before ended to its own middle plus half a
    stride, so that segments meet and never overlap. The first decides from its start, the last to
    its end.

    Args:
        stride: seconds between windows.
    """

    def __init__(self, stride: float) -> None:
        self.stride = stride
        self._label: str | None = None
        self._start = self._end = self._last = 0.0
        self._mean, self._count = 0.0, 0
        self._any = False

    def add(self, start: float, end: float, label: str | None, score: float) -> list[Segment]:
        """Take in a window, in order of time; gives the segments that are over by it.

        Args:
            start: of the window, in seconds.
            end: of the window.
            label: its class; None for none of them.
            score: of that class.
        """
        over: list[Segment] = []
        if self._any and start > self._last + _TOUCH:  # a break in the video
            over = self.close()
        begin = self._end if self._any else start
        if label != self._label:
            over += self._finish()
            self._label, self._start, self._mean, self._count = label, begin, 0.0, 0
        self._any = True
        self._end = max(begin, (start + end + self.stride) / 2)
        self._last = end
        self._count += 1
        self._mean += (score - self._mean) / self._count
        return over

    def close(self) -> list[Segment]:
        """The video ends or breaks off: what is open reaches to the end of the last window."""
        self._end = self._last
        over = self._finish()
        self._any, self._label = False, None
        return over

    def _finish(self) -> list[Segment]:
        if not self._any or self._label is None or self._end <= self._start:
            return []
        return [Segment(self._start, self._end, self._label, self._mean)]
