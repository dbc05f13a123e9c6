"""The program itself, killed at chance moments, as often as it takes, and given again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from test_supervised import plain_recipe
from tiny_run import write_store

CODE = "import sys; from ski_skeleton.cli import main; sys.exit(main())"


def start(folder, out):
    command = [sys.executable, "-c", CODE, "train-classifier", "recipe.yaml", "--out", out]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **hidden},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kept(folder):
    """Newest step of a checkpoint; 0 without one."""
    found = (folder / "killed/train/checkpoints").glob("[0-9]*")
    return max((int(path.name) for path in found), default=0)


@pytest.mark.slow
def test_killed_in_an_epoch_it_ends_with_the_same_bytes(tmp_path):
    plain = plain_recipe(write_store(tmp_path / "store"))
    plain["train"] |= {
        "epochs": 60,
        "accumulation": 2,
        "batch_size": 8,
        "log_every": 1,
        "checkpoint_seconds": 0,
        "workers": 1,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    whole = start(tmp_path, "whole")
    assert whole.wait(timeout=200) == 0, whole.stderr.read()
    lines = (tmp_path / "whole/train/log.jsonl").read_text().splitlines()
    seconds = yaml.safe_load(lines[-1])["seconds"]
    rng, before = np.random.default_rng(), 0
    for _ in range(2):
        running = start(tmp_path, "killed")
        while running.poll() is None and kept(tmp_path) <= before:
            time.sleep(0.01)
        assert running.poll() is None, running.stderr.read()
        delay = rng.uniform(0, seconds / 4)
        time.sleep(delay)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL, f"ended before {delay} s of {seconds} s"
        before = kept(tmp_path)
    assert 0 < before < len(lines)
    last = start(tmp_path, "killed")
    assert last.wait(timeout=200) == 0
    assert f"going on from step {before} of {len(lines)}" in last.stderr.read()
    found = [
        (tmp_path / out / "model/weights.safetensors").read_bytes() for out in ("whole", "killed")
    ]
    assert found[0] == found[1]


@pytest.mark.slow
def test_torchrun_deals_a_training_to_two_processes(tmp_path):
    """One model, written and told once, by the program itself."""
    plain = plain_recipe(write_store(tmp_path / "store"))
    plain["train"] |= {"epochs": 2, "batch_size": 8}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    script = tmp_path / "program.py"
    script.write_text(CODE, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(script), "train-classifier", "recipe.yaml", "--out", "run"],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run/model\n"
    assert done.stderr.count("train: done") == 1
    assert (tmp_path / "run/model/weights.safetensors").is_file()
    assert not (tmp_path / "run/train/checkpoints").exists()
