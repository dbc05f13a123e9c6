"""One zero-shot run: train, tune on seen classes, measure, write model, predictions and cards."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from torch import nn

from ski_data.config import from_plain, to_plain
from ski_data.errors import ExistingOutputError
from ski_eval import Predictions, ResultCard, save_predictions, write_card
from ski_skeleton.errors import CheckpointError, RunError
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.train.model_folder import read_model, write_model
from ski_skeleton.weights import load_strictly
from ski_skeleton.zeroshot.cards import Outcome, make_cards
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.fitting import (
    build_model,
    class_scores,
    prototype_scores,
    train_method,
)
from ski_skeleton.zeroshot.methods import METHODS, MethodConfig
from ski_skeleton.zeroshot.prepare import Prepared, prepare
from ski_skeleton.zeroshot.recipe import ZeroShotRecipe
from ski_skeleton.zeroshot.tuning import calibrated, gated


def run_seed(
    data: Prepared, seed: int, folder: Path, *, report: ProgressReport | None = None
) -> Outcome:
    """Train with one seed and score the test clips; a trained model that is there is used."""
    features, split, texts = data.features, data.split, data.texts
    unseen = list(split.unseen)
    model = _trained(data, seed, folder, report)
    rows = data.rows.test_unseen
    candidates = texts.subset(unseen)
    labels = np.searchsorted(unseen, features.labels[rows])
    names = tuple(split.names[k] for k in unseen)
    scores = class_scores(model, features, rows, candidates, seed=seed)
    zero_shot = _predictions(features, rows, labels, scores, names, {"seed": seed})
    transductive = None
    if data.recipe.prototypes is not None:
        scores = prototype_scores(model, features, rows, candidates, data.recipe.prototypes)
        meta = {"seed": seed, "transductive": True}
        transductive = _predictions(features, rows, labels, scores, names, meta)
    if not data.recipe.protocol.generalised:
        return Outcome(zero_shot, None, {}, None, transductive)
    every = np.concatenate([data.rows.test_seen, rows])
    if METHODS[data.recipe.kind].gated:
        final, tuning = gated(data, model, every, seed, folder, report)
        best = None
    else:
        final, tuning, best = calibrated(data, model, every, seed, folder, report)
    generalised = _predictions(
        features,
        every,
        features.labels[every],
        final,
        split.names,
        {"seed": seed, **tuning},
        unseen=tuple(unseen),
    )
    return Outcome(zero_shot, generalised, tuning, best, transductive)


def _trained(data: Prepared, seed: int, folder: Path, report: ProgressReport | None) -> nn.Module:
    recipe, split = data.recipe, data.split
    place = folder / "model"
    if place.is_dir():
        return load_method(place, data)
    rows = data.rows.train
    model = train_method(
        recipe.method,
        data.features,
        rows,
        data.features.labels[rows],
        data.texts,
        list(split.seen),
        seed=seed,
        folder=folder / "train",
        report=report,
    )
    meta = {
        "classes_seen": [split.names[k] for k in split.seen],
        "encoder_trained_on": data.features.trained_on,
        "split_hash": split.hash,
        "features": data.features.meta,
        "seed": seed,
    }
    write_model(place, f"zeroshot-{recipe.kind}", recipe.method, model.state_dict(), meta)
    shutil.rmtree(folder / "train" / "checkpoints", ignore_errors=True)
    return model


def load_method(folder: str | Path, data: Prepared) -> nn.Module:
    """The trained method of a run, for the data it was trained on.

    Raises:
        MissingFileError, CheckpointError: no model folder, a damaged one, or another method's.
    """
    config: MethodConfig = data.recipe.method
    _, plain, state, _ = read_model(folder, f"zeroshot-{data.recipe.kind}")
    if from_plain(type(config), plain, str(folder)) != config:
        raise CheckpointError(f"{folder}: was trained with other settings than the recipe's")
    model = build_model(config, data.features, data.texts)
    load_strictly(model, state, folder)
    return model.eval()


def _predictions(
    features: FeatureSet,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    classes: tuple[str, ...],
    meta: dict[str, Any],
    unseen: tuple[int, ...] | None = None,
) -> Predictions:
    if not np.isfinite(scores).all():
        raise CheckpointError("scores that are not finite numbers: the training diverged")
    people = features.subjects[rows]
    return Predictions(
        names=tuple(features.names[i] for i in rows),
        labels=labels,
        logits=scores,
        classes=classes,
        groups=None if (people < 0).any() else tuple(map(str, people.tolist())),
        unseen=unseen,
        meta=meta,
    )


def claim(folder: Path, recipe: ZeroShotRecipe) -> None:
    """Make ``folder`` the run of ``recipe``, or check that it already is and has no results yet.

    Raises:
        ExistingOutputError: the run has results.
        RunError: the folder belongs to another recipe, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another run folder")
    path = folder / "config.yaml"
    text = yaml.safe_dump(to_plain(recipe), sort_keys=False, allow_unicode=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise RunError(
            f"{folder}: holds a run of another recipe; choose another run folder or remove it"
        )
    if (folder / "results").exists():
        raise ExistingOutputError(f"{folder / 'results'}: already there; choose another run folder")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)


def run(
    recipe: ZeroShotRecipe,
    folder: str | Path,
    *,
    report: Callable[[str], ProgressReport] | None = None,
) -> list[ResultCard]:
    """Everything that a recipe asks for, and its result cards.

    The folder gets ``config.yaml``, per seed ``seed-S/`` with logs, ``model/`` and predictions, and
    ``results/*.json``. Called again after a kill, it goes on.

    Args:
        recipe: what to do.
        folder: run folder.
        report: gives the progress report of a piece of work by its title.
    """
    folder, started = Path(folder), time.monotonic()
    data = prepare(recipe, report=None if report is None else report("features"))
    claim(folder, recipe)
    outcomes = []
    for seed in recipe.seeds:
        place = folder / f"seed-{seed}"
        told = None if report is None else report(f"seed {seed}")
        outcome = run_seed(data, seed, place, report=told)
        outcomes.append(outcome)
        save_predictions(outcome.zero_shot, place / "zero-shot.npz", overwrite=True)
        if outcome.generalised is not None:
            save_predictions(outcome.generalised, place / "generalised.npz", overwrite=True)
        if outcome.transductive is not None:
            save_predictions(outcome.transductive, place / "transductive.npz", overwrite=True)
    cards = make_cards(data, outcomes, time.monotonic() - started)
    part = folder / ".results.part"
    shutil.rmtree(part, ignore_errors=True)
    for card in cards:
        write_card(card, part)
    os.replace(part, folder / "results")
    for seed in recipe.seeds:
        shutil.rmtree(folder / f"seed-{seed}" / "tuning" / "checkpoints", ignore_errors=True)
    return cards
