"""Cells of the rows on NTU RGB+D, Charades and own folders, and what they lack."""

from __future__ import annotations

from benchmarks.bench.cells import Cell, Result
from benchmarks.bench.lvlm_rows import SKELETON_FEATURES, lvlm_results
from benchmarks.bench.paper import Column, PaperTable, Row
from benchmarks.bench.places import HOW, Given, Place
from benchmarks.bench.recipes import OWN_SPLIT, Split, recipe
from benchmarks.bench.skeleton_rows import c2vl_result, skeleton_result, zeroshot_result
from benchmarks.bench.video_rows import pictures_result, video_result

PROJECTORS = {
    "mm_projector": "the image projector published with mmaaz60/LLaVA-7B-Lightening-v1-1",
    "video_chatgpt-7B": "published as MBZUAI/Video-ChatGPT-7B on transformers' hub",
}
"""Where the files are published that Table 3 begins with."""


def lacks(row: Row, dataset: str, given: Given) -> tuple[str, ...]:
    """Everything that a row lacks on a data set, and how to get it."""
    found: list[str] = []
    needed: list[tuple[str, tuple[str, ...]]] = []
    if row.method == "lvlm":
        needed.append(("charades", ("manifest", "questions")))
        if row.recipe != "vcgpt_activitynet":
            parts = ("manifest", "pairs") + (
                ("skeletons",) if row.recipe in SKELETON_FEATURES else ()
            )
            needed.append(("ntu120", parts))
        file = "video_chatgpt-7B" if row.recipe == "vcgpt_activitynet" else "mm_projector"
        if given.weight_file(file) is None:
            found.append(
                f"weights {file}.bin ({PROJECTORS[file]}): put the file into a folder and give "
                "--weights_folder FOLDER"
            )
    elif row.method == "c2vl":
        needed.append((dataset, ("manifest", "skeletons", "captions")))
    elif row.method in ("skeleton", "zeroshot"):
        needed.append((dataset, ("skeletons",)))
    else:
        plain = recipe("ski_vlm", f"{row.recipe}_{OWN_SPLIT.replace('/', '_')}")
        needed.append(
            (dataset, ("manifest", "skeletons") if "skeleton" in plain else ("manifest",))
        )
    for name, parts in needed:
        place = given.place(name)
        if place is None:
            found.append(f"{name}: not given; {HOW[name]}")
        else:
            found += place.lacks(parts)
    return tuple(found)


def cells(
    table: PaperTable, row: Row, given: Given, seeds: int, judge: str | None = None
) -> list[Cell]:
    """The cells of a row on the published data sets that are given, and what the others lack.

    Own folders make a column each.
    """
    if row.method is None:
        return []
    found = [
        _cell(table, row, column, given, seeds, judge)
        for column in table.columns
        if column.dataset in HOW and any(place.own is None for place in given.places)
    ]
    for place in given.places:
        if place.own is not None and row.method != "lvlm":
            found.append(_own_cell(table, row, place, given, seeds))
    return found


def _cell(
    table: PaperTable, row: Row, column: Column, given: Given, seeds: int, judge: str | None
) -> Cell:
    start = (table.id, row.id, column.title, column.dataset)
    missing = lacks(row, column.dataset, given)
    if missing:
        return Cell(*start, missing=missing, published=column.id)
    if row.method == "lvlm":
        results = lvlm_results(str(row.recipe), given, judge)
        metric = column.id.rpartition("/")[2]
        chosen = tuple(result for result in results if result.metric == metric)
        return Cell(*start, results=chosen, published=column.id)
    place = given.needed(column.dataset)
    results = tuple(_results(row, column.id, place, given, seeds))
    return Cell(*start, results=results, published=column.id)


def _own_cell(table: PaperTable, row: Row, place: Place, given: Given, seeds: int) -> Cell:
    start = (table.id, row.id, place.dataset, place.dataset)
    missing = lacks(row, place.dataset, given)
    if missing:
        return Cell(*start, missing=missing)
    return Cell(*start, results=tuple(_results(row, place.dataset, place, given, seeds)))


def _results(row: Row, name: str, place: Place, given: Given, seeds: int) -> list[Result]:
    if row.method == "c2vl":
        rule = name.rpartition("/")[2] if place.own is None else "xsub"
        return [c2vl_result(place, rule, str(row.recipe), given, seed) for seed in range(seeds)]
    split = Split(name, place, given)
    if row.method == "attention":
        return [pictures_result(split, row)]
    if row.method == "skeleton":
        return [skeleton_result(split, seed) for seed in range(seeds)]
    if row.method == "zeroshot":
        return [zeroshot_result(split, str(row.recipe), seed) for seed in range(seeds)]
    if row.recipe == "clip":
        seeds = 1
    return [video_result(split, row, seed) for seed in range(seeds)]
