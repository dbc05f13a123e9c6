"""The harness at work with commands that do little: order, failures, kills, claims, launchers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench import claims, launch, running
from benchmarks.bench.cells import Cell, Result, figure
from benchmarks.bench.claims import claimed, holder
from benchmarks.bench.jobs import Job, finish, finished, ordered
from benchmarks.bench.plan import measured_rates
from benchmarks.bench.running import run_jobs
from ski_data.errors import InputError
from ski_eval import Predictions, save_predictions

ROOT = Path(__file__).parents[1]


def diamond():
    a = Job("a", ("toy", "a"))
    b, c = (Job(name, ("toy", name), needs=(a,)) for name in "bc")
    return a, b, c, Job("d", ("toy", "d"), needs=(b, c))


class Runner:
    """Stands for programs: notes what ran, and fails where told."""

    def __init__(self, failing=()):
        self.ran, self.failing = [], failing

    def __call__(self, job, claim):
        self.ran.append(job.name)
        return 3 if job.name in self.failing else 0


def test_jobs_run_once_in_the_order_of_their_needs(tmp_path):
    *_, last = diamond()
    runner = Runner()
    assert run_jobs(ordered([last]), tmp_path, runner) == {}
    assert runner.ran == ["a", "b", "c", "d"]
    assert run_jobs(ordered([last]), tmp_path, runner) == {}
    assert len(runner.ran) == 4


def test_a_failure_holds_up_only_what_needs_it(tmp_path):
    *_, last = diamond()
    runner = Runner(failing=("b",))
    failed = run_jobs(ordered([last]), tmp_path, runner)
    assert runner.ran == ["a", "b", "c"]
    assert {failure.job.name for failure in failed.values()} == {"b", "d"}
    assert all(failure.reason.startswith("b: exit code 3") for failure in failed.values())
    assert run_jobs(ordered([last]), tmp_path, Runner()) == {}


def test_what_a_program_said_last_is_the_reason(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("$ ski-vlm train\nsteps\nski-vlm: recipe: no such file\n\n")
    assert running.last_line(log, 2) == f"ski-vlm: recipe: no such file (see {log})"
    assert running.last_line(log, -9) == f"ended by signal 9; see {log}"
    assert "exit code 1" in running.last_line(tmp_path / "nothing", 1)


def test_a_command_that_was_finished_before_a_kill_does_not_run_again(tmp_path):
    job = Job("a", ("toy",), done="{out}/model")
    (job.folder(tmp_path) / "model").mkdir(parents=True)
    runner = Runner()
    assert run_jobs([job], tmp_path, runner) == {}
    assert runner.ran == []
    assert finished(job, tmp_path)


def test_the_time_of_a_job_that_was_killed_before_tells_nothing_of_others(tmp_path):
    jobs = [Job(name, ("toy", name), kind="toy", units=2) for name in ("first", "killed")]
    jobs[1].folder(tmp_path).mkdir(parents=True)
    (jobs[1].folder(tmp_path) / "log.txt").write_text("$ toy killed\n")
    assert run_jobs(jobs, tmp_path, Runner()) == {}
    told = [json.loads((job.folder(tmp_path) / "time.json").read_text()) for job in jobs]
    assert [one["units"] for one in told] == [2, None]
    assert list(measured_rates(tmp_path)) == ["toy"]
    assert all(finished(job, tmp_path) for job in jobs)


def test_records_are_equal_byte_by_byte_wherever_and_whenever(tmp_path):
    *_, last = diamond()
    for name in ("one", "two"):
        run_jobs(ordered([last]), tmp_path / name, Runner())
    for job in ordered([last]):
        one, two = (job.folder(tmp_path / name) / "record.json" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_recipe_that_was_changed_by_hand_is_refused(tmp_path):
    job = Job("a", ("toy",), files={"recipe.yaml": "x: {out}"})
    run_jobs([job], tmp_path, Runner(failing=("a",)))
    path = job.folder(tmp_path) / "recipe.yaml"
    assert path.read_text() == f"x: {job.folder(tmp_path)}"
    path.write_text("x: 2")
    runner = Runner()
    (failure,) = run_jobs([job], tmp_path, runner).values()
    assert "made with other settings" in failure.reason
    assert runner.ran == []


# claims


def test_one_process_has_a_claim(tmp_path):
    with claimed(tmp_path / "job") as mine:
        assert mine is not None
        with claimed(tmp_path / "job") as other:
            assert other is None
        assert str(os.getpid()) in holder(tmp_path / "job")
    assert holder(tmp_path / "job") is None
    assert os.listdir(tmp_path / "job") == []


def write_claim(folder, host, pid, start=None):
    folder.mkdir(exist_ok=True)
    plain = {"host": host, "processes": [[pid, start]]}
    (folder / "claim").write_text(json.dumps(plain))


def ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_claims_of_processes_that_are_gone_are_taken(tmp_path):
    here = claims.socket.gethostname()
    write_claim(tmp_path / "a", here, ended())
    write_claim(tmp_path / "b", here, os.getpid(), "another start: the number was used again")
    for name in "ab":
        with claimed(tmp_path / name) as mine:
            assert mine is not None, name


def test_claims_of_other_machines_hold_until_they_are_silent(tmp_path):
    write_claim(tmp_path / "job", "elsewhere", 1)
    with claimed(tmp_path / "job") as mine:
        assert mine is None
    long_ago = time.time() - claims.PATIENCE - 1
    os.utime(tmp_path / "job" / "claim", (long_ago, long_ago))
    with claimed(tmp_path / "job") as mine:
        assert mine is not None


def test_a_claim_holds_while_the_command_of_a_killed_harness_runs(tmp_path):
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with claimed(tmp_path / "job") as mine:
        mine.add(worker.pid)
        held = json.loads((tmp_path / "job" / "claim").read_text())
    held["processes"][0] = [ended(), None]
    (tmp_path / "job" / "claim").write_text(json.dumps(held))
    with claimed(tmp_path / "job") as other:
        assert other is None
    worker.communicate(b"\n")
    with claimed(tmp_path / "job") as other:
        assert other is not None


def test_what_another_worker_does_is_waited_for(tmp_path, monkeypatch, capsys):
    a, *_, last = diamond()
    write_claim_of_us = a.folder(tmp_path)
    write_claim_of_us.mkdir(parents=True)
    write_claim(write_claim_of_us, "elsewhere", 7)

    def other_worker_finishes(_):
        finish(a, tmp_path, 1.0, "elsewhere")
        (write_claim_of_us / "claim").unlink(missing_ok=True)

    monkeypatch.setattr(running.time, "sleep", other_worker_finishes)
    runner = Runner()
    assert run_jobs(ordered([last]), tmp_path, runner) == {}
    assert runner.ran == ["b", "c", "d"]
    assert "a: done by process 7 on elsewhere, waiting" in capsys.readouterr().err


# real processes

TOY = """
import os, sys, time
from pathlib import Path

