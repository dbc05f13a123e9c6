from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import two_processes
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from two_processes import CASES, Clips, build

from ski_skeleton.errors import ConfigError
from ski_skeleton.train import fit
from ski_skeleton.train.processes import (
    WholeBatchNorm,
    is_main_process,
    need_one_process,
    stage,
)


def log(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "seconds"} for x in lines]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """What two processes on the CPU leave, started by torchrun."""
    out = tmp_path_factory.mktemp("two")
    script = Path(two_processes.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(script), str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **hidden},
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "dropout"])
def test_two_processes_have_the_loss_curve_of_one(out, tmp_path, case):
    task, config = build(case)
    fit(task, Clips(), config, tmp_path / case)
    one, two = log(tmp_path / case), log(out / case)
    assert len(one) == 6
    assert [line["step"] for line in two] == [1, 2, 3, 4, 5, 6]
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    for rank in (0, 1):
        found = torch.load(out / f"{case}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, task.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_draw_apart_and_go_on_alike(out):
    weights = [
        torch.load(out / f"{case}-{rank}.pt", weights_only=True)
        for case in ("dropout", "stopped")
        for rank in (0, 1)
    ]
    for other in weights[1:]:
        assert all(torch.equal(weights[0][k], other[k]) for k in weights[0])


@pytest.mark.slow
def test_a_folder_that_is_not_shared_is_told(out):
    for rank in (0, 1):
        assert "use a shared folder" in (out / f"error-{rank}.txt").read_text()
    assert not (out / "elsewhere").exists()


@pytest.mark.slow
def test_a_batch_must_be_dealt_evenly(out):
    for rank in (0, 1):
        assert "cannot be dealt to 2 processes" in (out / f"odd-{rank}.txt").read_text()
    assert not (out / "odd").exists()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A group of this process alone."""
    file = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@given(
    shape=st.sampled_from([(6, 3), (4, 3, 5), (2, 3, 2, 4)]),
    seed=st.integers(0, 99),
    momentum=st.floats(0, 1),
)
def test_one_process_has_the_plain_batch_norm(group, shape, seed, momentum):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 2
    norm = {1: torch.nn.BatchNorm1d, 2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm2d}[x.ndim - 1]
    plain, whole = (norm(3, momentum=momentum).double() for _ in range(2))
    results = []
    for module, mode in ((plain, None), (whole, WholeBatchNorm())):
        own = x.clone().requires_grad_()
        if mode is None:
            y = module(own)
        else:
            with mode:
                y = module(own)
        (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
        results.append((y, own.grad, module.weight.grad, module.bias.grad, *module.buffers()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_evaluation_and_half_precision_under_the_norm(group):
    norm = torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    with WholeBatchNorm():
        half = norm(x.bfloat16())
        frozen = norm.eval()(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half.float(), F.batch_norm(x, None, None, training=True), atol=0.02, rtol=0.02
    )
    torch.testing.assert_close(frozen, norm(x), rtol=0, atol=0)


def test_the_first_process_writes(monkeypatch, capsys):
    assert is_main_process()
    need_one_process("probe")
    with stage("train") as report:
        assert report is not None
    assert "train: done" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not is_main_process()
    with stage("train") as report:
        assert report is None
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="probe runs in one process"):
        need_one_process("probe")
