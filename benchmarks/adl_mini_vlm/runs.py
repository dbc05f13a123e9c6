"""Training and testing of single rows; what is done is kept and never done again."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from apps.adl_mini import stages
from benchmarks.adl_mini_vlm.rows import VIT, Bench, answers_of, starts
from ski_data.classes import write_classes
from ski_data.config import to_plain
from ski_data.progress import Progress
from ski_eval import Predictions, load_predictions, save_predictions
from ski_skeleton.errors import RunError
from ski_skeleton.weights import write_weights
from ski_vlm.data import Clips, open_clips
from ski_vlm.evaluation import PEOPLE, UNSEEN, answerers, predict_clips
from ski_vlm.recipe import VideoRecipe
from ski_vlm.students import load_student
from ski_vlm.training import train_seed

PROTOCOLS = (UNSEEN, PEOPLE)
RECORD = "record.json"


@dataclass(frozen=True)
class Record:
    """What one row reached with one seed; fractions."""

    settings: str
    """Hash of everything that the figures hang on."""
    row: str
    seed: int
    top1: dict[str, dict[str, float]]
    """By answer and protocol."""
    training: dict[str, Any]
    """Last line of the training's log."""
    seconds: float
    """Of processor time, training and tests."""


def prepare(bench: Bench, rows: list[str]) -> Clips:
    """Make what the rows start from, as far as it is not there, and open their clips."""
    bench.out.mkdir(parents=True, exist_ok=True)
    if not bench.classes_file.exists():
        write_classes(bench.classes_file, bench.all_classes())
    export_clip(bench.run / "clip", bench.clip_file("conv"))
    clips = open_clips(bench.data)
    if any(row.startswith(f"{VIT}-") for row in rows):
        own = bench.vit_settings
        data = stages.make_data(bench.settings, bench.run)
        folder = bench.out / VIT
        clip = stages.pretrain_clip(own, data, folder, "image-text pretraining of the transformer")
        export_clip(clip, bench.clip_file(VIT))
        for name, recipe in starts(bench).items():
            with Progress(f"fine-tune {name} on the transformer", total=1) as progress:
                train_seed(recipe, clips, bench.start_folder(name), 0, report=progress.report)
    return clips


def export_clip(folder: Path, path: Path) -> None:
    """Write a ViFi-CLIP's weights under open_clip's names, unless they are there."""
    if path.exists():
        return
    state = load_student(folder)[0].state_dict()
    names = {key: key.removeprefix("text.") for key in state}
    names |= {
        key: "visual." + key.removeprefix("image.") for key in state if key.startswith("image.")
    }
    write_weights(path, {names[key]: value for key, value in state.items()})


def seed_folder(bench: Bench, row: str, seed: int) -> Path:
    """Where the record and the predictions of a row and seed are."""
    return bench.out / "rows" / row / f"seed-{seed}"


def predictions_file(folder: Path, answer: str, protocol: str) -> Path:
    """Predictions of one answer on the clips of one protocol."""
    return folder / f"{answer.replace(',', '').replace(' ', '-')}-{protocol}.npz"


def known(bench: Bench, row: str, recipe: VideoRecipe, seed: int) -> bool:
    """Whether a row and seed are done.

    Raises:
        RunError: a record of other settings.
    """
    path = seed_folder(bench, row, seed) / RECORD
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))["settings"]
    if found != bench.settings_hash(recipe, seed):
        raise RunError(f"{path}: made with other settings; choose another --out or remove it")
    return True


def run_row(bench: Bench, clips: Clips, row: str, recipe: VideoRecipe, seed: int) -> None:
    """Train, test and record one row with one seed; goes on after a kill."""
    if known(bench, row, recipe, seed):
        return
    folder = seed_folder(bench, row, seed)
    work, started = folder / "work", time.process_time()
    with Progress(f"{row}, seed {seed}", total=1) as progress:
        train_seed(recipe, clips, work, seed, report=progress.report)
    top1: dict[str, dict[str, float]] = {}
    for way in answerers(recipe, work, torch.device("cpu")):
        if way.title not in answers_of(recipe):
            continue
        for protocol in PROTOCOLS:
            found = predict_clips(
                recipe,
                clips,
                way,
                protocol,
                size=bench.settings.clip.image,
                device=torch.device("cpu"),
                meta={"row": row, "seed": seed},
            )
            assert found is not None  # adl-mini has clips of both
            path = predictions_file(folder, way.title, protocol)
            save_predictions(found, path, overwrite=True)
            top1.setdefault(way.title, {})[protocol] = accuracy(found)
    record = Record(
        settings=bench.settings_hash(recipe, seed),
        row=row,
        seed=seed,
        top1=top1,
        training=last_line(work / "log.jsonl"),
        seconds=round(time.process_time() - started, 1),
    )
    write_json(asdict(record), folder / RECORD)
    shutil.rmtree(work)


def read_record(folder: Path) -> Record:
    """The record of a row and seed."""
    return Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))


def read_predictions(folder: Path, answer: str, protocol: str) -> Predictions:
    """Predictions of a row and seed."""
    return load_predictions(predictions_file(folder, answer, protocol))


def accuracy(predictions: Predictions) -> float:
    """Top-1 accuracy."""
    return float((predictions.predicted == predictions.labels).mean())


def last_line(path: Path) -> dict[str, Any]:
    """Last line of a training's log; nothing where nothing trained."""
    if not path.exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8").splitlines()[-1])


def write_json(value: Any, path: Path) -> None:
    """Write at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(to_plain(value), indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
