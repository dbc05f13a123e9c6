"""Commands of SkeletonCLIP: training, and evaluation on unseen classes and people."""

from __future__ import annotations

import json as json_module
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ski_data.config import to_plain
from ski_data.errors import ExistingOutputError, InputError
from ski_data.manifest import Record
from ski_data.store import SkeletonStore
from ski_eval import (
    Predictions,
    ResultCard,
    Score,
    environment,
    format_interval,
    save_predictions,
    score,
    write_card,
)
from ski_skeleton import pipeline
from ski_skeleton.errors import CheckpointError, ConfigError, RunError
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.train import TrainConfig, write_model
from ski_skeleton.train.processes import is_main_process, stage
from ski_skeleton.zeroshot.pgfa import PrototypeConfig

TRANSDUCTIVE = "unseen-classes-transductive"
"""Test of unseen classes by prototypes that are made of its own unlabelled clips."""

PROTOCOLS = {
    "unseen-classes": "zero-shot, unseen classes",
    "unseen-people": "seen classes, people that did not train",
    TRANSDUCTIVE: "zero-shot, unseen classes, transductive (test-time prototypes)",
}
"""Tests of :func:`evaluate`, as cards call them."""


def train(recipe: str, *, out: str, seed: int = 0) -> None:
    """Train a SkeletonCLIP from a recipe; the same command goes on after a kill.

    Args:
        recipe: YAML file of a recipe; see the command recipes.
        out: run folder; gets logs, checkpoints while training, and the model.
        seed: of weights and data order.
    """
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    settings = pipeline.read_recipe(recipe)
    run = Path(out)
    if (run / "model").is_dir():
        raise ExistingOutputError(f"{run / 'model'}: already trained; choose another run folder")
    sets = pipeline.open_sets(settings, seed=seed)
    try:
        fit_recipe(settings, sets, run, seed)
    except ConfigError as error:
        raise ConfigError(f"{recipe}: {error}") from error
    if is_main_process():
        print(run / "model")


def fit_recipe(
    settings: pipeline.SkeletonRecipe, sets: pipeline.ZeroShotSets, run: Path, seed: int
) -> SkeletonClip:
    """Train both stages with progress and write ``run/model``."""

    def seeded(config: TrainConfig) -> TrainConfig:
        return replace(config, seed=seed)

    torch.manual_seed(seed)
    model = SkeletonClip(settings.model)  # before the long pretraining: it may not fit together
    pipeline.claim_run(run, settings)
    body = None
    if settings.classify is not None:
        with stage("pretrain encoder") as report:
            encoder = pipeline.pretrain_encoder(
                settings.model,
                sets.train,
                len(sets.seen),
                seeded(settings.classify),
                run / "encoder",
                report=report,
            )
        body = encoder.state_dict()
    with stage("align with text") as report:
        model = pipeline.align(
            model,
            body,
            sets.train,
            sets.seen,
            seeded(settings.align),
            run / "align",
            matching=settings.matching,
            report=report,
        )
    if not is_main_process():
        return model
    meta = {
        "classes_seen": sets.seen,
        "split_hash": sets.split_hash,
        "store": settings.data.store,
        "seed": seed,
    }
    write_model(run / "model", pipeline.KIND, settings.model, model.state_dict(), meta)
    for part in ("encoder", "align"):
        shutil.rmtree(run / part / "checkpoints", ignore_errors=True)
    return model


def evaluate(
    recipe: str, model: str, *, out: str, prototypes: float | None = None, json: bool = False
) -> None:
    """Zero-shot accuracy of a trained SkeletonCLIP: unseen classes, and unseen people.

    Args:
        recipe: the recipe that says which clips test.
        model: model folder of a run.
        out: folder for the predictions of both test sets and the result cards.
        prototypes: share of the surest clips per unseen class that make its prototype; answers once
            more with these, apart and marked as transductive (published: 0.9 NTU60, 0.4 NTU120).
        json: print one JSON object per number instead of a table.
    """
    settings, started = pipeline.read_recipe(recipe), time.monotonic()
    share = None if prototypes is None else PrototypeConfig(prototypes)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another folder")
    trained, meta = pipeline.load_skeleton_clip(model)
    sets = pipeline.open_sets(settings)
    known = meta.get("classes_seen")
    if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
        raise InputError(f"{model}: does not say which classes trained it; train it again")
    leaked = sorted(set(known) & set(sets.unseen))
    if leaked:
        raise InputError(
            f"{model}: was trained on {leaked}, which this recipe calls unseen; train it on the "
            "seen classes only"
        )
    tests = {
        "unseen-classes": (sets.test_unseen, sets.unseen),
        "unseen-people": (sets.test_seen, sets.seen),
    }
    if share is not None:
        tests[TRANSDUCTIVE] = tests["unseen-classes"]
    found = {}
    for name, (source, names) in tests.items():
        if name == TRANSDUCTIVE:
            assert share is not None
            result = pipeline.prototype_scores(trained, source, names, share)
        else:
            result = pipeline.zero_shot_scores(trained, source, names)
        if not np.isfinite(result.logits).all():
            raise CheckpointError(
                f"{model}: gives scores that are not finite numbers; it is damaged or its training "
                "diverged: copy it again or train it again"
            )
        found[folder / f"{name}.npz"] = Predictions(
            names=tuple(record.name for record in source.records),
            labels=result.labels,
            logits=result.logits,
            classes=tuple(names),
            groups=_people(source.records),
            meta={"transductive": True} if name == TRANSDUCTIVE else {},
        )
    for path in sorted(found, key=lambda path: not path.exists()):  # those there may be refused
        save_predictions(found[path], path)
    seconds = time.monotonic() - started
    for path, predictions in found.items():
        for row in score(predictions, rng=np.random.default_rng(0)):
            card = _card(path.stem, row, settings, sets, meta, seconds)
            write_card(card, folder, overwrite=True)  # of the same predictions, or we were refused
            if json:
                value = {"test": path.stem, "metric": row.metric, "value": row.value, "n": row.n}
                print(json_module.dumps(value))
            else:
                text = format_interval(row.value, row.interval)
                size = f"({row.n} clips, {row.n_classes} classes)"
                print(f"{path.stem}  {row.metric}  {text}  {size}")


def _card(
    test: str,
    row: Score,
    settings: pipeline.SkeletonRecipe,
    sets: pipeline.ZeroShotSets,
    meta: Mapping[str, Any],
    seconds: float,
) -> ResultCard:
    """The result card of one figure."""
    store = SkeletonStore(settings.data.store)
    return ResultCard(
        name=f"{test} {row.metric}",
        method="SkeletonCLIP",
        dataset=store.folder.name or str(store.folder),
        split=settings.data.split or f"without {', '.join(sets.unseen)}",
        protocol=PROTOCOLS[test],
        metric=row.metric,
        value=row.value,
        n=row.n,
        interval=row.interval,
        n_classes=row.n_classes,
        seeds=(meta["seed"],) if isinstance(meta.get("seed"), int) else (),
        data_hash=store.sha256,
        split_hash=sets.split_hash,
        config={"recipe": to_plain(settings), "classes_seen": meta["classes_seen"]},
        environment=environment(),
        wall_time_s=round(seconds, 3),
    )


def _people(records: Sequence[Record]) -> tuple[str, ...] | None:
    """Who acts in each clip, for intervals over people; None unless all are known."""
    people = [record.subject for record in records]
    if any(person is None or person < 0 for person in people):
        return None
    return tuple(map(str, people))
