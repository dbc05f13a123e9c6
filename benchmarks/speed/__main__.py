"""Every speed benchmark, one table: ``python -m benchmarks.speed [--quick] [--only NAME,...]``.

The programs ``benchmarks.speed.data``, ``skeleton``, ``vlm`` and ``lvlm`` one after the other.
"""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from json import dumps

from benchmarks.speed import table
from benchmarks.speed.measure import Facts, at_least_one, machine
from benchmarks.speed.table import Line
from ski_data import command
from ski_data.errors import InputError

COMPILERS = ("c++", "g++", "clang++")
TOY = "toy sizes, so figures say only that everything runs; no goal is judged"


@dataclass(frozen=True)
class Request:
    """What a program needs to know.

    Attributes:
        quick: Toy sizes, once.
        threads: Of PyTorch.
        clips: Of the skeleton store.
        folder: Where files are made; None takes the system's temporary folder.
    """

    quick: bool
    threads: int
    clips: int
    folder: str | None


def measure_data(ask: Request) -> tuple[Facts, list[Line]]:
    """Parsing, preprocessing, stores and videos."""
    from benchmarks.speed.data import measure

    clips = min(ask.clips, 60) if ask.quick else ask.clips
    rows = measure(clips=clips, folder=ask.folder, quick=ask.quick)
    return {"clips of the store": clips}, table.of_data(rows)


def measure_skeleton(ask: Request) -> tuple[Facts, list[Line]]:
    """Training steps and inference of the Hyperformer."""
    from benchmarks.speed.skeleton import measure

    compiler = any(map(shutil.which, COMPILERS))
    repeats, clips, frames = (1, 1, 8) if ask.quick else (6, 8, 64)
    facts, rows = measure(
        repeats=repeats,
        clips=clips,
        frames=frames,
        threads=ask.threads,
        uncompiled=ask.quick or not compiler,
    )
    facts = {"clips": clips, "frames": frames, **facts}
    if not compiler:
        facts["torch.compile"] = "left out, no C++ compiler"
    return facts, table.of_skeleton(rows)


def measure_vlm(ask: Request) -> tuple[Facts, list[Line]]:
    """Distillation, zero-shot evaluation and the loader of clips."""
    from benchmarks.speed.vlm import measure

    repeats, clips, test_clips = (1, 2, 2) if ask.quick else (2, 4, 2)
    facts, rows, loader = measure(
        repeats=repeats, clips=clips, test_clips=test_clips, threads=ask.threads, quick=ask.quick
    )
    facts = {"clips": clips, "clips of an evaluation": test_clips, **facts}
    return facts, table.of_vlm(rows, loader)


def measure_lvlm(ask: Request) -> tuple[Facts, list[Line]]:
    """Projector training and captions."""
    from benchmarks.speed.lvlm import measure

    repeats, pairs, clips, words = (1, 4, 2, 2) if ask.quick else (3, 16, 16, 48)
    facts, rows = measure(
        repeats=repeats,
        pairs=pairs,
        clips=clips,
        new_tokens=words,
        threads=ask.threads,
        quick=ask.quick,
    )
    facts = {"pairs": pairs, "captions": clips, "tokens of a caption": words, **facts}
    return facts, table.of_lvlm(rows)


PROGRAMS: Mapping[str, Callable[[Request], tuple[Facts, list[Line]]]] = {
    "data": measure_data,
    "skeleton": measure_skeleton,
    "vlm": measure_vlm,
    "lvlm": measure_lvlm,
}


def benchmark(
    *,
    quick: bool = False,
    only: str | None = None,
    threads: int = 2,
    clips: int = 114_480,
    folder: str | None = None,
    json: bool = False,
) -> None:
    """Measure every hot path, each beside the straightforward way and its floor, in one table.

    Args:
        quick: Toy sizes, to see that everything runs.
        only: Programs to run, commas between them: data, skeleton, vlm, lvlm.
        threads: Threads of PyTorch.
        clips: Clips of the skeleton store; NTU RGB+D 120 has 114,480, which takes 4 GB on disk.
        folder: Where to make files (removed at the end); the system's temporary folder by default.
        json: Print one JSON object instead of a table.
    """
    at_least_one(threads=threads, clips=clips)
    ask = Request(quick, threads, clips, folder)
    where = machine()
    facts: dict[str, Facts] = {"machine": where}
    if quick:
        facts["sizes"] = {"--quick": TOY}
    lines: list[Line] = []
    for name in chosen(only):
        print(f"benchmarks.speed.{name}", file=sys.stderr, flush=True)
        known, found = PROGRAMS[name](ask)
        facts[name] = {key: value for key, value in known.items() if key not in where}
        lines += [replace(line, goal="") for line in found] if quick else found
        gc.collect()  # models of one program are not the next one's memory
    if json:
        print(dumps({"facts": facts, "rows": [asdict(line) for line in lines]}, indent=1))
        return
    print(table.as_text(facts, lines))


def chosen(only: str | None) -> list[str]:
    """The programs that are asked for, in their own order.

    Raises:
        InputError: One that there is not, or none.
    """
    if only is None:
        return list(PROGRAMS)
    wanted = [name.strip() for name in only.split(",")]
    if unknown := [name for name in wanted if name not in PROGRAMS]:
        raise InputError(f"--only: no {unknown[0]!r}; there are {', '.join(PROGRAMS)}")
    return [name for name in PROGRAMS if name in wanted]


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.speed"))
