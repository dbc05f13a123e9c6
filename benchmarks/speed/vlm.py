"""Speed of distillation and of zero-shot recognition: ``python -m benchmarks.speed.vlm``.

A step of SkeletonCLIP distillation and zero-shot recognition with ViFi-CLIP, each beside the
straightforward formulation and beside what the machine's matrix products reach, in turns in one
run.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.ceiling import (
    Ceiling,
    bfloat16_instructions,
    half_precision,
    seconds_of,
)
from benchmarks.speed.measure import Cells, Facts, at_least_one, machine, print_tables
from benchmarks.speed.plain_vlm import PlainScd
from benchmarks.speed.skeleton import lively
from benchmarks.speed.vlm_loader import measure_stall
from ski_data import command
from ski_data.splits import zero_shot_split
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text import ClipConfig, ClipSizes
from ski_vlm.distill import ScdConfig, SkeletonDistillation
from ski_vlm.students import ViFiClip, ViFiClipConfig
from ski_vlm.tasks import LARGEST_SCALE

STEP, TEST = "distillation step", "zero-shot evaluation"
PLAIN, OURS, HALF = "straightforward", "ours", "ours, bfloat16"
FROZEN = "ours, SkeletonCLIP's text frozen"
GOALS = {(STEP, OURS): 2.0, (TEST, OURS): 2.4, (STEP, HALF): 1.8, (TEST, HALF): 1.8}
"""Least ratio that is aimed at: of ours to the straightforward way, of bfloat16 to ours."""


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    student: ViFiClipConfig
    encoder: HyperformerConfig
    classes: tuple[str, ...]
    raw: int
    """Frames of the skeletons that the straightforward way takes."""
    window: int
    """Frames that ours takes."""


@dataclass
class Part:
    """Work that is done as it is, and its times.

    Attributes:
        run: Does it once.
        times: How often a way does it.
        seconds: Processor seconds of each run, per thread.
        work: Operations, two per multiplication with addition.
    """

    run: Callable[[], object]
    times: int = 1
    seconds: list[float] = field(default_factory=list)
    work: float = 0.0

    def measure(self, threads: int) -> None:
        """Run it once more; the first time its operations are counted."""
        counter = FlopCounterMode(display=False)
        with nullcontext() if self.work else counter:
            self.seconds.append(seconds_of(self.run, threads))
        self.work = self.work or float(counter.get_total_flops())


@dataclass
class Way:
    """One way of computing the same.

    Attributes:
        task: :data:`STEP` or :data:`TEST`.
        name: Of the way.
        clips: Of a batch.
        parts: One after the other.
        beside: The way that it is compared with.
    """

    task: str
    name: str
    clips: int
    parts: tuple[Part, ...]
    beside: str = PLAIN

    @property
    def seconds(self) -> float:
        """The best times of the parts."""
        return sum(min(part.seconds) * part.times for part in self.parts)

    @property
    def work(self) -> float:
        """Operations of all parts."""
        return sum(part.work * part.times for part in self.parts)


def benchmark(
    *,
    repeats: int = 2,
    clips: int = 4,
    test_clips: int = 2,
    threads: int = 2,
    quick: bool = False,
    json: bool = False,
) -> None:
    """Measure ViFi-CLIP's distillation and zero-shot evaluation, ViT-B/16 and 110 classes.

    Args:
        repeats: Runs of each way, in turns; the straightforward ones take a minute each.
        clips: Clips of a training step.
        test_clips: Clips of an evaluation.
        threads: Threads of PyTorch.
        quick: Toy towers, to see that everything runs.
        json: Print one JSON object instead of tables.
    """
    facts, rows, loader = measure(
        repeats=repeats, clips=clips, test_clips=test_clips, threads=threads, quick=quick
    )
    if json:
        print(dumps({"machine": facts, "rows": rows, "loader": loader}, indent=1))
        return
    print_tables(facts, rows, [loader])


def measure(
    *, repeats: int, clips: int, test_clips: int, threads: int, quick: bool
) -> tuple[Facts, list[Cells], Cells]:
    """Facts of the run, its rows, and the loader's row; see :func:`benchmark`."""
    at_least_one(repeats=repeats, clips=clips, test_clips=test_clips, threads=threads)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    sizes = toy() if quick else published()
    task = build(sizes)
    batch = make_batch(sizes, max(clips, test_clips))
    ceiling, ways = Ceiling(threads), ways_of(task, batch, sizes, clips, test_clips)
    for number in range(repeats):
        for way in ways:
            ceiling.measure()
            for part in way.parts:
                part.measure(threads)
            best = f"{way.task}, {way.name}: {way.seconds:.2f} s"
            print(f"run {number + 1}: {best}", file=sys.stderr, flush=True)
    video = batch["video"][:test_clips]
    cosines = bfloat16_deviation(task.student.eval(), video, sizes.classes)
    scale = task.student.logit_scale.exp()
    with tempfile.TemporaryDirectory(prefix="ski-speed-") as made:
        loop = Loop(task.student, sizes)
        stall = measure_stall(Path(made), loop.run, sizes.student.frames, loop.student.image_size)
    rows = [row(way, ways, ceiling) for way in ways]
    facts: Facts = machine() | {
        "torch": torch.__version__,
        "threads": threads,
        "bfloat16 instructions": bfloat16_instructions(),
        "torch.mm, GFLOP/s": round(ceiling.product / 1e9),
        "1x1 convolution, GFLOP/s": round(ceiling.convolution / 1e9),
        "deviation of bfloat16 cosines": round(cosines, 5),
        "of logits at a new model's scale": round(cosines * float(scale), 5),
        "of logits at a trained CLIP's scale": round(cosines * LARGEST_SCALE, 5),
    }
    return facts, rows, stall.row()


