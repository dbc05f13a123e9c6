"""Two processes on one machine, started by the command line as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_lvlm import losses, write_recipe

from ski_lvlm.recipe import read_recipe
from ski_lvlm.train import train


def start(recipe, out, processes):
    launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in launcher}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "ski_lvlm", "train", recipe, "--out", out]
    return subprocess.Popen(
        [*command, "--processes", str(processes)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers(parent):
    """Process numbers of the training processes, in the order of their ranks."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [item[5:] for item in environment if item.startswith(b"RANK=")]
        if int(stat[1]) == parent and ranks:
            found[int(ranks[0])] = int(entry.name)
    return [found[rank] for rank in sorted(found)]


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    """Losses of one process in plain PyTorch."""
    folder = tmp_path_factory.mktemp("alone")
    train(read_recipe(write_recipe(folder / "r.yaml", tiny)), folder / "run")
    return losses(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("zero", ["2", "3", "none"])
def test_two_processes_are_as_one(tiny, alone, tmp_path, zero):
    run = start(write_recipe(tmp_path / "r.yaml", tiny, zero=zero), tmp_path / "run", 2)
    out, err = run.communicate(timeout=240)
    assert run.returncode == 0, err
    assert out == f"{tmp_path / 'run' / 'model'}\n"
    assert losses(tmp_path / "run") == pytest.approx(alone, rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
@pytest.mark.parametrize(("zero", "others"), [("2", 2), ("3", 1)])
def test_killed_process_and_how_it_goes_on(tiny, tmp_path, zero, others):
    settings = {"zero": zero, "epochs": 40, "checkpoint_every": 1}
    recipe = write_recipe(tmp_path / "r.yaml", tiny, **settings)
    run = start(recipe, tmp_path / "run", 2)
    limit = time.monotonic() + 200
    while not list((tmp_path / "run" / "checkpoints").glob("[0-9]*")):
        assert time.monotonic() < limit
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(workers(run.pid)[1], signal.SIGKILL)
    out, err = run.communicate(timeout=100)
    assert run.returncode == 1
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert "process 1 of 2 was ended by SIGKILL" in last
    assert "run the same command again" in last
    whole = read_recipe(write_recipe(tmp_path / "whole.yaml", tiny, **settings | {"zero": "none"}))
    again = start(recipe, tmp_path / "run", others)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    train(whole, tmp_path / "whole")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


@pytest.mark.slow
def test_wrong_input_is_told_once(tiny, tmp_path):
    recipe = write_recipe(tmp_path / "r.yaml", tiny, batch_size=64)
    run = start(recipe, tmp_path / "run", 2)
    out, err = run.communicate(timeout=240)
    assert run.returncode == 2
    assert out == ""
    assert err.count("less than one batch of 64") == 1
    assert "Traceback" not in err
