"""Tables of results: methods by columns, value and interval, chance, published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.results import ResultCard

UNDEFINED = "undefined"


@dataclass(frozen=True)
class Table:
    """Headers and rows of text, ready for Markdown or HTML, with notes to print below."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table as Markdown, notes as a list below it."""
        text = markdown_table(self.headers, self.rows)
        return text + "".join(f"\n- {note}" for note in self.notes) + ("\n" if self.notes else "")


def format_value(value: float | None, unit: str = "fraction") -> str:
    """Fractions as percent with one decimal, scores with four digits, None as "undefined"."""
    if value is None:
        return UNDEFINED
    return f"{100.0 * value:.1f}" if unit == "fraction" else f"{value:.4g}"


def format_interval(
    value: float | None, interval: Interval | None = None, unit: str = "fraction"
) -> str:
    """E.g. ``81.2 [78.0, 84.1]``: value and the ends of its interval."""
    text = format_value(value, unit)
    if value is None or interval is None:
        return text
    return f"{text} [{format_value(interval.low, unit)}, {format_value(interval.high, unit)}]"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; first column to the left, the others to the right.

    Raises:
        InputError: no headers, or a row with another number of cells.
    """
    if not headers:
        raise InputError("table: no headers")
    cells = [[_escaped(c) for c in row] for row in (headers, *rows)]
    for i, row in enumerate(cells):
        if len(row) != len(headers):
            raise InputError(f"table: row {i} has {len(row)} cells for {len(headers)} headers")
    widths = [max(3, *(len(row[c]) for row in cells)) for c in range(len(headers))]
    lines = [
        "| " + " | ".join(_padded(cell, widths[c], c) for c, cell in enumerate(row)) + " |"
        for row in cells
    ]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]) + "\n"


def accuracy_table(cards: Sequence[ResultCard]) -> Table:
    """Rows = methods, columns = what was measured, in the order of first appearance.

    A chance row stands first where all columns tell their number of classes for top-1 or macro
    accuracy, and each column with published figures is followed by theirs.

    Raises:
        InputError: no cards; two cards for one cell; cards of one column that were measured on
            different data, splits or numbers of classes and so must not be compared.
    """
    if not cards:
        raise InputError("table: no result cards")
    columns = _columns(cards)
    methods = list(dict.fromkeys(card.method for card in cards))
    shared = _shared_parts(list(columns))
    headers = ["Method"]
    chance = ["chance"]
    body: list[list[str]] = [[method] for method in methods]
    for key, column in columns.items():
        title = _title(key, shared)
        first = next(iter(column.values()))
        headers.append(title + (" %" if first.unit == "fraction" else ""))
        chance.append(_chance(first))
        for line, method in zip(body, methods, strict=True):
            card = column.get(method)
            line.append(
                "" if card is None else format_interval(card.value, card.interval, card.unit)
            )
        if any(card.paper_value is not None for card in column.values()):
            headers.append(f"{title}, published")
            chance.append("")
            for line, method in zip(body, methods, strict=True):
                line.append(_published(column.get(method)))
    rows = [chance, *body] if any(chance[1:]) else body
    return Table(tuple(headers), tuple(tuple(row) for row in rows), _notes(cards, shared))


def paper_table(
    cards: Sequence[ResultCard], tolerance: float | Mapping[str, float] = 0.01
) -> Table:
    """Published figures beside ours: difference, tolerance, and whether it is kept.

    Args:
        cards: those without a published figure or without a value are left out.
        tolerance: largest difference that counts as the same, in the cards' unit (0.01 is one
            point of percent); or one per card name.

    Raises:
        InputError: no card with both figures, a tolerance that is missing or negative.
    """
    rows = []
    for card in cards:
        if card.paper_value is None or card.value is None:
            continue
        allowed = tolerance.get(card.name) if isinstance(tolerance, Mapping) else tolerance
        if allowed is None or not allowed >= 0.0:
            raise InputError(f"paper table: tolerance of {card.name!r} is {allowed}; from 0 on")
        difference = card.value - card.paper_value
        kept = "yes" if abs(difference) <= allowed + 1e-12 else "no"
        shown = 100.0 * difference if card.unit == "fraction" else difference
        rows.append(
            (
                card.method,
                card.metric,
                format_value(card.paper_value, card.unit),
                format_interval(card.value, card.interval, card.unit),
                f"{shown:+.1f}" if card.unit == "fraction" else f"{shown:+.4g}",
                format_value(allowed, card.unit),
                kept if card.comparable_to_paper else "other data",
                ", ".join((card.dataset, card.split, card.protocol)),
            )
        )
    if not rows:
        raise InputError("paper table: no card has a published figure beside its own")
    headers = (
        "Method",
        "metric",
        "paper",
        "ours",
        "difference",
        "tolerance",
        "within tolerance",
        "measured on",
    )
    notes = ["Accuracies in percent, differences in points."]
    if any(row[-2] == "other data" for row in rows):
        notes.append("Where data or protocol are others than the paper's, no tolerance is judged.")
    return Table(headers, tuple(rows), tuple(notes))


_Key = tuple[str, str, str, str]


def _columns(cards: Sequence[ResultCard]) -> dict[_Key, dict[str, ResultCard]]:
    columns: dict[_Key, dict[str, ResultCard]] = {}
    for card in cards:
        column = columns.setdefault((card.dataset, card.split, card.protocol, card.metric), {})
        if card.method in column:
            raise InputError(
                f"table: cards {column[card.method].name!r} and {card.name!r} are for one cell "
                f"({card.method}, {card.metric}); keep one, or give the methods different names"
            )
        for other in column.values():
            for what in ("data_hash", "split_hash", "n_classes", "unit"):
                if getattr(other, what) != getattr(card, what):
                    raise InputError(
                        f"table: cards {other.name!r} and {card.name!r} differ in {what} and "
                        "cannot stand in one column; evaluate both on the same data and split"
                    )
        column[card.method] = card
    return columns


def _shared_parts(keys: Sequence[_Key]) -> list[str | None]:
    """Data set, split and protocol where they are the same in all columns, else None."""
    return [keys[0][i] if len({key[i] for key in keys}) == 1 else None for i in range(3)]


def _title(key: _Key, shared: Sequence[str | None]) -> str:
    return ", ".join([*(key[i] for i in range(3) if shared[i] is None), key[3]])


def _chance(card: ResultCard) -> str:
    told = card.metric in ("top-1", "mean class accuracy") and card.n_classes is not None
    return format_value(1.0 / card.n_classes) if told and card.n_classes else ""


def _published(card: ResultCard | None) -> str:
    if card is None or card.paper_value is None:
        return ""
    text = format_value(card.paper_value, card.unit)
    return text if card.comparable_to_paper else f"({text})"


def _notes(cards: Sequence[ResultCard], shared: Sequence[str | None]) -> tuple[str, ...]:
    notes: list[str] = []
    names = ("Data", "split", "protocol")
    common = [f"{name}: {part}" for name, part in zip(names, shared, strict=True) if part]
    if common:
        notes.append("; ".join(common) + ".")
    levels = {card.interval.level for card in cards if card.interval is not None}
    if len(levels) == 1:
        methods = sorted({card.interval.method for card in cards if card.interval is not None})
        notes.append(f"In brackets: {100 * levels.pop():.0f} % intervals ({'; '.join(methods)}).")
    if any(card.paper_value is not None and not card.comparable_to_paper for card in cards):
        notes.append("Published figures in parentheses are of other data or another protocol.")
    if all(card.paper_value is None and not card.comparable_to_paper for card in cards):
        notes.append("No published figures are given; do not compare with those of other data.")
    notes.extend(dict.fromkeys(note for card in cards for note in card.notes))
    return tuple(notes)


def _escaped(cell: object) -> str:
    return " ".join(str(cell).split()).replace("\\", "\\\\").replace("|", "\\|")


def _padded(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)
