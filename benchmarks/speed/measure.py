"""Timing, and a table in which every figure stands beside its floor.

Times are processor time, so that rates are those of one core that is not disturbed.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ski_data.errors import InputError


@dataclass(frozen=True)
class Row:
    """One figure and what it is compared with, measured in the same run.

    Attributes:
        what: Our figure, in words.
        value: It.
        unit: Of both figures.
        floor: What it is compared with, in words.
        floor_value: That one's figure.
        more_is_better: Whether larger figures are better, as for rates.
        goal: Least ratio that is aimed at, if any.
        plain: Whether it is compared with the straightforward way of doing the same, not with a
            floor.
    """

    what: str
    value: float
    unit: str
    floor: str
    floor_value: float
    more_is_better: bool = True
    goal: float | None = None
    plain: bool = False

    @property
    def ratio(self) -> float:
        """How many times as good as the floor."""
        ours, theirs = self.value, self.floor_value
        return ours / theirs if self.more_is_better else theirs / ours


Facts = dict[str, str | int | float]
"""What a figure hangs on, by name."""
Cells = dict[str, str | float]
"""A row of a table by its columns."""


def best(function: Callable[[], object], times: int = 9) -> float:
    """Least processor seconds, of all threads, of several calls; neighbours disturb them little."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return max(min(seconds), 1e-9)


def machine() -> Facts:
    """Where and when this was measured."""
    model = platform.processor() or platform.machine()
    if (table := Path("/proc/cpuinfo")).is_file():
        lines = table.read_text(encoding="utf-8").splitlines()
        named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        model = next(named, model)
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def as_table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| what | figure | beside | its figure | times as good | goal |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal:g}"
        if row.goal is not None and row.ratio < row.goal:
            goal += " (missed)"
        lines.append(
            f"| {row.what} | {number(row.value)} {row.unit} | {row.floor} | "
            f"{number(row.floor_value)} {row.unit} | {number(row.ratio)} | {goal} |"
        )
    return "\n".join(lines)


def as_json(rows: Iterable[Row]) -> str:
    """The rows and the machine as one JSON object."""
    plain = [asdict(row) | {"ratio": row.ratio} for row in rows]
    return json.dumps({"machine": machine(), "rows": plain}, indent=1)


def at_least_one(**counts: int) -> None:
    """Check numbers of a command line.

    Raises:
        InputError: one that is less than 1.
    """
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"--{name} must be at least 1, not {value}")


def print_tables(facts: Mapping[str, object], *tables: Sequence[Mapping[str, str | float]]) -> None:
    """Facts in one line, then Markdown tables whose first two columns are words."""
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    for rows in tables:
        print("| " + " | ".join(rows[0]) + " |")
        print("| --- | --- |" + " ---: |" * (len(rows[0]) - 2))
        for row in rows:
            cells = (v if isinstance(v, str) else number(v) for v in row.values())
            print("| " + " | ".join(cells) + " |")


def number(value: float) -> str:
    """Three digits, or whole thousands."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