def published() -> Sizes:
    """ViT-B/16 on 16 frames, the published Hyperformer, the seen classes of NTU120's 110/10."""
    classes = zero_shot_split("ntu120/110-10").seen.names
    return Sizes(ViFiClipConfig(), HyperformerConfig(), tuple(classes), 300, 64)


def toy() -> Sizes:
    """Towers of one block on four frames of 32 pixels."""
    clip = ClipSizes(
        embed=16,
        image=32,
        patch=16,
        vision_width=32,
        vision_layers=1,
        vision_head=16,
        text_width=16,
        text_layers=1,
        text_heads=1,
    )
    student = ViFiClipConfig(clip=ClipConfig(architecture=None, sizes=clip), frames=4)
    encoder = HyperformerConfig(heads=1, strides=(2,), persons=1, output=16)
    return Sizes(student, encoder, ("clap", "sit down", "stand up"), 16, 8)


def build(sizes: Sizes) -> SkeletonDistillation:
    """The task with the released losses, random weights, both text towers training."""
    config = SkeletonClipConfig(sizes.encoder, sizes.student.clip, train_text=True)
    teacher = SkeletonClip(config)
    lively(teacher.encoder)  # type: ignore[arg-type]
    student = ViFiClip(sizes.student)
    return SkeletonDistillation(student, teacher, sizes.classes, ScdConfig(logits="released"))


def make_batch(sizes: Sizes, clips: int) -> dict[str, Tensor]:
    """Noise: uint8 ``video``, ``skeleton`` of all raw frames, ``label``."""
    clip = sizes.student.clip
    side = 224 if clip.sizes is None else clip.sizes.image
    encoder = sizes.encoder
    shape = (clips, 3, sizes.raw, encoder.joints, encoder.persons)
    return {
        "video": torch.randint(
            0, 256, (clips, sizes.student.frames, side, side, 3), dtype=torch.uint8
        ),
        "skeleton": torch.randn(shape),
        "label": torch.randint(0, len(sizes.classes), (clips,)),
    }


