"""The main job: ``python -m apps.adl_mini [--out FOLDER] [--seeds N]``.

Makes adl-mini, pretrains a small CLIP, fine-tunes ViFi-CLIP, aligns SkeletonCLIP, distils it into
the student, evaluates all of them zero-shot, and writes models, result cards, a table and an HTML
page. Killed at any moment, the same command goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml

from apps.adl_mini import evaluation, report, stages
from apps.adl_mini.recipe import DEFAULT, AdlMiniRecipe, read_recipe
from ski_data import command
from ski_data.config import to_plain
from ski_data.errors import InputError
from ski_data.progress import Progress, seconds

T = TypeVar("T")
STAGES = 7


class Clock:
    """Runs stages, says which one, and remembers the time of each over restarts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: dict[str, float] = {}
        if path.exists():
            self.times = json.loads(path.read_text(encoding="utf-8"))

    def run(self, number: int, title: str, work: Callable[[str], T]) -> T:
        """Do one stage and add its time."""
        label = f"[{number}/{STAGES}] {title}"
        print(label, file=sys.stderr, flush=True)
        start = time.monotonic()
        result = work(label)
        took = time.monotonic() - start
        if title not in self.times or took > 1:
            self.times[title] = round(self.times.get(title, 0.0) + took, 1)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.times, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.path)
        return result


def main_job(
    out: str = "runs/adl-mini",
    seeds: int = 1,
    recipe: str | None = None,
    data_seed: int | None = None,
) -> None:
    """Train a skeleton-induced video model on adl-mini and name actions that it never saw.

    Args:
        out: run folder; a run that is there goes on where it was.
        seeds: distillations with different seeds.
        recipe: YAML file with every setting; by default the one beside this program.
        data_seed: another adl-mini than the recipe's.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    settings = read_recipe(recipe or DEFAULT, data_seed=data_seed)
    folder = Path(out)
    claim(folder, settings)
    clock = Clock(folder / "times.json")
    data = clock.run(1, "make adl-mini", lambda _: stages.make_data(settings, folder))
    clip = clock.run(
        2, "image-text pretraining", lambda t: stages.pretrain_clip(settings, data, folder, t)
    )
    student = clock.run(
        3, "ViFi-CLIP", lambda t: stages.finetune_vificlip(settings, data, folder, clip, t)
    )
    encoder = clock.run(
        4, "Hyperformer", lambda t: stages.pretrain_encoder(settings, data, folder, t)
    )
    teacher = clock.run(
        4,
        "SkeletonCLIP",
        lambda t: stages.align_skeletons(settings, data, folder, clip, encoder, t),
    )
    distilled, longer = {}, {}
    for seed in range(seeds):
        distilled[seed] = clock.run(
            5,
            f"SkeletonCLIP distillation, seed {seed}",
            lambda t, s=seed: stages.distil(settings, data, folder, student, teacher, s, t),
        )
        longer[seed] = clock.run(
            5,
            f"control without skeletons, seed {seed}",
            lambda t, s=seed: stages.continue_vificlip(settings, data, folder, student, s, t),
        )
    runs = {
        evaluation.CLIP: {settings.pretrain.seed: clip},
        evaluation.VIFICLIP: {settings.finetune.seed: student},
        evaluation.LONGER: longer,
        evaluation.SKELETON: {settings.align.seed: teacher},
        evaluation.SKI: distilled,
    }

    def evaluate(title: str) -> list[evaluation.Row]:
        with Progress(title, total=1) as progress:
            return evaluation.evaluate(settings, data, folder, runs, progress.report)

    rows = clock.run(6, "zero-shot evaluation", evaluate)
    cards = evaluation.make_cards(settings, data, folder, rows)

    def publish(_: str) -> str:
        pages = {"encoder": {0: encoder}, **runs}
        report.write_report(folder / "report.html", data, rows, cards, pages, clock.times)
        return report.write_markdown(folder / "table.md", rows, cards)

    print(clock.run(7, "report", publish))
    print(f"Time of all stages: {seconds(sum(clock.times.values()))}")
    print(f"Report: {folder / 'report.html'}")
    print(f"Model: {distilled[0] / 'model'}")


def claim(folder: Path, settings: AdlMiniRecipe) -> None:
    """Make the folder this recipe's own, or check that it already is.

    A setting that a run of an earlier version does not name has its default.

    Raises:
        InputError: the folder holds a run with other settings, or something else.
    """
    path = folder / "config.yaml"
    if path.exists():
        other = f"{folder}: holds a run with other settings; give another --out or remove it"
        try:
            earlier = read_recipe(path)
        except InputError as error:  # settings that this version no longer takes
            raise InputError(f"{other} ({error})") from error
        if earlier != settings:
            raise InputError(other)
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty and holds no run; give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(to_plain(settings), sort_keys=False), encoding="utf-8")


def main() -> int:
    """Entry point."""
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    return command.run_one(main_job, prog="python -m apps.adl_mini")
