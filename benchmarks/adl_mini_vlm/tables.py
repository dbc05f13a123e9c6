"""Tables of the rows that are done: means over seeds, intervals, and paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.adl_mini_vlm.rows import ALPHA, FUSIONS, SWEEP, Bench, seeds_of
from benchmarks.adl_mini_vlm.runs import PROTOCOLS, known, read_predictions, seed_folder
from ski_data.errors import InputError
from ski_eval import (
    PairedDifference,
    Table,
    bootstrap_interval,
    format_interval,
    holm,
    paired_difference,
    seeds_summary,
)
from ski_vlm.evaluation import PEOPLE, SKELETON, UNSEEN, VIDEO
from ski_vlm.recipe import VideoRecipe

DRAWS = 10_000
TITLES = {UNSEEN: "unseen classes", PEOPLE: "seen classes, unseen people"}
START, END = "<!-- tables: begin -->", "<!-- tables: end -->"


@dataclass(frozen=True)
class Line:
    """A line of a table: one answer of one row, against one answer of another."""

    title: str
    row: str
    answer: str = VIDEO
    control: str | None = "control"
    """Row whose student answers the same clips from video; None where there is nothing to test."""


@dataclass(frozen=True)
class Question:
    """A table: what it asks, and its lines."""

    title: str
    lines: tuple[Line, ...]
    seeds: tuple[int, ...] | None = None
    """Seeds that it takes of each row; by default all that are done."""


TRAINED_ON = "ViFi-CLIP, trained on without skeletons (control)"
FROM_CLIP = "control-from-clip"
QUESTIONS = (
    Question(
        "How skeletons come in (the paper's Table 1)",
        (
            Line("CLIP, zero-shot", "clip"),
            Line("ViFi-CLIP as the main job leaves it", "vificlip"),
            Line(TRAINED_ON, "control", control=None),
            Line("SkeletonCLIP (skeleton at test)", "late-fusion", SKELETON),
            Line("tri-modal alignment (skeleton at test)", "tri-modal", SKELETON),
            Line("tri-modal alignment, by video", "tri-modal"),
            Line("cross-projection (skeleton at test)", "cross-projection", SKELETON),
            Line("late fusion (a), sum of logits (both at test)", "late-fusion", FUSIONS[0]),
            Line("late fusion (b), mean of softmaxes (both at test)", "late-fusion", FUSIONS[1]),
            Line("late fusion (c), trained layer (both at test)", "late-fusion", FUSIONS[2]),
            Line("SCD", "scd"),
        ),
    ),
    Question(
        "Students without and with SCD",
        (
            Line("ViFi-CLIP, convolutional tower", "control", control=None),
            Line("SKI-ViFi-CLIP, convolutional tower", "scd"),
            Line("CLIP, zero-shot, small transformer", "vit-clip", control=None),
            Line("ViFi-CLIP, small transformer", "vit-vificlip", control=None),
            Line("SKI-ViFi-CLIP, small transformer", "vit-ski-vificlip", control="vit-vificlip"),
            Line("X-CLIP, small transformer", "vit-xclip", control=None),
            Line("SKI-X-CLIP, small transformer", "vit-ski-xclip", control="vit-xclip"),
            Line("FROSTER, small transformer", "vit-froster", control=None),
            Line("SKI-FROSTER, small transformer", "vit-ski-froster", control="vit-froster"),
        ),
    ),
    Question(
        "What is distilled, and who learns",
        (
            Line(TRAINED_ON, "control", control=None),
            Line("features, without projection", "feature"),
            Line("features, with projection", "feature-projected"),
            Line("logits, offline", "offline"),
            Line("logits, online (SCD)", "scd"),
        ),
    ),
    Question(
        "The distance of the logits",
        (
            Line(TRAINED_ON, "control", control=None),
            Line("mean squared error, cosines (SCD)", "scd"),
            Line("mean squared error, logits as released", "scd-released"),
            Line("KL divergence", "scd-kl"),
            Line("contrastive", "scd-contrastive"),
        ),
    ),
    Question(
        "SkeletonCLIP's text tower in SCD",
        (
            Line(TRAINED_ON, "control", control=None),
            Line("frozen (SCD)", "scd"),
            Line("trained", "scd-trained-text"),
        ),
    ),
    Question(
        "Pretraining before SCD: video side (fine-tuned on seen classes), skeleton side",
        (
            Line("control, video side pretrained", "control", control=None),
            Line("SCD, both pretrained", "scd"),
            Line("SCD, video side alone", "scd-no-skeleton-pretraining"),
            Line("control, video side not pretrained", FROM_CLIP, control=None),
            Line(
                "SCD, skeleton side alone", "scd-no-video-pretraining", VIDEO, "control-from-clip"
            ),
            Line("SCD, neither", "scd-no-pretraining", VIDEO, "control-from-clip"),
        ),
    ),
    Question(
        "The weight alpha of the distance (the paper's Figure 5; one seed)",
        (
            Line("no skeletons (control)", "control", control=None),
            *(
                Line(f"alpha = {a:g}", "scd" if a == ALPHA else f"alpha-{a:g}")
                for a in sorted((*SWEEP, ALPHA))
            ),
        ),
        seeds=(0,),
    ),
)


class Results:
    """Predictions of the rows and seeds that are done.

    Args:
        bench: where they are.
        recipes: of all rows.
        seeds: that every row should have.

    Raises:
        RunError: a record of other settings.
    """

    def __init__(self, bench: Bench, recipes: Mapping[str, VideoRecipe], seeds: int) -> None:
        self.bench, self.recipes = bench, recipes
        self.wanted = {row: seeds_of(row, recipe, seeds) for row, recipe in recipes.items()}
        self.done = {
            row: tuple(s for s in wanted if known(bench, row, recipes[row], s))
            for row, wanted in self.wanted.items()
        }

    def hits(self, row: str, answer: str, protocol: str, seeds: tuple[int, ...]) -> NDArray:
        """Whether each clip is named rightly, bool ``(seeds, N)``."""
        found = [
            read_predictions(seed_folder(self.bench, row, seed), answer, protocol) for seed in seeds
        ]
        return np.array([p.predicted == p.labels for p in found])

    def performances(self, row: str, answer: str, protocol: str, seed: int) -> list[str]:
        """What each clip shows, whichever camera saw it: the views are not independent."""
        folder = seed_folder(self.bench, row, seed)
        return [name[:4] + name[8:] for name in read_predictions(folder, answer, protocol).names]

    def unfinished(self) -> list[str]:
        """Rows and seeds without a record, in words."""
        missing = {
            row: [s for s in wanted if s not in self.done[row]]
            for row, wanted in self.wanted.items()
        }
        return [f"{row} (seeds {seeds})" for row, seeds in missing.items() if seeds]


def markdown(results: Results) -> str:
    """All tables, and the names of what is not done."""
    parts = []
    for question in QUESTIONS:
        table = table_of(results, question)
        text = table.markdown() if table.rows else "No row is done.\n"
        parts.append(f"### {question.title}\n\n{text}")
    missing = results.unfinished()
    last = "All rows are finished."
    if missing:
        last = f"Not finished, and not counted in Holm's adjustment: {'; '.join(missing)}."
    return "\n".join([*parts, last])


def table_of(results: Results, question: Question) -> Table:
    """One line per finished answer; the p values of a column are adjusted together."""
    lines = [line for line in question.lines if _seeds(results, question, line.row)]
    columns = [_column(results, question, lines, protocol) for protocol in PROTOCOLS]
    headers = ["", "seeds"]
    for protocol in PROTOCOLS:
        headers += [f"{TITLES[protocol]}, top-1 %", "sd", "minus control", "p (Holm)"]
    rows = []
    for number, line in enumerate(lines):
        seeds = len(_seeds(results, question, line.row))
        cells = [cell for column in columns for cell in column[number]]
        rows.append((line.title, str(seeds), *cells))
    missing = [line.title for line in question.lines if line not in lines]
    notes = (f"not finished, so not here: {', '.join(missing)}",) if missing else ()
    return Table(tuple(headers), tuple(rows), notes)


def _seeds(results: Results, question: Question, row: str) -> tuple[int, ...]:
    done = results.done[row]
    return done if question.seeds is None else tuple(s for s in done if s in question.seeds)


def _column(
    results: Results, question: Question, lines: list[Line], protocol: str
) -> list[tuple[str, ...]]:
    """Mean with interval, sd over seeds, difference and p of every line."""
    tested = [
        None if line.control is None else _difference(results, question, line, protocol)
        for line in lines
    ]
    adjusted = iter(holm([found.p for found in tested if found is not None]))
    cells = []
    for line, found in zip(lines, tested, strict=True):
        seeds = _seeds(results, question, line.row)
        hits = results.hits(line.row, line.answer, protocol, seeds)
        groups = results.performances(line.row, line.answer, protocol, seeds[0])
        interval = bootstrap_interval(hits.mean(0), groups, rng=np.random.default_rng(0))
        sd = seeds_summary(hits.mean(1)).sd
        cell = [
            format_interval(float(hits.mean()), interval),
            "" if sd is None else f"{100 * sd:.1f}",
        ]
        if found is None:
            cell += ["", ""]
        else:
            cell += [_signed(found), _p(next(adjusted))]
        cells.append(tuple(cell))
    return cells


def _difference(
    results: Results, question: Question, line: Line, protocol: str
) -> PairedDifference | None:
    """The line minus its control on the same clips; None while the control is not done."""
    assert line.control is not None
    own, other = (_seeds(results, question, row) for row in (line.row, line.control))
    if not other:
        return None
    a = results.hits(line.row, line.answer, protocol, own).mean(0)
    b = results.hits(line.control, VIDEO, protocol, other).mean(0)
    groups = results.performances(line.row, line.answer, protocol, own[0])
    if groups != results.performances(line.control, VIDEO, protocol, other[0]):
        raise InputError(f"rows {line.row} and {line.control} were tested on different clips")
    return paired_difference(a, b, groups, rng=np.random.default_rng(0), samples=DRAWS)


def _signed(found: PairedDifference) -> str:
    low, high = found.interval.low, found.interval.high
    return f"{100 * found.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def replace_part(path: Path, text: str) -> None:
    """Put ``text`` between the marks of a Markdown file.

    Raises:
        InputError: a file without the two marks.
    """
    whole = path.read_text(encoding="utf-8")
    before, mark, rest = whole.partition(START)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise InputError(f"{path}: has no part between {START} and {END}")
    path.write_text(f"{before}{START}\n\n{text}\n{END}{after}", encoding="utf-8")
