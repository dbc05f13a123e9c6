"""Jobs: one command each, known by the hash of all its settings, done once for all tables."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ski_data.errors import InputError
from ski_eval import content_hash

RECORD, TIME, LOG = "record.json", "time.json", "log.txt"
RUNS, OUT, DEVICE = "{runs}", "{out}", "{device}"
"""Stand-ins in commands and recipes: folder of all runs, of the job, and the device of this run."""
WORK = "bench-work"
"""Program name of :mod:`benchmarks.bench.work`."""


@dataclass(frozen=True)
class Job:
    """A command, the files it needs written, and the jobs that go before it."""

    name: str
    """What it does, in words; first part of its folder's name."""
    argv: tuple[str, ...]
    """Program (ski-vlm, ski-skeleton, ski-lvlm, bench-work) and arguments, with stand-ins."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of the job's folder by name, such as its recipe, with stand-ins."""
    needs: tuple[Job, ...] = ()
    done: str | None = None
    """File or folder that says the command itself is finished, with stand-ins; commands that
    refuse to run twice need it. None: the command may run again."""
    kind: str = "other"
    """Which rate its time is estimated by."""
    units: int | None = None
    """Amount of work in the unit of its kind, such as clips that train; None: unknown."""
    steps: int | None = None
    """Optimiser steps, where they are known without the data; None: none, or not known."""
    bytes: int = 0
    """Disk that it fills, estimated."""
    distributed: bool = False
    """Whether a launcher may start it in several processes."""

    @functools.cached_property
    def settings(self) -> str:
        """Hash of everything that its results hang on, wherever the folders lie."""
        return content_hash(
            {
                "argv": list(self.argv),
                "files": dict(self.files),
                "needs": [job.settings for job in self.needs],
            }
        )

    @functools.cached_property
    def id(self) -> str:
        """Name of its folder."""
        words = re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")
        return f"{words}-{self.settings[:8]}"

    @property
    def out(self) -> str:
        """Its folder, with a stand-in for that of all runs."""
        return f"{RUNS}/jobs/{self.id}"

    def folder(self, runs: Path) -> Path:
        """Its folder."""
        return runs / "jobs" / self.id


def filled(text: str, job: Job, runs: Path, device: str = "cpu") -> str:
    """``text`` with the stand-ins replaced."""
    out = job.folder(runs)
    return text.replace(OUT, str(out)).replace(RUNS, str(runs)).replace(DEVICE, device)


def command(job: Job, runs: Path, device: str = "cpu") -> list[str]:
    """Program and arguments of a job."""
    return [filled(word, job, runs, device) for word in job.argv]


def ordered(jobs: Iterable[Job]) -> list[Job]:
    """The jobs and all that they need, each once, what is needed first.

    Raises:
        InputError: two different jobs of one id.
    """
    found: dict[str, Job] = {}

    def visit(job: Job) -> None:
        if job.id in found:
            return
        for need in job.needs:
            visit(need)
        found[job.id] = job

    for job in jobs:
        visit(job)
    return list(found.values())


def record(job: Job) -> dict[str, Any]:
    """What a finished job leaves beside its results; the same bytes whenever it is made."""
    return {
        "settings": job.settings,
        "name": job.name,
        "command": list(job.argv),
        "needs": [need.id for need in job.needs],
    }


def finished(job: Job, runs: Path) -> bool:
    """Whether a job has its record.

    Raises:
        InputError: a record of other settings, or a damaged one.
    """
    path = job.folder(runs) / RECORD
    if not path.exists():
        return False
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); remove the folder") from error
    if settings != job.settings:
        raise InputError(f"{path}: made with other settings; choose another --out or remove it")
    return True


def prepare(job: Job, runs: Path) -> None:
    """Make the job's folder and write the files of its command.

    Raises:
        InputError: a file that is there with other content.
    """
    folder = job.folder(runs)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in job.files.items():
        path, content = folder / name, filled(text, job, runs)
        if path.exists() and path.read_text(encoding="utf-8") != content:
            raise InputError(
                f"{path}: made with other settings (or the folder was moved); choose another --out "
                "or remove it"
            )
        write_text(path, content)


def finish(job: Job, runs: Path, seconds: float, host: str, *, whole: bool = True) -> None:
    """Write the record of a job whose command is done, and apart from it how long it took.

    Args:
        job: that is done.
        runs: folder of all runs.
        seconds: since its last start.
        host: where.
        whole: that start was its first; else the time tells nothing of other jobs.
    """
    folder, units = job.folder(runs), job.units if whole else None
    told = {"seconds": round(seconds, 1), "host": host, "kind": job.kind, "units": units}
    write_text(folder / TIME, json.dumps(told) + "\n")
    write_text(folder / RECORD, json.dumps(record(job), indent=1) + "\n")


def command_done(job: Job, runs: Path) -> bool:
    """Whether the command itself was finished, perhaps by a harness that was killed after it."""
    return job.done is not None and Path(filled(job.done, job, runs)).exists()


def write_text(path: Path, text: str) -> None:
    """Write at once or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
