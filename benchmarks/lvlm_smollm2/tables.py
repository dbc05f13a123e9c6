"""Tables of what is done: losses, named classes, caption metrics, paired tests, examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lvlm_smollm2.pairs import PHRASES, named, named_side, named_verb, phrase
from benchmarks.lvlm_smollm2.runs import ROWS, Bench, answers_file, performance, real_file
from ski_data.errors import InputError
from ski_data.manifest import Record
from ski_eval import (
    Table,
    bootstrap_interval,
    format_interval,
    holm,
    paired_difference,
    score_captions,
)

DRAWS = 10_000
PARTS = {"test_seen": "seen classes, unseen people", "test_unseen": "unseen classes"}
LINES = (
    ("video", "trained"),
    ("video", "shuffled"),
    ("video", "untrained"),
    ("video+skeleton", "trained"),
    ("video+skeleton", "shuffled"),
    ("video+half-skeleton", "trained"),
    ("video+half-skeleton", "shuffled"),
)
TITLES = {
    "trained": "trained on {row}",
    "shuffled": "trained on {row}, features of other clips",
    "untrained": "before training",
}
COMPARED = (
    (("video", "trained"), ("video", "shuffled")),
    (("video", "trained"), ("video", "untrained")),
    (("video+skeleton", "trained"), ("video+skeleton", "shuffled")),
    (("video+skeleton", "trained"), ("video", "trained")),
    (("video+half-skeleton", "trained"), ("video+half-skeleton", "shuffled")),
    (("video+half-skeleton", "trained"), ("video", "trained")),
)
METRICS = ("BLEU-4", "ROUGE-L", "CIDEr-D")


def right_class(name: str, answer: str) -> bool:
    """The answer names this class and no other."""
    return named(answer) == name


def right_verb(name: str, answer: str) -> bool:
    """It uses the verb of this class and no other."""
    return named_verb(answer) == name.split()[0]


def right_side(name: str, answer: str) -> bool:
    """It names the side of this class, or none where the class has none."""
    return named_side(answer) == PHRASES[phrase(name)].side


MEASURES: dict[str, Callable[[str, str], bool]] = {
    "class": right_class,
    "verb": right_verb,
    "side": right_side,
}


@dataclass
class Results:
    """Answers that are there, and the clips they are about."""

    bench: Bench
    seeds: int

    def __post_init__(self) -> None:
        self.records: dict[str, list[Record]] = {p: self.bench.records(p) for p in PARTS}

    def done(self, line: tuple[str, str]) -> list[int]:
        """Seeds whose answers are there."""
        row, variant = line
        return [
            seed
            for seed in range(self.seeds)
            if answers_file(self.bench, row, seed, variant).exists()
        ]

    def said(self, line: tuple[str, str], seed: int) -> dict[str, str]:
        """Answers by clip."""
        path = answers_file(self.bench, line[0], seed, line[1])
        rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        found = {row["clip"]: row["answer"] for row in rows}
        wanted = {r.name for part in self.records.values() for r in part}
        if set(found) != wanted:
            raise InputError(f"{path}: not the answers about these clips; remove it")
        return found

    def hits(
        self, line: tuple[str, str], part: str, measure: str, seeds: Sequence[int]
    ) -> NDArray[np.float64]:
        """Share of the seeds that are right, by clip."""
        right = MEASURES[measure]
        found = []
        for seed in seeds:
            said = self.said(line, seed)
            found.append([right(str(r.caption), said[r.name]) for r in self.records[part]])
        return np.array(found, np.float64).mean(0)

    def performances(self, part: str) -> list[str]:
        """What each clip shows, whichever camera saw it: the views are not independent."""
        return [performance(record.name) for record in self.records[part]]


def markdown(bench: Bench, seeds: int) -> str:
    """All that is done, and the names of what is not."""
    results = Results(bench, seeds)
    parts = ["### Training\n", _losses(results).markdown()]
    for part, title in PARTS.items():
        table = _scores(results, part)
        if table.rows:
            parts += [f"### Held-out clips: {title}\n", table.markdown()]
    compared = _compared(results)
    if compared.rows:
        parts += ["### Differences in the class named\n", compared.markdown()]
    parts += _examples(results)
    missing = [
        TITLES[variant].format(row=row)
        for row, variant in LINES
        if len(results.done((row, variant))) < seeds
    ]
    last = "Everything is finished."
    if missing:
        last = f"Not finished: {'; '.join(missing)}."
    return "\n".join([*parts, last])


def _losses(results: Results) -> Table:
    rows = []
    for row in ROWS:
        for seed in range(results.seeds):
            path = results.bench.out / "runs" / f"{row}-{seed}" / "log.jsonl"
            if not path.exists():
                continue
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            quarters = [lines[round(k * (len(lines) - 1) / 4)] for k in range(5)]
            rate = np.median([line["tokens_per_second"] for line in lines])
            losses = (f"{line['loss']:.3f}" for line in quarters)
            rows.append((row, str(seed), str(lines[-1]["step"]), *losses, f"{rate:.0f}"))
    parts = ("first", "1/4", "1/2", "3/4", "last")
    headers = ("trained on", "seed", "updates", *(f"loss, {p}" for p in parts), "tokens/s")
    return Table(headers, tuple(rows), ())


def _scores(results: Results, part: str) -> Table:
    rows = []
    groups = results.performances(part)
    by_clip = {r.name: g for r, g in zip(results.records[part], groups, strict=True)}
    references = {
        r.name: [f"The person is {phrase(str(r.caption))}."] for r in results.records[part]
    }
    for line in LINES:
        seeds = results.done(line)
        if not seeds:
            continue
        cells = [TITLES[line[1]].format(row=line[0]), str(len(seeds))]
        for measure in MEASURES:
            hits = results.hits(line, part, measure, seeds)
            interval = bootstrap_interval(hits, groups, rng=np.random.default_rng(0))
            cells.append(format_interval(float(hits.mean()), interval))
        said = results.said(line, seeds[0])
        scores = score_captions(
            {name: said[name] for name in references},
            references,
            rng=np.random.default_rng(0),
            groups=by_clip,
            allow_empty=True,
        )
        found = {score.metric: score.value for score in scores}
        cells += [f"{found[metric]:.3f}" for metric in METRICS]
        rows.append(tuple(cells))
    named_columns = (f"{measure} named, %" for measure in MEASURES)
    return Table(("", "seeds", *named_columns, *METRICS), tuple(rows), ())


def _compared(results: Results) -> Table:
    """Paired differences; their p values are adjusted together."""
    found = []
    for part, title in PARTS.items():
        groups = results.performances(part)
        for line, other in COMPARED:
            own, theirs = results.done(line), results.done(other)
            if not own or not theirs:
                continue
            difference = paired_difference(
                results.hits(line, part, "class", own),
                results.hits(other, part, "class", theirs),
                groups,
                rng=np.random.default_rng(0),
                samples=DRAWS,
            )
            names = [TITLES[v].format(row=r) for r, v in (line, other)]
            found.append((title, names, difference))
    adjusted = holm([difference.p for _, _, difference in found]) if found else []
    rows = []
    for (title, names, difference), p in zip(found, adjusted, strict=True):
        low, high = difference.interval.low, difference.interval.high
        points = f"{100 * difference.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        shown = "< 0.001" if p < 0.001 else f"{p:.3f}"
        rows.append((title, *names, points, shown))
    return Table(("clips", "", "minus", "points", "p (Holm)"), tuple(rows), ())


def _examples(results: Results) -> list[str]:
    """What the trained models say: the first clip of some classes, and recorded clips."""
    lines = [line for line in LINES if line[1] != "untrained" and results.done(line)]
    parts: list[str] = []
    if lines:
        chosen: list[Record] = []
        for records in results.records.values():
            classes = list(dict.fromkeys(record.label for record in records))
            step = max(1, len(classes) // 4)
            chosen += [next(r for r in records if r.label == k) for k in classes[::step][:4]]
        said = {line: results.said(line, 0) for line in lines}
        headers = ("shown", *(TITLES[v].format(row=r) for r, v in lines))
        rows = [(str(r.caption), *(said[line][r.name] for line in lines)) for r in chosen]
        parts += ["### Examples (seed 0)\n", Table(headers, tuple(rows), ()).markdown()]
    files = {row: real_file(results.bench, row) for row in ROWS}
    there: dict[str, list[dict[str, Any]]] = {
        row: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for row, path in files.items()
        if path.exists()
    }
    if there:
        first = next(iter(there.values()))
        rows = [
            (line["file"], line["label"], *(there[row][n]["answer"] for row in there))
            for n, line in enumerate(first)
        ]
        headers = ("file", "label", *(TITLES["trained"].format(row=row) for row in there))
        table = Table(headers, tuple(rows), ())
        parts += ["### Recorded clips, out of its domain\n", table.markdown()]
    return parts
