"""One zero-shot run: train, tune on seen classes, measure, write model, predictions and cards."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from torch import nn

from ski_data.config import from_plain, to_plain
from ski_data.errors import ExistingOutputError
from ski_eval import (
    Interval,
    Predictions,
    ResultCard,
    Score,
    environment,
    gzsl,
    save_predictions,
    score,
    seeds_summary,
    write_card,
)
from ski_skeleton.errors import CheckpointError, RunError
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.train.model_folder import read_model, write_model
from ski_skeleton.weights import load_strictly
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.gate import gated_scores, tune_gate
from ski_skeleton.zeroshot.methods import (
    MethodConfig,
    build_model,
    check_inputs,
    class_scores,
    seen_logits,
    train_method,
)
from ski_skeleton.zeroshot.protocol import (
    BEST_ON_TEST,
    PSEUDO_SEEN,
    ClassSplit,
    Rows,
    best_factor,
    calibrate,
    derangement,
    divide,
    guard_leak,
    scaled,
    tuning_task,
)
from ski_skeleton.zeroshot.recipe import ZeroShotRecipe, class_split, open_features
from ski_skeleton.zeroshot.sa_dvae import SaDvae
from ski_skeleton.zeroshot.star import StarConfig
from ski_skeleton.zeroshot.synse import Synse, SynseConfig
from ski_skeleton.zeroshot.texts import ClassTexts, class_texts

METHODS = {"synse": "SynSE", "sa-dvae": "SA-DVAE", "smie": "SMIE", "star": "STAR"}
ZERO_SHOT, GENERALISED = "zero-shot, unseen classes", "generalised zero-shot"


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data opened and checked."""

    recipe: ZeroShotRecipe
    features: FeatureSet
    split: ClassSplit
    rows: Rows
    texts: ClassTexts
    notes: tuple[str, ...]


def prepare(recipe: ZeroShotRecipe, *, report: ProgressReport | None = None) -> Prepared:
    """Open features and texts, split classes and clips, and guard against leaks.

    Raises:
        LeakError: an encoder that has seen an unseen class, or does not say.
        InputError, MissingFileError, ConfigError: settings and data that do not fit together.
    """
    config, protocol = recipe.method, recipe.protocol
    features = open_features(recipe, report=report)
    split = class_split(recipe, features)
    mark = guard_leak(features.trained_on, split, allow_unknown=protocol.allow_unknown_encoder)
    notes = [] if mark is None else [mark]
    rows = divide(features, split, recipe.train, protocol.unseen_clips)
    check_inputs(config, features)
    texts = class_texts(
        recipe.text,
        split.names,
        words=isinstance(config, SynseConfig),
        part_names=config.part_names if isinstance(config, StarConfig) else (),
    )
    if recipe.text.file is None and recipe.kind == "star" and recipe.text.parts is None:
        notes.append("parts are only named, not described")
    if recipe.text.file is None and recipe.kind == "synse" and recipe.text.phrases is None:
        notes.append("first words of the class names stand for verbs, the others for nouns")
    if protocol.permute_names is not None:
        rng = np.random.default_rng(protocol.permute_names)
        texts = texts.subset(derangement(len(split.names), rng).tolist())
        notes.append("null: every class has the text of another class")
    return Prepared(recipe, features, split, rows, texts, tuple(notes))


class Outcome(NamedTuple):
    """What one seed gives."""

    zero_shot: Predictions
    """Clips and candidates of unseen classes only."""
    generalised: Predictions | None
    """All test clips, all classes; calibrated or gated scores."""
    tuning: dict[str, Any]
    """What was tuned, on which classes."""
    best_on_test: float | None
    """H with the factor chosen on the test set."""


