"""Runs jobs in the order of their needs, beside other workers, and tells what failed and why."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench.claims import Claim, claimed, holder
from benchmarks.bench.jobs import LOG, Job, command_done, finish, finished, prepare
from ski_data.errors import InputError
from ski_data.progress import seconds

POLL = 2.0
"""Seconds between two looks at jobs that other workers do."""
Start = Callable[[Job, Claim], int]
"""Runs a prepared job's command and gives its exit code."""


@dataclass(frozen=True)
class Failure:
    """A job that did not come to its end."""

    job: Job
    reason: str


def run_jobs(jobs: Sequence[Job], runs: Path, start: Start) -> dict[str, Failure]:
    """Do all jobs that are not done; what fails holds up only what needs it.

    Args:
        jobs: with all that they need, what is needed first.
        runs: folder of all runs.
        start: how a command is run.

    Returns:
        Failures by the job's id.
    """
    failed: dict[str, Failure] = {}
    told: set[str] = set()
    total = sum(not finished(job, runs) for job in jobs)
    done = 0
    while pending := _pending(jobs, failed, runs):
        ran = False
        for job in pending:
            if not all(finished(need, runs) for need in job.needs):
                continue
            with claimed(job.folder(runs)) as claim:
                if claim is None:
                    continue
                if finished(job, runs):  # by another worker, since it was listed
                    continue
                done += 1
                ran = True
                failure = _run(job, runs, start, claim, f"[{done}/{total}]")
            if failure is not None:
                failed[job.id] = failure
            break
        if not ran:
            _wait(pending, runs, told)
    return failed


def _pending(jobs: Sequence[Job], failed: dict[str, Failure], runs: Path) -> list[Job]:
    """Jobs that are neither done nor failed; what needs a failed one fails with it."""
    pending = []
    for job in jobs:
        if job.id in failed or finished(job, runs):
            continue
        broken = [failed[need.id] for need in job.needs if need.id in failed]
        if broken:
            failed[job.id] = Failure(job, broken[0].reason)
        else:
            pending.append(job)
    return pending


def _run(job: Job, runs: Path, start: Start, claim: Claim, count: str) -> Failure | None:
    begun, log = time.monotonic(), job.folder(runs) / LOG
    whole = not log.exists()
    print(f"{count} {job.name} ...", file=sys.stderr, flush=True)
    try:
        prepare(job, runs)
    except InputError as error:
        print(f"{count} failed: {error}", file=sys.stderr, flush=True)
        return Failure(job, str(error))
    code = 0 if command_done(job, runs) else start(job, claim)
    took = time.monotonic() - begun
    if code == 0:
        finish(job, runs, took, socket.gethostname(), whole=whole)
        print(f"{count} {job.name}: done, {seconds(took)}", file=sys.stderr, flush=True)
        return None
    reason = f"{job.name}: {last_line(log, code)}"
    print(f"{count} failed: {reason}", file=sys.stderr, flush=True)
    return Failure(job, reason)


def last_line(log: Path, code: int) -> str:
    """What a command that failed said last; its log has the rest."""
    if code < 0:
        return f"ended by signal {-code}; see {log}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if line.strip() and not line.startswith("$ ")]
    return f"{said[-1] if said else f'exit code {code}'} (see {log})"


def _wait(pending: Sequence[Job], runs: Path, told: set[str]) -> None:
    """Other workers do what is left: say so once, and look again later."""
    for job in pending:
        who = holder(job.folder(runs))
        if who is not None and job.id not in told:
            told.add(job.id)
            print(f"{job.name}: done by {who}, waiting", file=sys.stderr, flush=True)
    time.sleep(POLL)
