"""The command ``run``: from what was asked to jobs that are done, and what could not be done."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench import launch, plan
from benchmarks.bench.adl import Scale
from benchmarks.bench.cells import Cell
from benchmarks.bench.claims import Claim
from benchmarks.bench.jobs import Job, finished, ordered
from benchmarks.bench.paper import ORDER, read_table
from benchmarks.bench.report import write_report
from benchmarks.bench.requests import Request, absolute, remember
from benchmarks.bench.running import Failure, run_jobs
from ski_data.errors import InputError

log = logging.getLogger(__name__)


def run_request(
    *,
    tables: Sequence[str],
    out: Path,
    data: Sequence[str],
    seeds: int | None,
    only: str | None,
    scale: Scale,
    device: str,
    launcher: str,
    weights: str | None,
    judge: str | None,
    dry_run: bool,
) -> int:
    """See ``benchmarks.bench.__main__.run``; gives the exit code."""
    names = ORDER if "all" in tables else tuple(name for name in ORDER if name in tables)
    for name in tables:
        if name != "all":
            read_table(name)  # refuses an unknown one
    chosen = launch.read_launcher(launcher)
    if chosen.kind != "slurm" and not dry_run:
        launch.warm_up()
    request = absolute(Request(names, tuple(data), seeds, only, scale, weights, judge))
    cells, runs = request.cells(), out.resolve()
    if only is not None and not any(cell.counterpart for cell in cells):
        raise InputError(f"--only {only}: nothing to run on {', '.join(data)}")
    print(plan.report(cells, runs), flush=True)
    if dry_run:
        return _tell(not_run(cells, runs, {}, planned=True))
    runs.mkdir(parents=True, exist_ok=True)
    remember(request, runs)
    jobs = ordered(result.job for cell in cells for result in cell.results)
    failures: dict[str, Failure] = {}
    if chosen.kind == "slurm":
        arguments = worker_arguments(request, runs, device)
        failed = launch.submit_workers(arguments, runs, chosen, plan.widest(jobs, runs))
        if failed:
            log.warning("%d workers failed; their logs are in %s", failed, runs / "slurm")
    else:

        def start(job: Job, claim: Claim) -> int:
            return launch.start(job, runs, device, chosen, claim.add)

        failures = run_jobs(jobs, runs, start)
    write_report(runs)
    print(f"report: {runs / 'report.md'}, {runs / 'report.html'}")
    return _tell(not_run(cells, runs, failures))


def worker_arguments(request: Request, runs: Path, device: str) -> list[str]:
    """The request as a command line for a worker on another machine."""
    words = ["run", *request.tables, "--out", str(runs), "--scale", request.scale]
    options = {
        "--seeds": request.seeds,
        "--only": request.only,
        "--device": device,
        "--weights_folder": request.weights,
        "--judge": request.judge,
    }
    for name, value in options.items():
        if value is not None:
            words += [name, str(value)]
    return [*words, "--data", *request.data]


def not_run(
    cells: Sequence[Cell], runs: Path, failures: Mapping[str, Failure], *, planned: bool = False
) -> dict[str, list[str]]:
    """Reasons why something that was asked for is not there, each with the rows it holds up.

    A column of a data set that was not given is passed over where the row has another one that can
    run.
    """
    runs_somewhere = {(cell.table, cell.row) for cell in cells if cell.results}
    found: dict[str, list[str]] = {}
    for cell in cells:
        reasons = set(cell.missing)
        if (cell.table, cell.row) in runs_somewhere:
            reasons = {reason for reason in reasons if ": not given; " not in reason}
        if not planned:
            left = [r.job for r in cell.results if not finished(r.job, runs)]
            told = {failures[job.id].reason for job in left if job.id in failures}
            reasons |= told or ({"not finished; ask again to go on"} if left else set())
        for reason in sorted(reasons):
            rows = found.setdefault(reason, [])
            row = f"{cell.table} {cell.row} ({cell.column})"
            rows += [] if row in rows else [row]
    return found


def _tell(missing: Mapping[str, Sequence[str]]) -> int:
    """Say what did not run; the exit code."""
    if missing:
        print("\nnot run:", file=sys.stderr)
    for reason, rows in missing.items():
        print(f"- {reason}\n  holds up: {', '.join(rows)}", file=sys.stderr)
    return 1 if missing else 0
