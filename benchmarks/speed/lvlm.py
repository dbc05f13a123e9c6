"""Speed of projector training and captioning: ``python -m benchmarks.speed.lvlm``.

A training step over a mix of lengths and the captions of 16 clips, each beside the straightforward
formulation and beside what the machine's matrix products reach in bfloat16, in turns in one run.
With a GPU, the language model has the shape of LLaMA 7B.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.speed.ceiling import bfloat16_instructions, half_precision
from benchmarks.speed.measure import Cells, Facts, at_least_one, machine, print_tables
from benchmarks.speed.plain_lvlm import PlainLvlm
from ski_data import command
from ski_lvlm.conversations import length_grouped
from ski_lvlm.engine import DeepSpeedEngine, Engine, PlainEngine, deepspeed_config, processes
from ski_lvlm.generation import RunningBatch, Sampling
from ski_lvlm.model import Batch, SkiLvlm
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_lvlm.prompts import IGNORE, Encoded, collate
from ski_lvlm.tokens import added_token_ids

TRAIN, CAPTION = "training step", "captions"
PLAIN, OURS = "straightforward", "ours"
GOALS = {TRAIN: 2.0, CAPTION: 5.0}
"""Least ratio of tokens per second that is aimed at."""
RATE = 2e-5
AT_ONCE = 16
"""Clips that are captioned at once."""
PAIRS, EPOCHS, GPUS = 100_000, 3, 8
"""Of the published training, for the projected time."""


@dataclass(frozen=True)
class Sizes:
    """A language model's shape, and tokens of a prompt."""

    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    video: int
    skeleton: int
    tied: bool = False


SMOLLM2 = Sizes(576, 1536, 30, 9, 3, 49152, 89, 64, tied=True)
"""SmolLM2-135M, a quarter of the published 356 + 256 visual tokens."""
LLAMA_7B = Sizes(4096, 11008, 32, 32, 32, 32003, 356, 256)
TOY = Sizes(32, 64, 2, 2, 1, 200, 6, 4)


@dataclass
class Way:
    """One way of doing a task, and what it took.

    Attributes:
        task: :data:`TRAIN` or :data:`CAPTION`.
        name: Of the way.
        run: Does it once.
        tokens: What counts: tokens of prompts in a training step, new tokens of captions.
        work: Operations that the task needs, whichever the way.
        seconds: Of each run.
        memory: Peak bytes of a run above those before it.
    """

    task: str
    name: str
    run: Callable[[], object]
    tokens: int
    work: float
    seconds: list[float] = field(default_factory=list)
    memory: int = 0


