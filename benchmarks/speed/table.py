"""One table for all speed programs: task, way, seconds, rate, ratio, floor, memory, goal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.speed.measure import Cells, Facts, Row, number

STRAIGHTFORWARD, OURS = "straightforward", "ours"
HEADERS = ("task", "way", "s", "rate", "times as good", "floor", "peak MB", "goal")
MISSED = "(missed)"
NO_FLOOR = "none measured"
_CEILINGS = ("torch.mm", "1x1 convolution")


@dataclass(frozen=True)
class Line:
    """One way of doing a task.

    Attributes:
        task: What is done.
        way: "straightforward" or "ours", and which where there are several.
        floor: Its share of what the machine can do, or why there is none.
        seconds: Of the whole where a program measures that, else of one unit.
        rate: Units per second.
        unit: Of ``rate``.
        ratio: How many times as good as the straightforward way, or as ``beside``.
        beside: The way that ``ratio`` and ``goal`` are of, where it is not the straightforward one.
        memory: Peak, in MB.
        goal: What is aimed at; says where it was missed.
    """

    task: str
    way: str
    floor: str
    seconds: float | None = None
    rate: float | None = None
    unit: str = ""
    ratio: float | None = None
    beside: str = ""
    memory: float | None = None
    goal: str = ""

    def cells(self) -> tuple[str, ...]:
        """As the table shows them."""
        beside = f" ({self.beside})" if self.beside else ""
        return (
            self.task,
            self.way,
            _shown(self.seconds),
            _shown(self.rate, f" {self.unit}"),
            _shown(self.ratio, beside),
            self.floor,
            _shown(self.memory),
            self.goal,
        )


def of_data(rows: Sequence[Row]) -> list[Line]:
    """Lines of ski-data's rows: a task's straightforward ways, then ours with its floors.

    A floor of a rate is another rate, so a share above 1 says that it is passed.
    """
    found: list[Line] = []
    order = sorted(rows, key=lambda row: [r.what for r in rows].index(row.what))
    for task, group in groupby(order, key=lambda row: row.what):
        found += _task(task, list(group))
    return found


def _task(task: str, rows: list[Row]) -> list[Line]:
    first = rows[0]
    if first.unit == "MB":
        goal = f"at most {number(first.floor_value)} MB"
        goal += "" if first.ratio >= 1 else f" {MISSED}"
        return [Line(task, OURS, "a limit, no floor", memory=first.value, goal=goal)]
    plain, floors = ([row for row in rows if row.plain is kind] for kind in (True, False))

    def shares(value: float) -> str:
        told = []
        for row in floors:
            up = value / row.floor_value
            told.append(f"{number(up if row.more_is_better else 1 / up)} of {row.floor}")
        return "; ".join(told)

    goals = [_goal(row) for row in rows if row.goal is not None]
    lines = [
        Line(
            task,
            f"{STRAIGHTFORWARD}: {row.floor}",
            shares(row.floor_value) or NO_FLOOR,
            *_speed(row.floor_value, row.unit),
            ratio=1.0,
        )
        for row in plain
    ]
    ours = Line(
        task,
        OURS,
        shares(first.value) or NO_FLOOR,
        *_speed(first.value, first.unit),
        ratio=plain[0].ratio if plain else None,
        goal="; ".join(goals),
    )
    return [*lines, ours]


def _speed(value: float, unit: str) -> tuple[float, float, str]:
    """Seconds of one unit, the rate, and its unit."""
    if unit == "ms":
        return value / 1e3, 1e3 / value, "1/s"
    return 1 / value, value, unit


def _goal(row: Row) -> str:
    text = f"{row.goal:g}" if row.plain else f"{row.goal:g} of {row.floor}"
    return text if row.goal is None or row.ratio >= row.goal else f"{text} {MISSED}"


def of_skeleton(rows: Iterable[Cells]) -> list[Line]:
    """Lines of the Hyperformer's rows."""
    return [
        Line(
            f"Hyperformer, {row['task']}",
            _way(str(row["way"])),
            _shares(row, _CEILINGS),
            seconds=float(row["ms"]) / 1e3,
            rate=float(row["clips/s"]),
            unit="clips/s",
            ratio=float(row["times as fast as plain"]),
            goal=str(row["goal"]),
        )
        for row in rows
    ]


def of_vlm(rows: Iterable[Cells], loader: Cells) -> list[Line]:
    """Lines of distillation, zero-shot evaluation and the loader."""
    lines = [
        Line(
            f"ViFi-CLIP, {row['task']}",
            str(row["way"]),
            _shares(row, _CEILINGS),
            seconds=float(row["s"]),
            rate=float(row["clips/s"]),
            unit="clips/s",
            ratio=float(row["times as fast"]),
            beside="" if row["as"] == STRAIGHTFORWARD else f"of {row['as']}",
            goal=str(row["goal"]),
        )
        for row in rows
    ]
    rate = float(loader["clips/s of one worker"])
    waiting = f"the loop waits {number(float(loader['% of the time waiting']))} % of its time"
    way = f"{OURS}, {loader['way']}"
    return [*lines, Line("loader", way, waiting, 1 / rate, rate, "clips/s of a worker")]


def of_lvlm(rows: Iterable[Cells]) -> list[Line]:
    """Lines of projector training and captions."""
    return [
        Line(
            f"language model, {row['task']}",
            str(row["way"]),
            _shares(row, ("the product",)),
            seconds=float(row["s"]),
            rate=float(row["tokens/s"]),
            unit="tokens/s",
            ratio=float(row["times as fast"]),
            memory=float(row["peak MB more"]) or None,
            goal=str(row["goal"]),
        )
        for row in rows
    ]


def _way(name: str) -> str:
    """The Hyperformer's names in this table's words."""
    if name == "plain":
        return STRAIGHTFORWARD
    return name if name.startswith(OURS) else f"{OURS}, {name}"


def _shares(row: Cells, ceilings: Iterable[str]) -> str:
    return "; ".join(f"{number(float(row[f'% of {name}']))} % of {name}" for name in ceilings)


def _shown(value: float | None, after: str = "") -> str:
    return "" if value is None else f"{number(value)}{after}"


def as_text(facts: Mapping[str, Facts], lines: Sequence[Line]) -> str:
    """Facts, one line per program, and the table as Markdown."""
    told = [
        f"- {program}: " + "; ".join(f"{key}: {value}" for key, value in known.items())
        for program, known in facts.items()
    ]
    rule = ("---", "---", "---:", "---:", "---:", "---", "---:", "---:")
    table = [HEADERS, rule, *(line.cells() for line in lines)]
    return "\n".join([*told, "", *("| " + " | ".join(cells) + " |" for cells in table)])
