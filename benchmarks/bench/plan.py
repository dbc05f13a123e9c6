"""What a request will do, before it does it: rows, jobs, steps, time and disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from benchmarks.bench.cells import Cell
from benchmarks.bench.jobs import TIME, Job, filled, finished, ordered
from ski_data.config import from_plain, to_plain
from ski_data.errors import SkiDataError
from ski_data.progress import seconds
from ski_eval import content_hash, markdown_table
from ski_vlm.plan import clip_count, plan
from ski_vlm.recipe import VideoRecipe, ZeroShotConfig

_TINY = {
    "data": 48,
    "clip": 6,
    "vificlip": 6,
    "hyperformer": 5,
    "skeleton-clip": 5,
    "ski-vificlip": 4,
    "starts": 1,
    "transformer starts": 17,
    "row": 7,
    "pictures": 4,
    "store": 3,
    "classifier": 3,
    "features": 1,
    "maps": 1,
    "synse": 3,
    "smie": 2,
    "star": 2,
    "concepts": 5,
    "c2vl": 3,
    "probe": 4,
    "finetune": 6,
    "tokens": 2,
    "language model": 18,
    "lvlm": 4,
    "lvlm answers": 4,
}
_FULL = {
    "data": 40,
    "clip": 160,
    "vificlip": 22,
    "hyperformer": 40,
    "skeleton-clip": 42,
    "ski-vificlip": 65,
    "starts": 5,
    "transformer starts": 2400,
    "row": 50,
    "pictures": 10,
    "store": 3,
    "classifier": 28,
    "features": 4,
    "maps": 9,
    "synse": 13,
    "smie": 6,
    "star": 144,
    "concepts": 23,
    "c2vl": 180,
    "probe": 20,
    "finetune": 90,
    "tokens": 137,
    "lvlm": 1350,
    "lvlm answers": 230,
}
STATED = {
    f"adl-mini {scale} {kind}": float(value)
    for scale, known in (("tiny", _TINY), ("full", _FULL))
    for kind, value in known.items()
}
"""Seconds per unit by kind of job, where no job of the kind has been measured in the folder."""
STATED_FOR = "2 CPU cores that others use too"
CLIP_SECONDS = 0.36
"""Of training a clip on a GPU, per unit of video jobs: the published log of the released training
says 0.357 s per step of one clip per GPU."""


@dataclass(frozen=True)
class Estimate:
    """Sizes of one job."""

    job: Job
    done: bool
    steps: int | None
    """Of the optimiser, where they are known."""
    seconds: float | None
    measured: bool
    bytes: int


def estimate(jobs: Sequence[Job], runs: Path) -> list[Estimate]:
    """Sizes of jobs; times by jobs of the same kind that are done in this folder, or as stated."""
    rates = measured_rates(runs)
    sizes: dict[str, int] = {}
    found = []
    for job in jobs:
        done = finished(job, runs)
        steps, units, size = job.steps, job.units, job.bytes
        if job.kind == "video" and not done:
            steps, units, size = _video(job, runs, sizes)
        rate = rates.get(job.kind, _stated(job.kind))
        time = None if rate is None or units is None else rate * units
        found.append(Estimate(job, done, steps, time, job.kind in rates, size))
    return found


def _stated(kind: str) -> float | None:
    return CLIP_SECONDS if kind == "video" else STATED.get(kind)


def measured_rates(runs: Path) -> dict[str, float]:
    """Seconds per unit of the jobs that are done, by kind."""
    took: dict[str, list[float]] = {}
    for path in sorted((runs / "jobs").glob(f"*/{TIME}")):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["units"]:
            took.setdefault(told["kind"], []).append(told["seconds"] / told["units"])
    return {kind: sum(rates) / len(rates) for kind, rates in took.items()}


def job_seconds(job: Job, runs: Path) -> float:
    """How long a finished job took."""
    path = job.folder(runs) / TIME
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])


def _video(job: Job, runs: Path, sizes: dict[str, int]) -> tuple[int | None, int | None, int]:
    """Steps, clips times epochs, and bytes of the weights that a video training leaves."""
    plain = yaml.safe_load(filled(job.files["recipe.yaml"], job, runs))
    recipe = from_plain(VideoRecipe, plain, job.name)
    notes: list[str] = []
    try:
        key = content_hash([to_plain(recipe.student), recipe.method.kind])
        if key not in sizes:
            planned = plan(replace(recipe, train=replace(recipe.train, accumulation=1)))
            sizes[key] = 4 * sum(planned.parameters.values())
        clips = clip_count(recipe, notes)
    except SkiDataError:  # what is wrong with it, the job itself will say
        return None, None, job.bytes
    if isinstance(recipe.method, ZeroShotConfig):
        return 0, 0, sizes[key]
    if clips is None:
        return None, None, sizes[key]
    epochs, batch = recipe.train.epochs, recipe.train.batch_size
    return max(1, clips // batch) * epochs, clips * epochs, sizes[key]


def report(cells: Sequence[Cell], runs: Path) -> str:
    """The plan as text: a table of rows, and sums over jobs, which tables share."""
    jobs = ordered(result.job for cell in cells for result in cell.results)
    sizes = {one.job.id: one for one in estimate(jobs, runs)}
    rows: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.counterpart:
            rows.setdefault((cell.table, cell.row), []).append(cell)
    lines = []
    for (table, row), of_row in rows.items():
        own = ordered(result.job for cell in of_row for result in cell.results)
        left = [sizes[job.id] for job in own if not sizes[job.id].done]
        steps = sum(one.steps or 0 for one in left)
        lacking = "" if own else "lacks data or weights, see below"
        done = f"{len(own) - len(left)}/{len(own)}" if own else ""
        lines.append((f"{table} {row}", done, steps or "", _time(left) if own else lacking))
    text = [markdown_table(("row", "jobs done", "steps", "time left"), lines)]
    left = [one for one in sizes.values() if not one.done]
    text.append(f"jobs: {len(sizes)}, shared by all tables; done: {len(sizes) - len(left)}")
    text.append(f"time left, one job after another: {_time(left)}; {_rates(left)}")
    size = sum(one.bytes for one in left)
    text.append(f"disk: about {size / 2**30:.2f} GiB more")
    return "\n".join(text)


def _time(left: Sequence[Estimate]) -> str:
    known = [one.seconds for one in left if one.seconds is not None]
    unknown = sum(one.seconds is None and one.job.units != 0 for one in left)
    if not left:
        return "none"
    told = f"about {seconds(sum(known))}" if known else ""
    more = f"{unknown} {'job' if unknown == 1 else 'jobs'} of unknown length" if unknown else ""
    return " + ".join(part for part in (told, more) if part) or "little"


def _rates(left: Sequence[Estimate]) -> str:
    measured = sum(one.measured for one in left)
    video = any(one.job.kind == "video" and not one.measured for one in left)
    told = [f"{measured} of {len(left)} by jobs measured in this folder"]
    if any(one.job.kind in STATED and not one.measured for one in left):
        told.append(f"the others as stated for {STATED_FOR}")
    if video:
        told.append(f"video trainings as stated: {CLIP_SECONDS} s per clip and GPU")
    return "; ".join(told)


def widest(jobs: Sequence[Job], runs: Path) -> int:
    """How many jobs can run at once now or later: the most on one level of needs."""
    level: dict[str, int] = {}
    for job in jobs:
        level[job.id] = 1 + max((level[need.id] for need in job.needs), default=0)
    counts: dict[int, int] = {}
    for job in jobs:
        if not finished(job, runs):
            counts[level[job.id]] = counts.get(level[job.id], 0) + 1
    return max(counts.values(), default=0)
