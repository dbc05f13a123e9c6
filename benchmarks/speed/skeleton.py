"""Speed of the Hyperformer at its published size: ``python -m benchmarks.speed.skeleton``.

Each way of computing it stands beside the plain formulation and beside what the machine's matrix
products reach, measured in turns in one run.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from json import dumps

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.measure import machine
from benchmarks.speed.plain_hyperformer import PlainHyperformer
from ski_data import command
from ski_data.errors import InputError
from ski_skeleton.fold import fold_batch_norm
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig

CLASSES = 60
PRODUCT = 2048
"""Rows and columns of the matrices whose product is the ceiling."""
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
    for name, value in {"repeats": repeats, "clips": clips, "frames": frames}.items():
        if value < 1:
            raise InputError(f"--{name} must be at least 1, not {value}")
    if threads < 1:
        raise InputError(f"--threads must be at least 1, not {threads}")
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
            way.seconds.append(_seconds(way.run, threads))
    rows = [row(way, ways, work, clips, ceiling) for way in ways]
    facts: dict[str, str | int | float] = dict(machine()) | {
        "torch": torch.__version__,
        "threads": threads,
        "bfloat16 instructions": bfloat16_instructions(),
        "GFLOP per clip, forward": round(work / clips / 1e9, 2),
        "torch.mm, GFLOP/s": round(ceiling.product / 1e9),
        "1x1 convolution, GFLOP/s": round(ceiling.convolution / 1e9),
        "relative deviation of bfloat16 features": round(deviation, 5),
    }
    if json:
        print(dumps({"machine": facts, "rows": rows}, indent=1))
        return
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    print("| " + " | ".join(rows[0]) + " |")
    print("| --- | --- |" + " ---: |" * (len(rows[0]) - 2))
    for values in rows:
        print("| " + " | ".join(map(_text, values.values())) + " |")


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
        with _bfloat16():
            ours = model.encode(batch).features.float()
    return float(((ours - exact).norm(dim=1) / exact.norm(dim=1)).max())


def bfloat16_instructions() -> str:
    """What the processor has for products of bfloat16."""
    known = {"AMX": "_is_amx_tile_supported", "AVX-512": "_is_avx512_bf16_supported"}
    found = [name for name, test in known.items() if getattr(torch.cpu, test)()]
    return " and ".join(found) or "none"


class Ceiling:
    """Best rate so far of large float32 products, in operations per second.

    Attributes:
        product: That of ``torch.mm``.
        convolution: That of a 1x1 convolution, channels last, which another library computes.
    """

    def __init__(self, threads: int) -> None:
        self.threads, self.product, self.convolution = threads, 0.0, 0.0
        self.left, self.right = torch.randn(2, PRODUCT, PRODUCT).unbind()
        self.image = self.left.view(1, PRODUCT, 1, PRODUCT).permute(0, 3, 1, 2)

    def measure(self) -> None:
        """Both once more."""
        work, kernel = 2 * PRODUCT**3, self.right[:, :, None, None]
        seconds = _seconds(lambda: torch.mm(self.left, self.right), self.threads)
        self.product = max(self.product, work / seconds)
        seconds = _seconds(lambda: F.conv2d(self.image, kernel), self.threads)
        self.convolution = max(self.convolution, work / seconds)


def ways_of(model: Hyperformer, batch: Tensor, labels: Tensor, *, compiled: bool) -> list[Way]:
    """All ways, the plain one of each task first."""
    plain = PlainHyperformer(model)
    folded = fold_batch_norm(model)

    def step(module: nn.Module, *, half: bool = False) -> Callable[[], object]:
        def run() -> None:
            module.train().zero_grad()
            with _bfloat16() if half else nullcontext():
                loss = F.cross_entropy(module(batch), labels)
            loss.backward()

        return run

    def infer(module: nn.Module, *, half: bool = False) -> Callable[[], object]:
        def run() -> None:
            module.eval()
            with torch.inference_mode(), _bfloat16() if half else nullcontext():
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


def row(
    way: Way, ways: list[Way], work: float, clips: int, ceiling: Ceiling
) -> dict[str, str | float]:
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


def _bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def _seconds(function: Callable[[], object], threads: int) -> float:
    """Processor seconds of all threads, divided by their number."""
    start = time.process_time()
    function()
    return max(time.process_time() - start, 1e-9) / threads


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.speed.skeleton"))
