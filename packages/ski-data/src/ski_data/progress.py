"""Progress with time left: a bar on a terminal, plain lines otherwise, always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PLAIN_SECONDS = 10.0
"""Least time between two plain lines."""


class Progress:
    """Counts ``done`` of ``total`` units of one piece of work.

    >>> with Progress("decode", total=3) as progress:
    ...     progress.update(3, "last clip")
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, max(1, total)
        self._console = Console(stderr=True)
        self._start = self._last = time.monotonic()
        self._bar: Bar | None = None
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(title, total=self.total, text="")

    def update(self, done: int, text: str = "") -> None:
        """Say that ``done`` units are done; ``text`` is shown behind the numbers."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=text)
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS:
            self._last = now
            left = (now - self._start) / max(done, 1) * (self.total - done)
            print(
                f"{self.title}: {done}/{self.total}, {seconds(left)} left {text}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    def report(self, done: int, total: int, text: str = "") -> None:
        """:meth:`update` for work that says only on the way how much there is."""
        self.total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)
        self.update(done, text)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            took = seconds(time.monotonic() - self._start)
            print(f"{self.title}: done, {took}", file=sys.stderr, flush=True)


def seconds(value: float) -> str:
    """``75.2`` as ``1 min 15 s``, ``7.31`` as ``7.3 s``."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