class Clock:
    """Seconds and memory of a call: processor seconds of a thread on CPU, wall seconds on GPU."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device, self.threads = device, threads

    def seconds(self, run: Callable[[], object]) -> float:
        """Of one call."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            torch.cuda.synchronize()
            return time.perf_counter() - start
        start = time.process_time()
        run()
        return max(time.process_time() - start, 1e-9) / self.threads

    def memory(self, run: Callable[[], object]) -> int:
        """Peak of one call above what was there before; 0 where the system does not tell."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            return torch.cuda.max_memory_allocated() - before
        reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
        if not reset.exists():
            run()
            return 0
        if hasattr(allocator := ctypes.CDLL(None), "malloc_trim"):
            allocator.malloc_trim(0)  # what earlier runs freed does not hide what this one takes
        reset.write_text("5")
        before = _kilobytes(status, "VmRSS")
        run()
        return max(_kilobytes(status, "VmHWM") - before, 0) * 1024


def benchmark(
    *,
    repeats: int = 3,
    pairs: int = 16,
    clips: int = 16,
    new_tokens: int = 48,
    threads: int = 2,
    quick: bool = False,
    json: bool = False,
) -> None:
    """Measure projector training and captioning over a language model with random weights.

    Args:
        repeats: Runs of each way, in turns.
        pairs: Prompts of a training step, in micro-batches of 4.
        clips: Clips that are captioned.
        new_tokens: Tokens of a caption.
        threads: Threads of PyTorch.
        quick: A toy model, to see that everything runs.
        json: Print one JSON object instead of a table.
    """
    facts, rows = measure(
        repeats=repeats,
        pairs=pairs,
        clips=clips,
        new_tokens=new_tokens,
        threads=threads,
        quick=quick,
    )
    if json:
        print(dumps({"machine": facts, "rows": rows}, indent=1))
        return
    print_tables(facts, rows)


def measure(
    *, repeats: int, pairs: int, clips: int, new_tokens: int, threads: int, quick: bool
) -> tuple[Facts, list[Cells]]:
    """Facts of the run and its rows; see :func:`benchmark`."""
    at_least_one(repeats=repeats, pairs=pairs, clips=clips, new_tokens=new_tokens, threads=threads)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    sizes = TOY if quick else LLAMA_7B if gpu else SMOLLM2
    with processes("2" if gpu else "none") as device:
        clock = Clock(device, threads)
        model = build(sizes, device)
        engine = _engine(model, gpu)
        ways = ways_of(model, engine, sizes, pairs, clips, new_tokens)
        ceiling = 0.0
        for number in range(repeats):
            for way in ways:
                ceiling = max(ceiling, product(clock))
                if number == 0:
                    way.memory = clock.memory(way.run)
                way.seconds.append(clock.seconds(way.run))
                best = f"{way.task}, {way.name}: {min(way.seconds):.2f} s"
                print(f"run {number + 1}: {best}", file=sys.stderr, flush=True)
        rows = [row(way, ways, ceiling) for way in ways]
        facts: Facts = machine() | {
            "torch": torch.__version__,
            "threads": threads,
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "bfloat16 instructions": bfloat16_instructions(),
            "product of bfloat16 matrices, GFLOP/s": round(ceiling / 1e9),
        }
        if gpu:
            step = next(way for way in ways if (way.task, way.name) == (TRAIN, OURS))
            hours = min(step.seconds) * EPOCHS * PAIRS / (pairs * GPUS) / 3600
            facts[f"projected hours of {EPOCHS} x {PAIRS} pairs on {GPUS} such GPUs"] = round(
                hours, 2
            )
    return facts, rows


def build(sizes: Sizes, device: torch.device) -> SkiLvlm:
    """The frozen model in bfloat16 with both projectors; random weights."""
    config = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        intermediate_size=sizes.inner,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_heads,
        tie_word_embeddings=sizes.tied,
        max_position_embeddings=2048,
        eos_token_id=None,  # captions of one length
    )
    with device:
        language_model = LlamaForCausalLM(config).to(torch.bfloat16)
        projectors = Projectors(ProjectorConfig(width=sizes.width)).to(torch.bfloat16)
    return SkiLvlm(language_model, projectors, sizes.vocabulary).to(device).train()


def _engine(model: SkiLvlm, gpu: bool) -> Engine:
    if not gpu:
        return PlainEngine(model, clip_norm=1.0)
    config = deepspeed_config("2", micro_batch=4, parts=1, clip_norm=1.0, bfloat16=True)
    return DeepSpeedEngine(model, config)


def make_rows(sizes: Sizes, count: int, rng: np.random.Generator) -> list[Encoded]:
    """Prompts as trainings have them: system text, visual tokens, question, answer.

    The questions have 8 to 24 tokens, the answers 5 to 250, log-normal with median 40.
    """
    ids = added_token_ids(sizes.vocabulary)
    rows = []
    for _ in range(count):
        answer = int(np.clip(rng.lognormal(np.log(40), 0.9), 5, 250))
        text = [rng.integers(3, sizes.vocabulary, n).tolist() for n in (36, rng.integers(8, 25))]
        visual: list[int] = []
        for word, length in (("vid", sizes.video), ("pose", sizes.skeleton)):
            visual += [ids[f"<{word}_start>"], *[ids[f"<{word}_patch>"]] * length]
            visual.append(ids[f"<{word}_end>"])
        said = rng.integers(3, sizes.vocabulary, answer).tolist()
        prompt = [*text[0], *visual, *text[1]]
        rows.append(Encoded([*prompt, *said], [IGNORE] * len(prompt) + said, cut=False))
    return rows


def make_batch(sizes: Sizes, rows: list[Encoded], device: torch.device) -> Batch:
    """Rows padded to the longest, with random features."""
    ids, labels, mask = (part.to(device) for part in collate(rows, 0))
    noise = [
        torch.randn(len(rows), length, channels, device=device)
        for length, channels in ((sizes.video, 1024), (sizes.skeleton, 216))
    ]
    return Batch(ids, mask, labels, *noise)


def ways_of(
    model: SkiLvlm, engine: Engine, sizes: Sizes, pairs: int, clips: int, new_tokens: int
) -> list[Way]:
    """Both ways of both tasks, the straightforward one first."""
    rng = np.random.default_rng(0)
    device = model.language_model.device
    plain = PlainLvlm(model)
    alone = PlainLvlm(model, checkpointing=False).to(torch.bfloat16).eval()
    # Many batches' worth of pairs: ours groups them by length, the other takes them as they come.
    pool = make_rows(sizes, 50 * pairs, rng)
    lengths = np.array([len(row.ids) for row in pool])
    grouped = length_grouped(lengths, pairs, seed=0, epoch=0)
    typical = [float(lengths[batch].sum()) for batch in grouped]
    chosen = grouped[int(np.argsort(typical)[len(typical) // 2])]
    ours = [
        make_batch(sizes, [pool[i] for i in chosen[at : at + 4]], device)
        for at in range(0, pairs, 4)
    ]
    theirs = [
        make_batch(sizes, [pool[at + i] for i in range(min(4, pairs - at))], device)
        for at in range(0, pairs, 4)
    ]

    def train_plain() -> None:
        optimizer = state.setdefault("optimizer", _adam(plain))
        plain.train()
        for batch in theirs:
            with half_precision() if device.type == "cpu" else torch.autocast("cuda"):
                loss = plain(batch) / len(theirs)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def train_ours() -> None:
        model.train()
        tokens = sum(int((b.labels != IGNORE).sum()) for b in ours if b.labels is not None)
        for batch in ours:
            engine.backward(batch, tokens)
        engine.step(RATE)

    state: dict[str, torch.optim.Optimizer] = {}
    questions = [row.ids[: row.labels.count(IGNORE)] for row in make_rows(sizes, clips, rng)]
    asked = [Encoded(ids, [IGNORE] * len(ids), cut=False) for ids in questions]
    prompts = [make_batch(sizes, [one], device) for one in asked]
    sampling = Sampling(max_new_tokens=new_tokens)

    def caption_plain() -> None:
        for prompt in prompts:
            alone.generate(prompt, new_tokens)

    def caption_ours() -> None:
        model.eval()
        running = RunningBatch(model, size=AT_ONCE, sampling=sampling, ends=frozenset())
        for _ in running.answers(prompts):
            pass

    fresh = clips * new_tokens
    read = sum(prompt.ids.shape[1] for prompt in prompts)
    return [
        Way(TRAIN, PLAIN, train_plain, *_needed(sizes, theirs)),
        Way(TRAIN, OURS, train_ours, *_needed(sizes, ours)),
        Way(CAPTION, PLAIN, caption_plain, fresh, _forward(sizes, read + fresh, fresh)),
        Way(CAPTION, OURS, caption_ours, fresh, _forward(sizes, read + fresh, fresh)),
    ]


def _adam(plain: PlainLvlm) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [p for p in plain.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0
    )


def _needed(sizes: Sizes, batches: list[Batch]) -> tuple[int, float]:
    """Tokens of a step without padding, and operations of forward and activation gradients."""
    tokens = sum(int(batch.mask.sum()) for batch in batches)
    said = sum(int((b.labels != IGNORE).sum()) for b in batches if b.labels is not None)
    return tokens, 2 * _forward(sizes, tokens, said)


def _forward(sizes: Sizes, tokens: int, said: int) -> float:
    """Operations of the matrix products over ``tokens``, with logits of ``said`` of them."""
    head = sizes.width // sizes.heads
    attention = 2 * sizes.width * (sizes.width + sizes.key_heads * head)
    layer = attention + 3 * sizes.width * sizes.inner
    return 2.0 * (layer * sizes.layers * tokens + sizes.width * sizes.vocabulary * said)


def product(clock: Clock) -> float:
    """Operations per second of a product of bfloat16 matrices, the best of three."""
    size = 8192 if clock.device.type == "cuda" else 2048
    left, right = torch.randn(2, size, size, device=clock.device).to(torch.bfloat16).unbind()
    return 2 * size**3 / min(clock.seconds(lambda: _product(left, right)) for _ in range(3))


def _product(left: Tensor, right: Tensor) -> Tensor:
    return torch.mm(left, right)


def row(way: Way, ways: list[Way], ceiling: float) -> Cells:
    """One row of the table; ratios are those of the best runs."""
    rate = way.tokens / min(way.seconds)
    other = next(w for w in ways if (w.task, w.name) == (way.task, PLAIN))
    ratio = rate / (other.tokens / min(other.seconds))
    goal = f"{GOALS[way.task]:g}" if way.name == OURS else ""
    if goal and ratio < GOALS[way.task]:
        goal += " (missed)"
    return {
        "task": way.task,
        "way": way.name,
        "s": min(way.seconds),
        "tokens": way.tokens,
        "tokens/s": rate,
        "% of the product": 100 * way.work / min(way.seconds) / ceiling,
        "peak MB more": way.memory / 1e6,
        "times as fast": ratio,
        "goal": goal,
    }


def _kilobytes(path: Path, key: str) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.speed.lvlm"))
