"""Launchers: a job in a process of this machine, in several by torchrun, or workers on Slurm."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Literal

from benchmarks.bench.jobs import LOG, WORK, Job, command
from ski_data.errors import InputError

PROGRAMS = {
    "ski-vlm": "ski_vlm.cli:main",
    "ski-skeleton": "ski_skeleton.cli:main",
    "ski-lvlm": "ski_lvlm.cli:main",
    "ski-eval": "ski_eval.cli:main",
    WORK: "benchmarks.bench.work:main",
}
"""Entry points of the programs that jobs run."""
PRELOADED = (
    "ski_vlm.commands",
    "ski_skeleton.pipeline_commands",
    "ski_skeleton.zeroshot.commands",
    "benchmarks.bench.work",
)
"""Imported once, since this takes longer than many a small job."""
ROOT = Path(__file__).parents[2]
CLUSTER: str | None = "slurm"
"""What submitit submits to."""
CARDS = "CUDA_VISIBLE_DEVICES"
EXIT_ORPHAN = 70
"""Exit code of a command whose harness is gone."""
MOST_WORKERS = 16
WORKER_MINUTES = 24 * 60
"""Time limit of a worker, unless SBATCH_TIMELIMIT says another."""


@dataclass(frozen=True)
class Launcher:
    """Where jobs run: ``local``, ``torchrun:N`` or ``slurm:PARTITION[:WORKERS]``."""

    kind: Literal["local", "torchrun", "slurm"] = "local"
    processes: int = 1
    """Of torchrun."""
    partition: str | None = None
    workers: int | None = None
    """Of Slurm; None: as many as there are jobs that can run at once, at most 16."""


def read_launcher(text: str) -> Launcher:
    """A launcher as a user writes it.

    Raises:
        InputError: anything else.
    """
    kind, *rest = text.split(":")
    if kind == "local" and not rest:
        return Launcher()
    if kind == "torchrun" and len(rest) == 1 and rest[0].isdigit() and int(rest[0]):
        return Launcher("torchrun", processes=int(rest[0]))
    if kind == "slurm" and rest and rest[0] and len(rest) <= 2:
        workers = rest[1] if len(rest) == 2 else None
        if workers is None or (workers.isdigit() and int(workers)):
            return Launcher(
                "slurm", partition=rest[0], workers=None if workers is None else int(workers)
            )
    raise InputError(
        f"--launcher {text!r} is none of local, torchrun:N, slurm:PARTITION and "
        "slurm:PARTITION:WORKERS"
    )


def start(
    job: Job, runs: Path, device: str, launcher: Launcher, started: Callable[[int], None]
) -> int:
    """Run a job's command to its end; what it prints goes to its log.

    Args:
        job: whose folder is prepared.
        runs: folder of all runs.
        device: cpu, cuda or cuda:N.
        launcher: local or torchrun.
        started: told the id of the process.

    Returns:
        The exit code; below 0 the signal that ended it.
    """
    device, cards = only_device(device)
    argv, log = command(job, runs, device), job.folder(runs) / LOG
    with log.open("a", encoding="utf-8") as file:
        told = [f"{name}={value}" for name, value in cards.items()]
        file.write(f"$ {' '.join([*told, *argv])}\n")
    if launcher.kind == "torchrun" and job.distributed:
        return _torchrun(argv, log, launcher.processes, cards, started)
    context = multiprocessing.get_context("forkserver")
    words = (PROGRAMS[argv[0]], argv[1:], str(log), cards)
    process = context.Process(target=_child, args=words)
    process.start()
    assert process.pid is not None  # it is started
    started(process.pid)
    process.join()
    return process.exitcode if process.exitcode is not None else 1


def only_device(device: str) -> tuple[str, dict[str, str]]:
    """What a command calls a device, and the environment in which it finds no card but that one.

    Trainings take the first card that they find, whatever else is said to them.
    """
    if device == "cpu":
        return device, {CARDS: ""}
    kind, _, number = device.partition(":")
    if kind != "cuda" or not number.isdigit():
        return device, {}
    shown = os.environ.get(CARDS, "")
    names = shown.split(",") if shown else []
    if names and int(number) >= len(names):
        raise InputError(f"--device {device}: there is none, since {CARDS} is {shown}")
    return kind, {CARDS: names[int(number)] if names else number}


def warm_up() -> None:
    """Begin to import what most jobs need, in the process that theirs are forked from."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(PRELOADED))
    forkserver.ensure_running()


def _child(target: str, argv: Sequence[str], log: str, cards: Mapping[str, str]) -> None:
    """In a fresh process: the program's entry point, its output in the log."""
    os.environ.update(cards)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    module, _, name = target.partition(":")
    sys.exit(getattr(importlib.import_module(module), name)(list(argv)))


def _die_with_parent() -> None:
    """A harness that is killed leaves nobody behind who writes."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child
    parent.join()
    os._exit(EXIT_ORPHAN)


def _torchrun(
    argv: Sequence[str],
    log: Path,
    processes: int,
    cards: Mapping[str, str],
    started: Callable[[int], None],
) -> int:
    script = Path(sys.executable).with_name(argv[0])
    if not script.is_file():
        raise InputError(f"{script}: no such program; install the packages into this Python")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += [f"--nproc_per_node={processes}", "--no-python", str(script), *argv[1:]]
    with log.open("a", encoding="utf-8") as file:
        environment = {**os.environ, **cards}
        process = subprocess.Popen(words, stdout=file, stderr=file, env=environment)
        started(process.pid)
        return process.wait()


def submit_workers(arguments: Sequence[str], runs: Path, launcher: Launcher, widest: int) -> int:
    """Start workers on Slurm that share the jobs, and wait for their end.

    Each worker is the harness's own command with ``--launcher local``; which jobs it does, the
    claims say. Account, GPUs and another time limit come from the ``SBATCH_...`` variables of the
    environment.

    Args:
        arguments: of ``python -m benchmarks.bench`` in each worker.
        runs: folder of all runs, on a file system that all machines share.
        launcher: partition and number of workers.
        widest: how many jobs can run at once.

    Returns:
        How many workers failed, by whatever cause; what they left undone can be asked for again.

    Raises:
        InputError: submitit is not installed, or Slurm is not there.
    """
    submitit = _submitit()
    count = launcher.workers or max(1, min(widest, MOST_WORKERS))
    try:
        executor = submitit.AutoExecutor(folder=runs / "slurm", cluster=CLUSTER)
    except RuntimeError as error:
        raise InputError(f"--launcher slurm: {error}; is sbatch on the path?") from error
    executor.update_parameters(name="ski-bench", timeout_min=WORKER_MINUTES)
    if CLUSTER == "slurm":
        executor.update_parameters(slurm_partition=launcher.partition)
    words = [sys.executable, "-m", "benchmarks.bench", *arguments]
    function = submitit.helpers.CommandFunction(words, verbose=True, cwd=ROOT)
    workers = [executor.submit(function) for _ in range(count)]
    print(f"workers: {', '.join(str(worker.job_id) for worker in workers)}", flush=True)
    return sum(_failed(worker) for worker in workers)


def _failed(worker: Any) -> bool:
    return worker.exception() is not None


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError as error:
        raise InputError(
            "--launcher slurm needs submitit: pip install submitit; or start the same command on "
            "several machines that share the folder, with --launcher local"
        ) from error