def main(argv):
    kind, folder = argv
    print("told", kind)
    print("cards", repr(os.environ.get("CUDA_VISIBLE_DEVICES")))
    if kind == "fails":
        print("toy: it fails", file=sys.stderr)
        return 2
    if kind == "slow" and not (Path(folder) / "again").exists():
        (Path(folder) / "again").touch()
        time.sleep(60)
    (Path(folder) / "made").write_text("made")
    return 0
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A program of one's own among those of jobs."""
    (tmp_path / "toy_program.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(launch.PROGRAMS, "toy", "toy_program:main")
    return tmp_path


def test_a_command_runs_in_a_process_of_its_own_with_a_log(toy):
    for kind, code in (("works", 0), ("fails", 2)):
        job = Job(kind, ("toy", kind, "{out}"))
        job.folder(toy).mkdir(parents=True)
        pids = []
        assert launch.start(job, toy, "cpu", launch.Launcher(), pids.append) == code
        assert pids[0] != os.getpid()
        log = (job.folder(toy) / "log.txt").read_text()
        assert log.startswith(f"$ CUDA_VISIBLE_DEVICES= toy {kind} {job.folder(toy)}\n")
        assert f"told {kind}\ncards ''\n" in log
    assert "toy: it fails" in log


@pytest.mark.parametrize(
    ("device", "shown", "told", "cards"),
    [
        ("cpu", "0,1", "cpu", {"CUDA_VISIBLE_DEVICES": ""}),
        ("cuda", "0,1", "cuda", {}),
        ("cuda:1", "", "cuda", {"CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:1", "4,6", "cuda", {"CUDA_VISIBLE_DEVICES": "6"}),
    ],
)
def test_trainings_find_no_card_but_the_devices(monkeypatch, device, shown, told, cards):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert launch.only_device(device) == (told, cards)


def test_a_card_that_is_not_shown_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES is 4"):
        launch.only_device("cuda:1")


HARNESS = """
import sys
from pathlib import Path
from benchmarks.bench import launch
from benchmarks.bench.jobs import Job
from benchmarks.bench.running import run_jobs

if __name__ == "__main__":
    runs = Path(sys.argv[1])
    launch.PROGRAMS["toy"] = "toy_program:main"
    first = Job("first", ("toy", "works", "{out}"))
    slow = Job("slow", ("toy", "slow", "{out}"), needs=(first,))
    start = lambda job, claim: launch.start(job, runs, "cpu", launch.Launcher(), claim.add)
    assert run_jobs([first, slow], runs, start) == {}
"""


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_goes_on(toy):
    script = toy / "harness.py"
    script.write_text(textwrap.dedent(HARNESS))
    environment = {**os.environ, "PYTHONPATH": f"{toy}:{ROOT}"}
    words = [sys.executable, str(script), str(toy / "runs")]
    process = subprocess.Popen(words, env=environment)
    deadline = time.monotonic() + 120
    while not list((toy / "runs").glob("jobs/slow-*/again")):
        assert time.monotonic() < deadline, "the slow job never began"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    first = next((toy / "runs").glob("jobs/first-*/time.json"))
    before = first.read_bytes()
    done = subprocess.run(words, env=environment, timeout=120, check=True, capture_output=True)
    assert b"first" not in done.stderr
    assert time.monotonic() - killed < 50  # the killed one's command did not sleep to its end
    assert first.read_bytes() == before
    assert len(list((toy / "runs").glob("jobs/*/record.json"))) == 2
    assert list((toy / "runs").glob("jobs/*/claim")) == []


def test_torchrun_starts_the_installed_program(tmp_path, monkeypatch):
    script = tmp_path / "toy"
    script.touch()
    monkeypatch.setattr(launch.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    job = Job("a", ("toy", "train"), distributed=True)
    job.folder(tmp_path).mkdir(parents=True)
    three = launch.Launcher("torchrun", processes=3)
    assert launch.start(job, tmp_path, "cpu", three, lambda pid: None) == 0
    log = (job.folder(tmp_path) / "log.txt").read_text()
    assert f"--nproc_per_node=3 --no-python {script} train" in log
    script.unlink()
    with pytest.raises(InputError, match="no such program"):
        launch.start(job, tmp_path, "cpu", three, lambda pid: None)


class Submitted:
    """What submitit does, in this process."""

    def __init__(self, folder, cluster):
        if cluster != "slurm":
            raise RuntimeError(f"Cluster {cluster} is unknown")
        self.settings, self.commands = {}, []

    def update_parameters(self, **settings):
        self.settings |= settings

    def submit(self, function):
        self.commands.append(function)
        number = len(self.commands)
        error = RuntimeError("out of memory") if number == 2 else None
        return types.SimpleNamespace(job_id=str(number), exception=lambda: error)


def test_slurm_gets_workers_that_run_the_same_command(tmp_path, monkeypatch, capsys):
    made = []

    def executor(folder, cluster):
        made.append(Submitted(folder, cluster))
        return made[-1]

    fake = types.ModuleType("submitit")
    fake.AutoExecutor = executor
    fake.helpers = types.SimpleNamespace(CommandFunction=lambda words, verbose, cwd: (words, cwd))
    monkeypatch.setitem(sys.modules, "submitit", fake)
    launcher = launch.Launcher("slurm", partition="gpu")
    assert launch.submit_workers(["run", "table1"], tmp_path, launcher, 3) == 1
    assert made[0].settings == {
        "name": "ski-bench",
        "timeout_min": 1440,
        "slurm_partition": "gpu",
    }
    words, cwd = made[0].commands[0]
    assert words[1:] == ["-m", "benchmarks.bench", "run", "table1"]
    assert cwd == ROOT
    assert len(made[0].commands) == 3
    assert "workers: 1, 2, 3" in capsys.readouterr().out
    launch.submit_workers(["run"], tmp_path, launch.Launcher("slurm", 1, "gpu", 2), 30)
    assert len(made[1].commands) == 2


def test_submitit_itself_starts_workers(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setattr(launch, "CLUSTER", "local")
    two = launch.Launcher("slurm", partition="gpu", workers=2)
    assert launch.submit_workers(["list"], tmp_path, two, 5) == 0
    assert launch.submit_workers(["nonsense"], tmp_path, two, 5) == 2
    assert "table7" in "".join(p.read_text() for p in (tmp_path / "slurm").glob("*.out"))


def test_without_submitit_slurm_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match="pip install submitit"):
        launch.submit_workers([], tmp_path, launch.Launcher("slurm", partition="gpu"), 1)


# figures


def predictions(path, hits, groups=None):
    labels = np.zeros(len(hits), int)
    logits = np.eye(2)[[0 if hit else 1 for hit in hits]]
    names = tuple(f"c{i}" for i in range(len(hits)))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_predictions(Predictions(names, labels, logits, ("a", "b"), groups), path)


def test_a_figure_is_the_mean_over_seeds_and_draws(tmp_path):
    jobs = [Job(f"seed {seed}", ("toy", str(seed))) for seed in (0, 1, 2)]
    cell = Cell(
        "table1",
        "x",
        "unseen classes",
        "adl-mini",
        tuple(Result(job, f"{job.out}/scores/*.npz") for job in jobs),
    )
    assert figure(cell, tmp_path) is None
    for job, draws in zip(jobs, ([[1, 1, 1, 1]], [[1, 1, 0, 0], [1, 1, 1, 0]], []), strict=True):
        for number, hits in enumerate(draws):
            predictions(job.folder(tmp_path) / "scores" / f"{number}.npz", hits)
        if draws:
            finish(job, tmp_path, 1.0, "host")
    found = figure(cell, tmp_path)
    assert (found.seeds, found.n, found.chance) == (2, 4, 0.5)
    assert found.value == pytest.approx((1 + 0.625) / 2)
    assert found.sd == pytest.approx(np.std([1, 0.625], ddof=1))
    assert found.interval.low <= found.value <= found.interval.high


def test_seeds_of_different_clips_are_refused(tmp_path):
    jobs = [Job(f"seed {seed}", ("toy", str(seed))) for seed in (0, 1)]
    for size, job in enumerate(jobs, 3):
        predictions(job.folder(tmp_path) / "p.npz", [1] * size)
        finish(job, tmp_path, 1.0, "host")
    results = tuple(Result(job, f"{job.out}/p.npz") for job in jobs)
    with pytest.raises(InputError, match="other clips"):
        figure(Cell("t", "r", "c", "d", results), tmp_path)


def test_results_that_were_removed_are_named(tmp_path):
    job = Job("a", ("toy",))
    job.folder(tmp_path).mkdir(parents=True)
    finish(job, tmp_path, 1.0, "host")
    with pytest.raises(InputError, match="not there, though"):
        figure(Cell("t", "r", "c", "d", (Result(job, f"{job.out}/p.npz"),)), tmp_path)
