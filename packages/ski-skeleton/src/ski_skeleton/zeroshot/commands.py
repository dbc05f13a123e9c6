"""Commands of the zero-shot baselines."""

from __future__ import annotations

import json as json_module
from dataclasses import replace
from pathlib import Path

from ski_data.config import to_plain
from ski_data.errors import InputError
from ski_data.progress import Progress
from ski_data.splits import dataset_classes
from ski_data.store import SkeletonStore
from ski_eval import format_interval
from ski_skeleton.device import check_device
from ski_skeleton.errors import ConfigError
from ski_skeleton.loading import changed_feeder, load_encoder
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.train.processes import need_one_process
from ski_skeleton.zeroshot.extract import ExtractConfig, extract_features
from ski_skeleton.zeroshot.features import check_output, save_features
from ski_skeleton.zeroshot.recipe import read_zero_shot_recipe
from ski_skeleton.zeroshot.run import run


def features(
    model: str,
    store: str,
    out: str,
    *,
    frames: int | None = None,
    skeleton_stream: str | None = None,
    extract: ExtractConfig = ExtractConfig(),  # noqa: B008 (frozen)
    dataset: str | None = None,
    device: str = "cpu",
) -> None:
    """Write the features of a trained skeleton encoder for every clip of a store.

    Args:
        model: model folder of a skeleton encoder.
        store: skeleton store.
        out: file to write, .safetensors.
        frames: frames of a clip that the encoder gets; by default as in its training, which a
            converted folder does not tell.
        skeleton_stream: joint, bone, joint_motion or bone_motion, likewise.
        extract: what to keep besides pooled features.
        dataset: name of one whose classes are known, such as ntu60, where the store names none.
        device: cpu, cuda or cuda:N.
    """
    where = check_device(device)
    target = check_output(out)
    encoder = load_encoder(model)
    feeder = changed_feeder(encoder.feeder, frames, skeleton_stream)
    classes = None if dataset is None else dataset_classes(dataset)
    with Progress("features", total=1) as progress:
        found = extract_features(
            encoder,
            SkeletonStore(store),
            feeder,
            extract,
            classes=classes,
            meta={"model": Path(model).name, "feeder": to_plain(feeder)},
            device=where,
            report=progress.report,
        )
    print(save_features(found, target))


def zeroshot(recipe: str, *, out: str, seeds: int | None = None, json: bool = False) -> None:
    """Train and measure a zero-shot method on unseen classes; goes on after a kill.

    Args:
        recipe: YAML file of a recipe; see the command recipes.
        out: run folder; gets models, logs, predictions and result cards.
        seeds: use the seeds 0 to SEEDS-1 in the place of the recipe's.
        json: print one JSON object per figure instead of a table.
    """
    need_one_process("zeroshot")
    settings = read_zero_shot_recipe(recipe)
    if seeds is not None:
        if seeds < 1:
            raise InputError(f"--seeds must be at least 1, got {seeds}")
        settings = replace(settings, seeds=tuple(range(seeds)))
    with Progress(settings.kind, total=1) as progress:

        def report(title: str) -> ProgressReport:
            return lambda done, total, text: progress.report(done, total, f"{title} {text}")

        try:
            cards = run(settings, out, report=report)
        except ConfigError as error:
            raise ConfigError(f"{recipe}: {error}") from error
    for card in cards:
        if json:
            value = {
                "protocol": card.protocol,
                "metric": card.metric,
                "value": card.value,
                "n": card.n,
                "classes": card.n_classes,
                "notes": list(card.notes),
            }
            print(json_module.dumps(value))
        else:
            text = format_interval(card.value, card.interval)
            size = f"({card.n} clips, {card.n_classes} classes)"
            print(f"{card.protocol}  {card.metric}  {text}  {size}")
    if not json:
        for note in dict.fromkeys(note for card in cards for note in card.notes):
            print(f"note: {note}")
