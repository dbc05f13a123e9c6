"""The report of a folder of runs: every table with the paper's value, ours, and the difference."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.bench.cells import Cell, Figure, done_results, figure
from benchmarks.bench.jobs import finished, ordered, write_text
from benchmarks.bench.mistakes import add_mistakes
from benchmarks.bench.paper import ORDER, Column, PaperTable, Row, heading, read_table
from benchmarks.bench.plan import job_seconds
from benchmarks.bench.requests import all_cells, requests_of
from ski_data.progress import seconds
from ski_eval import Interval, Report, Table, format_interval, sweep_figure

SCORES = ("CIDEr-D",)
"""Columns that begin so hold no shares, and are shown as they are."""
WIDTH = 1600
"""Of pictures in the page, in pixels."""
NOT_TRANSCRIBED, NOT_PUBLISHED = "not transcribed", "not in the paper"
NOT_COMPARABLE = (
    "These are figures of **{}**, not of the paper's data: they are **not comparable** with the "
    "published ones, so no difference is given."
)
TITLE = "The paper's tables"
TIMES = "Of the jobs of each table, each from its last start; what tables share counts in each."
INTERVALS = "in brackets: 95 % intervals ({}); they do not tell how other seeds would come out"


@dataclass(frozen=True)
class Section:
    """One table on one kind of data."""

    table: PaperTable
    dataset: str
    """``published`` for the paper's own data."""
    text: str
    content: Table
    pictures: tuple[tuple[str, Path], ...] = ()
    """Titles and PNG files."""
    curve: str | None = None
    """SVG of a sweep."""


class Reader:
    """Figures of cells, each read once."""

    def __init__(self, cells: Sequence[Cell], runs: Path) -> None:
        self.runs = runs
        self.cells = {(cell.table, cell.row, cell.dataset, cell.column): cell for cell in cells}
        self._read: dict[tuple[str, str, str, str], Figure | None] = {}

    def cell(self, table: str, row: str, dataset: str, column: str) -> Cell | None:
        """One cell, if it was asked for."""
        return self.cells.get((table, row, dataset, column))

    def columns(self, table: str, dataset: str) -> list[str]:
        """Columns of a table on a data set."""
        own = [cell for cell in self.cells.values() if cell.dataset == dataset]
        return list(dict.fromkeys(cell.column for cell in own if cell.table == table))

    def figure(self, cell: Cell) -> Figure | None:
        """Its figure, if a seed of it is done."""
        key = (cell.table, cell.row, cell.dataset, cell.column)
        if key not in self._read:
            self._read[key] = figure(cell, self.runs)
        return self._read[key]

    def methods(self, table: str) -> list[str]:
        """How the intervals of a table were made."""
        found = [figure for key, figure in self._read.items() if key[0] == table]
        return sorted({one.interval.method for one in found if one and one.interval})

    def text(self, cell: Cell | None) -> str:
        """Its figure with its interval, or why there is none."""
        if cell is None:
            return "not asked for"
        if cell.missing:
            return "lacks data or weights"
        if not cell.results:
            return "no counterpart"
        found = self.figure(cell)
        done = len(done_results(cell, self.runs))
        if found is None:
            return "pictures" if done else "not finished"
        text = format_interval(found.value, found.interval, unit_of(cell))
        if done < len(cell.results):
            text += f" ({done} of {len(cell.results)} seeds)"
        return text


def shown(row: Row, value: float | None) -> str:
    """A published value with one or two decimals, or why there is none."""
    if value is not None:
        text = f"{value:.2f}"
        return text.removesuffix("0")
    return NOT_TRANSCRIBED if row.values is not None else NOT_PUBLISHED


def unit_of(cell: Cell) -> str:
    """How its figure is shown: fractions as percent."""
    return "score" if cell.column.startswith(SCORES) else "fraction"


def sections(cells: Sequence[Cell], runs: Path, asked: Collection[str] = ()) -> Iterator[Section]:
    """All tables that have cells, on each kind of data, and those of ``asked`` that are not run."""
    reader = Reader(cells, runs)
    for name in ORDER:
        table = read_table(name)
        own = [cell for cell in cells if cell.table == name]
        if any(cell.published for cell in own):
            yield _published(table, reader)
        if name in asked and not any(row.method for row in table.rows):
            yield _values(table)
        for dataset in dict.fromkeys(cell.dataset for cell in own if not cell.published):
            yield _elsewhere(table, dataset, reader)


def _values(table: PaperTable) -> Section:
    """Published values with their sources, of a table that is not run."""
    headers = ("", *(column.title for column in table.columns), "source")
    lines = []
    for row in table.rows:
        told = [shown(row, (row.values or {}).get(column.id)) for column in table.columns]
        lines.append((row.title, *told, str(row.source)))
    text = f"{table.metric}; published values, not run."
    return Section(table, "published", text, Table(headers, tuple(lines), table.notes))


