"""All video students on adl-mini: ``python -m benchmarks.adl_mini_vlm RUN --out FOLDER``.

RUN is a finished main job (``python -m apps.adl_mini --out RUN``). Rows that are done are kept; the
same command goes on after a kill. ``--readme`` writes the tables of what is done.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from benchmarks.adl_mini_vlm import tables
from benchmarks.adl_mini_vlm.rows import Bench, recipes, seeds_of
from benchmarks.adl_mini_vlm.runs import known, prepare, run_row
from ski_data import command
from ski_data.errors import InputError

README = Path(__file__).with_name("README.md")


def adl_mini_vlm(
    run: str, *, out: str, only: str | None = None, seeds: int = 3, readme: bool = False
) -> None:
    """Train and test the rows that are missing, then print the tables of those that are there.

    Args:
        run: folder of a finished main job.
        out: folder of models to start from, records and predictions.
        only: rows to run, commas between them; by default all.
        seeds: of every row but those of the sweep and those that do not train.
        readme: train nothing; print the tables and write them into this benchmark's README.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    bench = Bench(Path(run).resolve(), Path(out).resolve())
    found = recipes(bench)
    chosen = list(found) if only is None else only.split(",")
    odd = sorted(set(chosen) - set(found))
    if odd:
        raise InputError(f"no rows {odd}; there are {', '.join(found)}")
    if not readme:
        todo = [
            (row, seed)
            for row in chosen
            for seed in seeds_of(row, found[row], seeds)
            if not known(bench, row, found[row], seed)
        ]
        if todo:
            clips = prepare(bench, [row for row, _ in todo])
        for row, seed in todo:
            run_row(bench, clips, row, found[row], seed)
    text = tables.markdown(tables.Results(bench, found, seeds))
    print(text)
    if readme:
        tables.replace_part(README, text)


def main() -> int:
    """Entry point."""
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    return command.run_one(adl_mini_vlm, prog="python -m benchmarks.adl_mini_vlm")


if __name__ == "__main__":
    sys.exit(main())