def run_seed(
    data: Prepared, seed: int, folder: Path, *, report: ProgressReport | None = None
) -> Outcome:
    """Train with one seed and score the test clips; a trained model that is there is used."""
    features, split, texts = data.features, data.split, data.texts
    unseen = list(split.unseen)
    model = _trained(data, seed, folder, report)
    rows = data.rows.test_unseen
    scores = class_scores(model, features, rows, texts.subset(unseen), seed=seed)
    labels = np.searchsorted(unseen, features.labels[rows])
    zero_shot = _predictions(
        features, rows, labels, scores, tuple(split.names[k] for k in unseen), {"seed": seed}
    )
    if not data.recipe.protocol.generalised:
        return Outcome(zero_shot, None, {}, None)
    every = np.concatenate([data.rows.test_seen, rows])
    if isinstance(model, Synse | SaDvae):
        final, tuning = _gated(data, model, every, seed, folder, report)
        best = None
    else:
        final, tuning, best = _calibrated(data, model, every, seed, folder, report)
    generalised = _predictions(
        features,
        every,
        features.labels[every],
        final,
        split.names,
        {"seed": seed, **tuning},
        unseen=tuple(unseen),
    )
    return Outcome(zero_shot, generalised, tuning, best)


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


class _Tuned(NamedTuple):
    """The tuning task, trained: its clips to check on and their scores."""

    model: nn.Module
    seen: list[int]
    unseen: list[int]
    fit: NDArray[np.int64]
    check: NDArray[np.int64]
    is_seen: NDArray[np.bool_]


def _tuned(data: Prepared, seed: int, folder: Path, report: ProgressReport | None) -> _Tuned:
    """Train the method again with seen classes held out, which then stand for unseen ones."""
    task = tuning_task(data.features, data.split, data.rows.train, data.recipe.protocol, seed=seed)
    order = sorted((*task.seen, *task.unseen))
    model = train_method(
        data.recipe.method,
        data.features,
        task.fit,
        np.searchsorted(order, data.features.labels[task.fit]),
        data.texts.subset(order),
        [order.index(k) for k in task.seen],
        seed=seed,
        folder=folder / "tuning",
        report=report,
    )
    check = np.concatenate([task.check_seen, task.check_unseen])
    is_seen = np.arange(len(check)) < len(task.check_seen)
    return _Tuned(model, list(task.seen), list(task.unseen), task.fit, check, is_seen)


def _calibrated(
    data: Prepared,
    model: nn.Module,
    every: NDArray[np.int64],
    seed: int,
    folder: Path,
    report: ProgressReport | None,
) -> tuple[NDArray[np.float64], dict[str, Any], float | None]:
    """Calibrated scores of all classes, the factor tuned on pseudo-unseen classes."""
    features, protocol = data.features, data.recipe.protocol
    tuned = _tuned(data, seed, folder, report)
    order = sorted((*tuned.seen, *tuned.unseen))
    calibration = calibrate(
        class_scores(tuned.model, features, tuned.check, data.texts.subset(order)),
        np.searchsorted(order, features.labels[tuned.check]),
        [order.index(k) for k in tuned.unseen],
        protocol.temperatures,
    )
    unseen = list(data.split.unseen)
    logits = class_scores(model, features, every, data.texts)
    best = None
    if protocol.best_on_test:
        labels = features.labels[every]
        best = max(
            best_factor(scaled(logits, t), labels, unseen)[1]
            for t in (protocol.temperatures or (None,))
        )
    tuning = {
        "factor": calibration.factor,
        "temperature": calibration.temperature,
        "pseudo_unseen": [data.split.names[k] for k in tuned.unseen],
    }
    return calibration.apply(logits, unseen), tuning, best