def _published(table: PaperTable, reader: Reader) -> Section:
    """The paper's value, ours and the difference, on the paper's data."""
    headers = [""]
    for column in table.columns:
        headers += [f"{column.title}, published", "ours", f"difference (± {table.tolerance:g})"]
    lines, pictures, missing = [], [], []
    for row in table.rows:
        line = [row.title]
        for column in table.columns:
            cell = reader.cell(table.id, row.id, column.dataset, column.title)
            value = (row.values or {}).get(column.id)
            line += _compared(row, cell, value, reader, table.tolerance)
            missing += _lacking(row, cell)
            pictures += _pictures(row, cell, reader)
        lines.append(tuple(line))
    notes = [
        *_row_notes(table),
        *table.notes,
        *dict.fromkeys(missing),
        *_interval_note(table, reader),
    ]
    text = f"Source: {table.source}; {table.metric}. {_page(table)}"
    curve = _curve(table, "published", reader)
    content = Table(tuple(headers), tuple(lines), tuple(notes))
    return Section(table, "published", text, content, tuple(pictures), curve)


def _compared(
    row: Row, cell: Cell | None, value: float | None, reader: Reader, tolerance: float
) -> list[str]:
    """The paper's value, ours, and ours minus the paper's: within the tolerance or not."""
    told = shown(row, value)
    if row.method is None:
        return [told, "published, not run", ""]
    found = None if cell is None or not cell.results else reader.figure(cell)
    if value is None or found is None:
        return [told, reader.text(cell), ""]
    gap = 100 * found.value - value
    verdict = "within" if abs(gap) <= tolerance + 1e-9 else "outside"
    return [told, reader.text(cell), f"{gap:+.1f}, {verdict}"]


def _elsewhere(table: PaperTable, dataset: str, reader: Reader) -> Section:
    """Ours on other data than the paper's; published values apart, without a difference."""
    columns = reader.columns(table.id, dataset)
    published = [column for column in table.columns if _at_hand(table, column)]
    lines, pictures, missing = [], [], []
    chance, spread = set(), False
    for row in table.rows:
        cells = [reader.cell(table.id, row.id, dataset, column) for column in columns]
        if not any(cells):
            continue
        line, found = [row.title], None
        for cell in cells:
            found = None if cell is None or not cell.results else reader.figure(cell)
            text, sd = reader.text(cell), None if found is None else found.sd
            spread |= sd is not None
            line.append(text if sd is None else f"{text}, sd {100 * sd:.1f}")
            if found is not None and found.chance is not None:
                chance.add(f"chance is {100 * found.chance:.1f} %, {found.n} clips")
            missing += _lacking(row, cell)
            pictures += _pictures(row, cell, reader)
        line.append("" if found is None else str(found.seeds))
        line += [f"({shown(row, (row.values or {}).get(column.id))})" for column in published]
        lines.append(tuple(line))
    headers = [
        "",
        *(name if name.startswith(SCORES) else f"{name}, %" for name in columns),
        "seeds",
    ]
    headers += [f"(published, {column.title})" for column in published]
    notes = [*sorted(chance), *table.notes, *dict.fromkeys(missing), *_interval_note(table, reader)]
    notes += ["sd: standard deviation over seeds"] if spread else []
    content = Table(tuple(headers), tuple(lines), tuple(notes))
    text = NOT_COMPARABLE.format(dataset)
    curve = _curve(table, dataset, reader)
    return Section(table, dataset, text, content, tuple(pictures), curve)


def _at_hand(table: PaperTable, column: Column) -> bool:
    """Whether any published value of the column is known."""
    return any((row.values or {}).get(column.id) is not None for row in table.rows)


def _page(table: PaperTable) -> str:
    return "" if table.page is None else f"Page {table.page}."


def _row_notes(table: PaperTable) -> list[str]:
    found = [f"{row.title}: values from {row.source}" for row in table.rows if row.source]
    return found + [f"{row.title}: {row.note}" for row in table.rows if row.note]


def _interval_note(table: PaperTable, reader: Reader) -> list[str]:
    methods = reader.methods(table.id)
    return [INTERVALS.format("; ".join(methods))] if methods else []


def _lacking(row: Row, cell: Cell | None) -> list[str]:
    if cell is None or not cell.missing:
        return []
    return [f"{row.title} lacks: {text}" for text in cell.missing]


def _pictures(row: Row, cell: Cell | None, reader: Reader) -> list[tuple[str, Path]]:
    if cell is None:
        return []
    return [
        (f"{row.title}: {path.parent.name}", path)
        for result in done_results(cell, reader.runs)
        if result.kind == "pictures"
        for path in result.paths(reader.runs)
    ]


