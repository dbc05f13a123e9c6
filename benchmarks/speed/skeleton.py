"""Speed of the Hyperformer at its published size: ``python -m benchmarks.speed.skeleton``.

Each way of computing it stands beside the plain formulation and beside what the machine's matrix
products reach, measured in turns in one run.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from json import dumps

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.ceiling import (
    Ceiling,
    bfloat16_instructions,
    half_precision,
    seconds_of,
)
from benchmarks.speed.measure import Cells, Facts, at_least_one, machine, print_tables
from benchmarks.speed.plain_hyperformer import PlainHyperformer
from ski_data import command
from ski_skeleton.fold import fold_batch_norm
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig

CLASSES = 60
STEP = 3
"""Forwards that a training step counts as."""
GOALS = {"ours": 1.5, "ours, bfloat16": 2.2}
"""Least ratio to the plain formulation that is aimed at."""


@dataclass
class Way:
    """One way of computing the same, and its times.

    Attributes:
        task: training step or inference.
        name: Of the way.
        run: Does it once.
        seconds: Processor seconds of each run, per thread.
    """

    task: str
    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)


def benchmark(
    *,
    repeats: int = 15,
    clips: int = 8,
    frames: int = 64,
    threads: int = 2,
    uncompiled: bool = False,
    json: bool = False,
) -> None:
    """Measure training steps and inference of the Hyperformer, 25 joints and two bodies.

    Args:
        repeats: Runs of each way, in turns.
        clips: Clips of a batch.
        frames: Frames of a clip.
        threads: Threads of PyTorch.
        uncompiled: Leave out torch.compile, which needs a C++ compiler.
        json: Print one JSON object instead of a table.
    """
    facts, rows = measure(
        repeats=repeats, clips=clips, frames=frames, threads=threads, uncompiled=uncompiled
    )
    if json:
        print(dumps({"machine": facts, "rows": rows}, indent=1))
        return
    print_tables(facts, rows)


def measure(
    *, repeats: int, clips: int, frames: int, threads: int, uncompiled: bool
) -> tuple[Facts, list[Cells]]:
    """Facts of the run and its rows; see :func:`benchmark`."""
    at_least_one(repeats=repeats, clips=clips, frames=frames, threads=threads)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = lively(Hyperformer(HyperformerConfig(output=CLASSES)))
    batch = torch.randn(clips, 3, frames, 25, 2)
    labels = torch.randint(0, CLASSES, (clips,))
    work = forward_flops(PlainHyperformer(model).eval(), batch)
    deviation = bfloat16_deviation(model.eval(), batch)
    ways = ways_of(model, batch, labels, compiled=not uncompiled)
    ceiling = Ceiling(threads)
    for way in ways:
        way.run()  # compiles, and finds memory and kernels
    for _ in range(repeats):
        for way in ways:
            ceiling.measure()
            way.seconds.append(seconds_of(way.run, threads))
    rows = [row(way, ways, work, clips, ceiling) for way in ways]
    facts: Facts = machine() | {
        "torch": torch.__version__,
        "threads": threads,
        "bfloat16 instructions": bfloat16_instructions(),
        "GFLOP per clip, forward": round(work / clips / 1e9, 2),
        "torch.mm, GFLOP/s": round(ceiling.product / 1e9),
        "1x1 convolution, GFLOP/s": round(ceiling.convolution / 1e9),
        "relative deviation of bfloat16 features": round(deviation, 5),
    }
    return facts, rows


def lively(model: Hyperformer) -> Hyperformer:
    """Attention switched on; a new model's has no effect."""
    with torch.no_grad():
        for block in model.blocks:
            block.attention.alpha.fill_(0.5)
            block.attention.hop_vectors.normal_(0, 0.1)
            block.attention.edge_bias.normal_(0, 0.1)
    return model


def forward_flops(model: nn.Module, batch: Tensor) -> float:
    """Operations of a forward, two per multiplication with addition."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    return float(counter.get_total_flops())


def bfloat16_deviation(model: Hyperformer, batch: Tensor) -> float:
    """Distance of features under autocast, as a share of the features' own norm; the worst clip."""
    with torch.inference_mode():
        exact = model.encode(batch).features
        with half_precision():
            ours = model.encode(batch).features.float()
    return float(((ours - exact).norm(dim=1) / exact.norm(dim=1)).max())


def ways_of(model: Hyperformer, batch: Tensor, labels: Tensor, *, compiled: bool) -> list[Way]:
    """All ways, the plain one of each task first."""
    plain = PlainHyperformer(model)
    folded = fold_batch_norm(model)

    def step(module: nn.Module, *, half: bool = False) -> Callable[[], object]:
        def run() -> None:
            module.train().zero_grad()
            with half_precision() if half else nullcontext():
                loss = F.cross_entropy(module(batch), labels)
            loss.backward()

        return run

    def infer(module: nn.Module, *, half: bool = False) -> Callable[[], object]:
        def run() -> None:
            module.eval()
            with torch.inference_mode(), half_precision() if half else nullcontext():
                module(batch)

        return run

    found = [
        Way("training step", "plain", step(plain)),
        Way("training step", "ours", step(model)),
        Way("training step", "ours, bfloat16", step(model, half=True)),
        Way("inference", "plain", infer(plain)),
        Way("inference", "ours", infer(model)),
        Way("inference", "ours, bfloat16", infer(model, half=True)),
        Way("inference", "folded", infer(folded)),
        Way("inference", "folded, bfloat16", infer(folded, half=True)),
    ]
    if compiled:
        found.append(Way("inference", "folded, torch.compile", infer(torch.compile(folded))))
    return found


def row(way: Way, ways: list[Way], work: float, clips: int, ceiling: Ceiling) -> Cells:
    """One row of the table; ratios are those of the best runs and of the median ones."""
    best = min(way.seconds)
    plain = next(other for other in ways if other.task == way.task and other.name == "plain")
    rate = work * (STEP if way.task == "training step" else 1) / best
    ratio = min(plain.seconds) / best
    goal = GOALS.get(way.name)
    missed = " (missed)" if goal is not None and ratio < goal else ""
    return {
        "task": way.task,
        "way": way.name,
        "ms": best * 1e3,
        "clips/s": clips / best,
        "GFLOP/s": rate / 1e9,
        "% of torch.mm": 100 * rate / ceiling.product,
        "% of 1x1 convolution": 100 * rate / ceiling.convolution,
        "times as fast as plain": ratio,
        "by medians": statistics.median(plain.seconds) / statistics.median(way.seconds),
        "goal": "" if goal is None else f"{goal:g}{missed}",
    }


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.speed.skeleton"))
