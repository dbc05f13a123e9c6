"""The speed benchmark of distillation: its plain formulation equals ours, and its tables."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.speed.ceiling import Ceiling
from benchmarks.speed.plain_vlm import PlainScd
from benchmarks.speed.vlm import (
    OURS,
    PLAIN,
    STEP,
    Part,
    Way,
    benchmark,
    build,
    make_batch,
    row,
    toy,
)
from ski_data.errors import InputError

PARTS = ("loss", "video_cross_entropy", "skeleton_cross_entropy", "distance")


@pytest.mark.parametrize("tokens", [77, 10])
def test_the_straightforward_step_is_ours(tokens):
    """Equal losses and gradients, whether or not prompts of up to ten tokens are cut."""
    torch.manual_seed(0)
    sizes = replace(toy(), raw=8)
    task, batch = build(sizes).double(), make_batch(sizes, 3)
    batch["skeleton"] = batch["skeleton"].double()
    found = []
    for model in (task, PlainScd(task, tokens)):
        task.train().zero_grad()
        losses = model.losses(batch)
        losses["loss"].backward()
        gradients = {n: p.grad for n, p in task.named_parameters() if p.grad is not None}
        found.append(({k: losses[k].detach() for k in PARTS}, gradients))
    (ours, our_gradients), (plain, plain_gradients) = found
    assert our_gradients.keys() == plain_gradients.keys()
    assert len(our_gradients) > 50
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(our_gradients, plain_gradients, rtol=1e-6, atol=1e-10)


def test_a_row():
    ceiling = Ceiling(1)
    ceiling.product, ceiling.convolution = 200e9, 400e9
    ways = [
        Way(STEP, PLAIN, 4, (Part(int, 4, [3.0, 2.0], 1e11), Part(int, 2, [6.0], 2e11))),
        Way(STEP, OURS, 4, (Part(int, 1, [12.0], 12e11),)),
    ]
    plain, ours = (row(way, ways, ceiling) for way in ways)
    assert (plain["s"], plain["clips/s"], plain["TFLOP"], plain["GFLOP/s"]) == (20, 0.2, 0.8, 40)
    assert (ours["% of torch.mm"], ours["% of 1x1 convolution"]) == (50, 25)
    assert (ours["times as fast"], ours["goal"]) == (20 / 12, "2 (missed)")


def test_settings_are_checked():
    with pytest.raises(InputError, match="--clips must be at least 1, not 0"):
        benchmark(clips=0)


@pytest.mark.slow
def test_a_small_run(capsys):
    threads = torch.get_num_threads()
    benchmark(repeats=1, clips=2, threads=1, quick=True, json=True)
    torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 7
    assert all(row["s"] > 0 and row["TFLOP"] > 0 for row in found["rows"])
    assert found["machine"]["deviation of bfloat16 cosines"] < 1e-2
    assert found["loader"]["clips/s of one worker"] > 0