def _curve(table: PaperTable, dataset: str, reader: Reader) -> str | None:
    """The sweep of Figure 5 as SVG; None for other tables, or with less than two points."""
    if table.id != "figure5":
        return None
    lines: dict[str, list[tuple[float, float, Interval | None]]] = {}
    chance = None
    for row in table.rows:
        for cell in reader.cells.values():
            if (cell.table, cell.row) != (table.id, row.id) or not cell.results:
                continue
            if (dataset == "published") != bool(cell.published):
                continue
            if dataset not in ("published", cell.dataset):
                continue
            found = reader.figure(cell)
            if found is not None:
                alpha = float(row.id.removeprefix("alpha-"))
                lines.setdefault(cell.column, []).append((alpha, found.value, found.interval))
                chance = found.chance
    drawn = {name: points for name, points in lines.items() if len(points) > 1}
    if not drawn:
        return None
    return sweep_figure(drawn, "alpha", chance=chance if len(drawn) == 1 else None).decode()


def write_report(runs: Path) -> str:
    """Write report.md, report.html and the sweeps' SVG files; gives the Markdown.

    Raises:
        MissingFileError: nothing was asked of the folder.
    """
    requests = requests_of(runs)
    cells = all_cells(requests)
    asked = {name for request in requests for name in request.tables}
    found = list(sections(cells, runs, asked))
    text = markdown(found, cells, runs)
    write_text(runs / "report.md", text)
    for section in found:
        if section.curve is not None:
            name = section.dataset.replace(", ", "-")
            write_text(runs / f"{section.table.id}-{name}.svg", section.curve)
    page(found, cells, runs).write(runs / "report.html", overwrite=True)
    return text


def title_of(section: Section) -> str:
    """Heading of a section."""
    where = "" if section.dataset == "published" else f", {section.dataset}"
    return f"{heading(section.table.id)}{where}: {section.table.title}"


def markdown(found: Sequence[Section], cells: Sequence[Cell], runs: Path) -> str:
    """The whole report as Markdown."""
    parts = [f"# {TITLE}", _summary(cells, runs)]
    for section in found:
        parts.append(f"## {title_of(section)}\n\n{section.text}")
        parts.append(section.content.markdown())
        listed = [f"- {title}: `{path.relative_to(runs)}`" for title, path in section.pictures]
        parts += ["\n".join(listed)] if listed else []
    times = _times(cells, runs)
    if times.rows:
        parts += ["## Time", TIMES, times.markdown()]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def page(found: Sequence[Section], cells: Sequence[Cell], runs: Path) -> Report:
    """The whole report as one HTML page."""
    report = Report(TITLE, _summary(cells, runs))
    others = sorted({section.dataset for section in found} - {"published"})
    if others:
        report.add_warning(NOT_COMPARABLE.format(" and ".join(others)))
    for section in found:
        report.add_text(title_of(section), section.text)
        table = section.content
        report.add_table(section.table.metric, table.headers, table.rows)
        report.add_text("", "\n".join(f"- {note}" for note in table.notes))
        if section.pictures:
            report.add_gallery(
                "Frames of clips of unseen classes, and below them what speaks for the class",
                [
                    (_smaller(path), title, f"Relevance maps, {title}")
                    for title, path in section.pictures
                ],
            )
        if section.curve is not None:
            report.add_figure(
                "Accuracy by the weight of the distance", section.curve.encode(), _spoken(section)
            )
    add_mistakes(report, cells, runs)
    times = _times(cells, runs)
    if times.rows:
        report.add_text("Time", TIMES)
        report.add_table("Time by table", times.headers, times.rows)
    return report


def _smaller(path: Path) -> bytes:
    """A picture as a JPEG of at most :data:`WIDTH` pixels: the page is one file."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((WIDTH, WIDTH))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=88)
    return content.getvalue()


def _spoken(section: Section) -> str:
    rows = "; ".join(", ".join(cell for cell in row[:2] if cell) for row in section.content.rows)
    return f"A curve over the weight alpha: {rows}."


def _summary(cells: Sequence[Cell], runs: Path) -> str:
    jobs = ordered(result.job for cell in cells for result in cell.results)
    done = [job for job in jobs if finished(job, runs)]
    took = sum(job_seconds(job, runs) for job in done)
    rows = {(cell.table, cell.row) for cell in cells if cell.counterpart}
    return (
        f"{len(rows)} rows were asked for; {len(done)} of {len(jobs)} jobs are done, which took "
        f"{seconds(took)} in all. Values that are not at hand stand as {NOT_TRANSCRIBED}."
    )


def _times(cells: Sequence[Cell], runs: Path) -> Table:
    """Time of each table's jobs; what tables share counts in each."""
    rows = []
    for name in ORDER:
        own = [cell for cell in cells if cell.table == name]
        jobs = ordered(result.job for cell in own for result in cell.results)
        done = [job for job in jobs if finished(job, runs)]
        if jobs:
            took = seconds(sum(job_seconds(job, runs) for job in done))
            rows.append((name, f"{len(done)} of {len(jobs)}", took))
    return Table(("table", "jobs done", "time"), tuple(rows), ())