def _gated(
    data: Prepared,
    model: nn.Module,
    every: NDArray[np.int64],
    seed: int,
    folder: Path,
    report: ProgressReport | None,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Gated scores of all classes, the gate tuned on pseudo-unseen classes."""
    features, texts, split = data.features, data.texts, data.split

    def seen_part(
        fit: NDArray[np.int64], classes: Sequence[int], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        labels = np.searchsorted(list(classes), features.labels[fit])
        return seen_logits(features, fit, labels, rows, len(classes), seed=seed)

    def unseen_part(
        which: nn.Module, classes: Sequence[int], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return np.exp(class_scores(which, features, rows, texts.subset(classes), seed=seed))

    tuned = _tuned(data, seed, folder, report)
    gate = tune_gate(
        unseen_part(tuned.model, tuned.unseen, tuned.check),
        seen_part(tuned.fit, tuned.seen, tuned.check),
        tuned.is_seen,
        data.recipe.seen_gate,
        rng=np.random.default_rng([seed, 78]),
    )
    scores = gated_scores(
        gate,
        unseen_part(model, split.unseen, every),
        seen_part(data.rows.train, split.seen, every),
        list(split.seen),
        list(split.unseen),
    )
    tuning = {
        "threshold": gate.threshold,
        "temperature": gate.temperature,
        "pseudo_unseen": [split.names[k] for k in tuned.unseen],
    }
    return scores, tuning


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
    cards = make_cards(data, outcomes, time.monotonic() - started)
    part = folder / ".results.part"
    shutil.rmtree(part, ignore_errors=True)
    for card in cards:
        write_card(card, part)
    os.replace(part, folder / "results")
    for seed in recipe.seeds:
        shutil.rmtree(folder / f"seed-{seed}" / "tuning" / "checkpoints", ignore_errors=True)
    return cards


def make_cards(data: Prepared, outcomes: Sequence[Outcome], seconds: float) -> list[ResultCard]:
    """One card per figure: the mean over seeds, and its interval.

    With one seed the interval is a bootstrap over people (clips, where they are not known), with
    several it is that of the mean over seeds.
    """
    recipe, where = data.recipe, environment()
    figures: dict[tuple[str, str], list[Score]] = {}

    def add(protocol: str, row: Score) -> None:
        figures.setdefault((protocol, row.metric), []).append(row)

    for outcome in outcomes:
        for row in score(outcome.zero_shot, rng=np.random.default_rng(0)):
            add(ZERO_SHOT, row)
        if outcome.generalised is None:
            continue
        for row in score(outcome.generalised, rng=np.random.default_rng(0)):
            if row.protocol == "generalised":
                add(GENERALISED, row)
        p = outcome.generalised
        wide = gzsl(p.logits, p.labels, p.unseen or ())
        for metric, value, n in (
            ("S, mean class accuracy", wide.seen_mean_class, wide.n_seen),
            ("U, mean class accuracy", wide.unseen_mean_class, wide.n_unseen),
        ):
            add(GENERALISED, Score("generalised", metric, value, None, n, len(p.classes)))
        if outcome.best_on_test is not None:
            n = len(p.names)
            best = Score("generalised", "H", outcome.best_on_test, None, n, len(p.classes))
            add(f"{GENERALISED}, {BEST_ON_TEST}", best)
    cards = []
    for (protocol, metric), rows in figures.items():
        values = [row.value for row in rows if row.value is not None]
        several = seeds_summary(values) if len(values) > 1 else None
        notes = data.notes + ((PSEUDO_SEEN,) if protocol == GENERALISED else ())
        if protocol.endswith(BEST_ON_TEST):
            notes += ("the factor was chosen on the test set: not a result, an upper bound",)
        cards.append(
            ResultCard(
                name=f"{recipe.kind} {protocol} {metric}",
                method=METHODS[recipe.kind],
                dataset=data.split.name.partition("/")[0] if recipe.split else "own classes",
                split=data.split.name,
                protocol=protocol,
                metric=metric,
                value=None if not values else (several.mean if several else values[0]),
                n=rows[0].n,
                interval=_within(several.interval) if several else rows[0].interval,
                n_classes=rows[0].n_classes,
                seeds=recipe.seeds,
                split_hash=data.split.hash,
                config={
                    "recipe": to_plain(recipe),
                    "tuning": [to_plain(outcome.tuning) for outcome in outcomes],
                },
                environment=where,
                wall_time_s=round(seconds, 3),
                notes=notes,
            )
        )
    return cards


def _within(interval: Interval | None) -> Interval | None:
    """An interval of a share, cut to 0..1, which Student's t does not know of."""
    if interval is None:
        return None
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))
