"""Cells of the rows on adl-mini."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.adl_mini_vlm.rows import VIT
from benchmarks.bench import adl_skeleton, adl_words
from benchmarks.bench.adl import AdlMini, steps
from benchmarks.bench.cells import Cell, Result
from benchmarks.bench.jobs import DEVICE, OUT, WORK
from benchmarks.bench.paper import PaperTable, Row
from ski_data.errors import MissingFileError
from ski_data.synthetic.classes import ACTIONS, SEEN

UNSEEN_COLUMN, PEOPLE_COLUMN = "unseen classes", "all classes, unseen people"
UNTRAINED = ("clip", "vificlip", f"{VIT}-clip")
"""Rows that need one seed only."""


def cells(adl: AdlMini, table: PaperTable, row: Row, seeds: int) -> list[Cell]:
    """The cells of a row; without results where the row has no counterpart here."""
    columns = columns_of(table)
    if row.adl_mini is None or row.method is None:
        return [Cell(table.id, row.id, column, adl.name) for column in columns]
    if table.id == "figure5":
        seeds = 1
    try:
        results = _results(adl, row, columns[0], seeds)
    except MissingFileError as error:
        lacks = (str(error),)
        return [Cell(table.id, row.id, column, adl.name, missing=lacks) for column in columns]
    return [Cell(table.id, row.id, column, adl.name, results[column]) for column in columns]


def columns_of(table: PaperTable) -> tuple[str, ...]:
    """What is measured on adl-mini in the place of the paper's columns."""
    kinds = {row.method for row in table.rows}
    if "lvlm" in kinds:
        return tuple(adl_words.COLUMNS)
    return (PEOPLE_COLUMN,) if "c2vl" in kinds else (UNSEEN_COLUMN,)


def _results(adl: AdlMini, row: Row, column: str, seeds: int) -> Mapping[str, tuple[Result, ...]]:
    name = str(row.adl_mini)
    if row.method == "lvlm":
        return adl_words.results(adl, name, seeds)
    if row.method == "attention":
        return {column: (pictures(adl, name),)}
    if row.method == "c2vl":
        return {column: tuple(adl_skeleton.probe(adl, name, seed) for seed in range(seeds))}
    if row.method == "zeroshot":
        return {column: tuple(adl_skeleton.zeroshot(adl, name, seed) for seed in range(seeds))}
    if name in UNTRAINED:
        seeds = 1
    return {column: tuple(student(adl, row, seed) for seed in range(seeds))}


def student(adl: AdlMini, row: Row, seed: int) -> Result:
    """Answers of one row of the benchmark of video students."""
    name, answer = str(row.adl_mini), row.answer.replace(",", "").replace(" ", "-")
    batch, epochs = adl.recipe.distil.batch_size, adl.settings["students"]["epochs"]
    job = adl.job(
        f"{name} seed {seed}",
        (WORK, "row", name, "--seed", str(seed), *adl.students),
        kind="row",
        needs=(adl.transformer if name.startswith(f"{VIT}-") else adl.starts,),
        units=0 if name in UNTRAINED else 1,
        steps=None if name in UNTRAINED else steps(adl.seen_clips, batch, epochs),
        bytes=200_000,
    )
    place = f"{adl.starts.out}/students/rows/{name}/seed-{seed}"
    return Result(job, f"{place}/{answer}-unseen-classes.npz")


def pictures(adl: AdlMini, which: str) -> Result:
    """Relevance maps of one student."""
    made, folder = {
        "vificlip": (adl.vificlip, "vificlip"),
        "ski-vificlip": (adl.ski_vificlip, "ski-vificlip-seed0"),
    }[which]
    labels = list(range(len(SEEN), len(ACTIONS)))
    job = adl.job(
        f"pictures {which}",
        (
            *(WORK, "pictures", f"{adl.run}/data/manifest.jsonl"),
            *("--model", f"{adl.run}/{folder}/model"),
            *("--classes", f"{adl.run}/data/classes_unseen.csv"),
            *("--labels", str(labels), "--out", f"{OUT}/pictures", "--device", DEVICE),
        ),
        kind="pictures",
        needs=(made,),
        bytes=2_000_000,
    )
    return Result(job, f"{job.out}/pictures/*/sheet.png", "pictures")
