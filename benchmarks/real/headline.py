"""Headline figures, each with its interval and beside chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ski_eval import Interval, format_interval, format_value, markdown_table

HEADERS = ("recordings", "protocol", "method", "% [95 % interval]", "over", "chance", "clips", "of")
WARNING = (
    "These sets are small: few classes, few people. Their figures never stand beside those of NTU "
    "RGB+D."
)


@dataclass(frozen=True)
class Headline:
    """One figure.

    Attributes:
        recordings: Which.
        protocol: Who and what trains and tests; the metric.
        method: What was measured.
        value: Fraction.
        interval: Its 95 % interval.
        over: What was drawn again for the interval.
        chance: What guessing reaches, as a fraction.
        clips: Test clips, where one number tells it.
        runs: Seeds or splits.
    """

    recordings: str
    protocol: str
    method: str
    value: float
    interval: Interval
    over: str
    chance: float
    clips: int | None
    runs: str

    def cells(self) -> tuple[str, ...]:
        """As the table shows them."""
        return (
            self.recordings,
            self.protocol,
            self.method,
            format_interval(self.value, self.interval),
            self.over,
            format_value(self.chance),
            "" if self.clips is None else str(self.clips),
            self.runs,
        )


@dataclass(frozen=True)
class Job:
    """A benchmark on one set of recordings.

    Attributes:
        part: Name in ``SOURCES``.
        title: What is run.
        total: Pieces of work.
        unit: What a piece is.
        cost: What a piece takes, as measured.
        lacks: What is missing, and how to get it; with anything here it is not run.
        done: Counts finished pieces.
        run: Does what is not done.
        headlines: Figures of what is done.
    """

    part: str
    title: str
    total: int
    unit: str
    cost: str
    lacks: tuple[str, ...]
    done: Callable[[], int]
    run: Callable[[], object]
    headlines: Callable[[], list[Headline]]

    @property
    def finished(self) -> bool:
        """Whether all pieces are done."""
        return self.done() >= self.total > 0

    def plan(self) -> str:
        """One line."""
        state = f"{self.done()} of {self.total} {self.unit} done"
        if self.finished:
            return f"{self.title}: {state}"
        if self.lacks:
            return f"{self.title}: {state}; cannot run, see below"
        return f"{self.title}: {state}; {self.cost}"


def as_table(found: Sequence[Headline]) -> str:
    """Markdown, with the warning below."""
    return f"{markdown_table(HEADERS, [one.cells() for one in found])}\n{WARNING}\n"
