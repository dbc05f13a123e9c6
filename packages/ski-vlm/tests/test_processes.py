"""Trainings by two processes are those of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tiny_videos import plain_recipe, skeleton_side, write_clips, write_recipe

from ski_skeleton.weights import read_weights
from ski_vlm.cli import main

SCRIPT = """
import sys
import torch
from ski_vlm.cli import main

for name in sys.argv[1:]:
    assert main(["train", f"{name}.yaml", "--out", f"two-{name}"]) == 0
torch.distributed.destroy_process_group()
"""
METHODS = {
    "finetune": {"kind": "finetune", "label_smoothing": 0.1},
    "scd": {"kind": "scd"},
    "scd-released": {"kind": "scd", "logits": "released"},
    "scd-contrastive": {"kind": "scd", "distance": "contrastive"},
    "feature": {"kind": "feature"},
    "tri-modal": {"kind": "tri-modal"},
    "cross-projection": {"kind": "cross-projection", "dropout": 0.0},
}


def write(folder, name):
    """One recipe on clips that all see alike."""
    clips = write_clips(folder / "clips") if name == "finetune" else folder / "clips"
    side = {} if name == "finetune" else {"skeleton": skeleton_side(train_text=True)}
    plain = plain_recipe(clips, method=METHODS[name], **side)
    plain["train"]["optim"] = {"name": "sgd", "lr": 0.05}
    write_recipe(folder / f"{name}.yaml", plain)


def log(run):
    lines = (run / "seed-0/log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Recipes, and what two processes make of them."""
    out = tmp_path_factory.mktemp("two")
    for name in METHODS:
        write(out, name)
    (out / "run.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(out / "run.py"), *METHODS],
        cwd=out,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_two_processes_have_the_loss_curve_of_one(out, name, monkeypatch):
    monkeypatch.chdir(out)
    assert main(["train", f"{name}.yaml", "--out", f"one-{name}"]) == 0
    one, two = log(out / f"one-{name}"), log(out / f"two-{name}")
    assert len(one) == len(two) > 1
    for mine, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4, abs=1e-5)
    found = [
        read_weights(out / f"{n}-{name}/seed-0/model/weights.safetensors") for n in ("one", "two")
    ]
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        assert float((found[1][key] - value).abs().max()) < 1e-4, key
