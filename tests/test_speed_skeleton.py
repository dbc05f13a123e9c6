"""The speed benchmark of the Hyperformer: its count of operations and its table."""

import json

import pytest
import torch

from benchmarks.speed.ceiling import Ceiling
from benchmarks.speed.plain_hyperformer import PlainHyperformer
from benchmarks.speed.skeleton import Way, benchmark, forward_flops, row
from ski_data.errors import InputError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig


def test_operations_of_a_clip():
    plain = PlainHyperformer(Hyperformer(HyperformerConfig(output=60))).eval()
    work = forward_flops(plain, torch.randn(1, 3, 64, 25, 2))
    assert work == pytest.approx(10.5e9, rel=0.01)


def test_a_row():
    ceiling = Ceiling(1)
    ceiling.product, ceiling.convolution = 200e9, 400e9
    ways = [
        Way("inference", "plain", int, [1.0, 3.0]),
        Way("inference", "ours", int, [0.5, 1.0]),
        Way("training step", "plain", int, [2.0]),
    ]
    found = row(ways[1], ways, 84e9, 8, ceiling)
    assert (found["ms"], found["clips/s"], found["GFLOP/s"]) == (500, 16, 168)
    assert (found["% of torch.mm"], found["% of 1x1 convolution"]) == (84, 42)
    assert (found["times as fast as plain"], found["by medians"]) == (2, 8 / 3)  # of 2 s and 0.75 s
    assert row(ways[2], ways, 84e9, 8, ceiling)["GFLOP/s"] == 126
    ways[1].seconds[0] = 0.9
    assert row(ways[1], ways, 84e9, 8, ceiling)["goal"] == "1.5 (missed)"


def test_settings_are_checked():
    with pytest.raises(InputError, match="--frames must be at least 1, not 0"):
        benchmark(frames=0)


@pytest.mark.slow
def test_a_small_run(capsys):
    threads = torch.get_num_threads()
    benchmark(repeats=1, clips=1, frames=8, threads=1, uncompiled=True, json=True)
    torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert {"plain", "ours", "folded"} <= {row["way"] for row in found["rows"]}
    assert all(row["ms"] > 0 for row in found["rows"])
    assert 0 < found["machine"]["relative deviation of bfloat16 features"] < 2e-2