def ways_of(
    task: SkeletonDistillation, batch: dict[str, Tensor], sizes: Sizes, clips: int, test_clips: int
) -> list[Way]:
    """All ways, the straightforward one of each task first."""
    plain, student = PlainScd(task), task.student
    frozen = copy.copy(task)  # the same weights but for the text tower that is frozen
    frozen._modules = dict(task._modules)
    frozen.teacher = copy.copy(task.teacher)
    frozen.teacher._modules = dict(task.teacher._modules)
    frozen.teacher.text = copy.deepcopy(task.teacher.text).freeze()
    one = {key: value[:1] for key, value in batch.items()}
    short = {**batch, "skeleton": batch["skeleton"][:, :, : sizes.window]}
    short = {key: value[:clips] for key, value in short.items()}

    def plain_parts(run: Callable[[Callable[[], Tensor]], Callable[[], object]], n: int) -> tuple:
        return (
            Part(run(lambda: plain.video(one["video"])), n),
            Part(run(lambda: plain.text(student.text, task.names)), 2),
            Part(run(lambda: plain.skeleton(one["skeleton"])), n),
        )

    def train(forward: Callable[[], Tensor]) -> Callable[[], object]:
        def run() -> None:
            task.train().zero_grad()
            frozen.zero_grad()
            forward().sum().backward()

        return run

    def infer(forward: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            task.eval()
            with torch.no_grad():
                forward()

        return run

    def step(of: SkeletonDistillation, *, half: bool = False) -> Callable[[], Tensor]:
        def forward() -> Tensor:
            with half_precision() if half else nullcontext():
                return of.losses(short)["loss"]

        return forward

    texts = student.encode_classes(task.names).detach()  # once for all clips of an evaluation
    video = batch["video"][:test_clips]

    def score(*, half: bool = False) -> Callable[[], object]:
        def forward() -> object:
            with half_precision() if half else nullcontext():
                return student.score(student.normalise(video), texts)

        return forward

    return [
        Way(STEP, PLAIN, clips, plain_parts(train, clips)),
        Way(STEP, OURS, clips, (Part(train(step(task))),)),
        Way(STEP, FROZEN, clips, (Part(train(step(frozen))),)),
        Way(STEP, HALF, clips, (Part(train(step(task, half=True))),), OURS),
        Way(TEST, PLAIN, test_clips, plain_parts(infer, test_clips)),
        Way(TEST, OURS, test_clips, (Part(infer(score())),)),
        Way(TEST, HALF, test_clips, (Part(infer(score(half=True))),), OURS),
    ]


def bfloat16_deviation(student: ViFiClip, video: Tensor, names: tuple[str, ...]) -> float:
    """Greatest difference of a cosine under autocast."""
    with torch.no_grad():
        pixels, texts = student.normalise(video), student.encode_classes(names)
        exact = student.score(pixels, texts).cosines
        with half_precision():
            ours = student.score(pixels, texts).cosines
    return float((ours - exact).abs().max())


class Loop:
    """What takes the loader's batches: the image tower's forward, a third of a training step."""

    def __init__(self, student: ViFiClip, sizes: Sizes) -> None:
        self.student = student
        self.texts = student.encode_classes(sizes.classes).detach()

    def run(self, video: Tensor) -> None:
        """uint8 ``(N, T, H, W, 3)``."""
        with torch.no_grad():
            self.student.score(self.student.normalise(video), self.texts)


def row(way: Way, ways: list[Way], ceiling: Ceiling) -> Cells:
    """One row of the table; ratios are those of the best runs."""
    other = next(w for w in ways if (w.task, w.name) == (way.task, way.beside))
    ratio, rate = other.seconds / way.seconds, way.work / way.seconds
    goal = GOALS.get((way.task, way.name))
    missed = " (missed)" if goal is not None and ratio < goal else ""
    return {
        "task": way.task,
        "way": way.name,
        "clips": str(way.clips),
        "s": way.seconds,
        "clips/s": way.clips / way.seconds,
        "TFLOP": way.work / 1e12,
        "GFLOP/s": rate / 1e9,
        "% of torch.mm": 100 * rate / ceiling.product,
        "% of 1x1 convolution": 100 * rate / ceiling.convolution,
        "times as fast": ratio,
        "as": way.beside,
        "goal": "" if goal is None else f"{goal:g}{missed}",
    }


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.speed.vlm"))
