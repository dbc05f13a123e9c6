"""Commands of closed-set recognition: training, evaluation, ensembles of streams."""

from __future__ import annotations

import json as json_module
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ski_data.errors import ExistingOutputError, InputError
from ski_eval import (
    Predictions,
    format_interval,
    load_predictions,
    per_class_accuracy,
    save_predictions,
    score,
    write_card,
)
from ski_skeleton import pipeline, supervised
from ski_skeleton.device import check_device
from ski_skeleton.ensemble import Scale, combine, stream_weights
from ski_skeleton.errors import ConfigError
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.supervised import SplitRule
from ski_skeleton.supervised_cards import classifier_cards
from ski_skeleton.train import write_model
from ski_skeleton.train.processes import is_main_process, stage


def train_classifier(
    recipe: str, *, out: str, skeleton_stream: str | None = None, seed: int = 0
) -> None:
    """Train a skeleton encoder to classify; the same command goes on after a kill.

    Args:
        recipe: YAML file of a classifier recipe; see the command recipes.
        out: run folder; gets logs, checkpoints while training, and the model.
        skeleton_stream: joint, bone, joint_motion or bone_motion; by default the recipe's.
        seed: of weights and data order.
    """
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    settings = supervised.read_recipe(recipe)
    settings = replace(settings, feeder=supervised.with_stream(settings.feeder, skeleton_stream))
    run = Path(out)
    if (run / "model").is_dir():
        raise ExistingOutputError(f"{run / 'model'}: already trained; choose another run folder")
    clips = supervised.open_closed_set(settings.data.store, settings.data.split)
    pipeline.claim_run(run, settings)  # type: ignore[arg-type]  # any recipe
    try:
        with stage("train") as report:
            model = supervised.train_classifier(
                settings, clips, run / "train", seed=seed, report=report
            )
    except ConfigError as error:
        raise ConfigError(f"{recipe}: {error}") from error
    if not is_main_process():
        return
    meta = supervised.model_meta(settings, clips, seed=seed)
    config = replace(settings.encoder, output=len(clips.classes))
    write_model(run / "model", config.kind, config, model.state_dict(), meta)
    shutil.rmtree(run / "train" / "checkpoints", ignore_errors=True)
    print(run / "model")


def evaluate_classifier(
    model: str,
    store: str,
    *,
    out: str,
    split: str | None = None,
    subjects: tuple[int, ...] = (),
    cameras: tuple[int, ...] = (),
    setups: tuple[int, ...] = (),
    skeleton_stream: str | None = None,
    per_class: bool = False,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Accuracy of a classifier on the clips that did not train it, intervals over people.

    Args:
        model: model folder of train-classifier, or a converted checkpoint with a head to classes.
        store: skeleton store with the same classes.
        out: .npz file of the predictions; result cards, named after it, come beside it.
        split: ntu60/xsub, ntu60/xview, ntu120/xsub or ntu120/xset; a model of train-classifier
            knows its own.
        subjects: or the people whose clips train, all others test, e.g. "[1,2]".
        cameras: or the cameras whose clips train.
        setups: or the setups whose clips train.
        skeleton_stream: joint, bone, joint_motion or bone_motion, of a converted checkpoint.
        per_class: print the accuracy of each class, too.
        device: cpu, cuda or cuda:N.
        json: print one JSON object per number instead of a table.
    """
    check_device(device)
    target = _target(out)
    asked = None
    by_hand = subjects or cameras or setups
    if split is not None or by_hand:
        rule = None
        if by_hand:
            rule = TrainRule(tuple(subjects), tuple(cameras), tuple(setups))
        asked = SplitRule(split, rule)
    started = time.monotonic()
    classifier = supervised.load_classifier(model, stream=skeleton_stream)
    try:
        found = supervised.predict(classifier, store, asked, device=device)
    except InputError as error:
        raise InputError(f"{model}: {error}") from error
    _write(found, target, time.monotonic() - started)
    _print(found, per_class=per_class, json=json)


def ensemble(
    predictions: list[str],
    *,
    out: str,
    weights: tuple[float, ...] = (),
    add: Scale = "logits",
    per_class: bool = False,
    json: bool = False,
) -> None:
    """Add the scores of several streams, and print the accuracy of the sum.

    Args:
        predictions: files of evaluate-classifier for the same clips, one per stream.
        out: .npz file of the sum; result cards, named after it, come beside it.
        weights: one per file, e.g. "[0.4,0.6]"; by default the published ones of their streams.
        add: logits, as published, or probabilities.
        per_class: print the accuracy of each class, too.
        json: print one JSON object per number instead of a table.
    """
    target, started = _target(out), time.monotonic()
    parts = [load_predictions(path) for path in predictions]
    chosen = tuple(weights) or stream_weights(parts, predictions)
    found = combine(parts, chosen, predictions, scale=add)
    _write(found, target, time.monotonic() - started)
    _print(found, per_class=per_class, json=json)


def _write(found: Predictions, target: Path, seconds: float) -> None:
    """Predictions, and their cards beside them."""
    save_predictions(found, target)
    for card in classifier_cards(found, target.stem, seconds=seconds):
        write_card(card, target.parent, overwrite=True)  # of the same predictions, or refused


def _target(out: str) -> Path:
    target = Path(out)
    if target.suffix != ".npz":
        raise InputError(f"{target}: predictions are stored as .npz; give such a name")
    return target


def _print(found: Predictions, *, per_class: bool, json: bool) -> None:
    """The usual figures on stdout."""
    rows = [
        (row.metric, row.value, format_interval(row.value, row.interval), row.n)
        for row in score(found, rng=np.random.default_rng(0))
        if row.value is not None
    ]
    if per_class:
        shares = per_class_accuracy(found.predicted, found.labels, len(found.classes))
        counts = np.bincount(found.labels, minlength=len(found.classes))
        rows += [
            (name, float(share), format_interval(float(share), None), int(count))
            for name, share, count in zip(found.classes, shares, counts, strict=True)
            if count
        ]
    for name, value, text, n in rows:
        if json:
            print(json_module.dumps({"metric": name, "value": value, "n": n}))
        else:
            print(f"{name}  {text}  ({n} clips, {len(found.classes)} classes)")
