"""Commands that train and test what a recipe says."""

from __future__ import annotations

import json as json_module
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from ski_data.config import from_plain, recipe_command, to_plain
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_eval import (
    Predictions,
    format_interval,
    load_predictions,
    save_predictions,
    write_card,
)
from ski_eval.results import ResultCard
from ski_skeleton.device import check_device
from ski_skeleton.errors import ConfigError
from ski_skeleton.pipeline import claim_run
from ski_skeleton.train.processes import is_main_process, need_one_process, process_count, stage
from ski_skeleton.zeroshot.protocol import best_factor
from ski_vlm.data import Clips, open_clips
from ski_vlm.evaluation import ALL, PROTOCOLS, SKELETON, answerers, make_cards, predict_clips
from ski_vlm.plan import fitting_accumulation, plan
from ski_vlm.plan import report as report_plan
from ski_vlm.recipe import VideoRecipe, read_recipe
from ski_vlm.students import load_student
from ski_vlm.training import MODEL, check_sources, train_seed
from ski_vlm.views import Views

log = logging.getLogger(__name__)

RESULTS = "results"


def recipes(copy: str | None = None) -> None:
    """List the recipes that come with the package, or copy one to start from.

    Args:
        copy: name of a recipe to write into the current folder.
    """
    recipe_command("ski_vlm", copy)


def train(
    recipe: str,
    *,
    out: str,
    seeds: int | None = None,
    set: tuple[str, ...] = (),
    fit_memory: bool = False,
    dry_run: bool = False,
) -> None:
    """Train the video student of a recipe; the same command goes on after a kill.

    Args:
        recipe: YAML file of a recipe; see the command recipes.
        out: run folder; gets a folder per seed with logs, checkpoints while training, and models.
        seeds: train the seeds 0 to SEEDS-1 in the place of the recipe's.
        set: changes of single settings, e.g. '["method.alpha=0.1","data.manifest=clips.jsonl"]'.
        fit_memory: choose the accumulation so that a micro-batch fits the GPU; the batch of a step
            stays the same.
        dry_run: print parameters, memory and steps, and train nothing.
    """
    settings = read_recipe(recipe, set)
    if seeds is not None:
        if seeds < 1:
            raise InputError(f"--seeds must be at least 1, got {seeds}")
        settings = replace(settings, seeds=tuple(range(seeds)))
    if fit_memory:
        settings = fitted(settings)
    if dry_run:
        print(yaml.safe_dump(to_plain(settings), sort_keys=False, default_flow_style=None), end="")
        print(report_plan(plan(settings, processes=process_count())))
        return
    run = Path(out)
    clips = open_clips(settings.data)
    for note in check_sources(settings, clips)[1]:
        log.warning(note)
    if is_main_process():
        claim_run(run, settings)
    for seed in settings.seeds:
        try:
            with stage(f"{settings.method.kind}, seed {seed}") as report:
                train_seed(settings, clips, seed_folder(run, seed), seed, report=report)
        except ConfigError as error:
            raise ConfigError(f"{recipe}: {error}") from error
        if is_main_process():
            print(seed_folder(run, seed) / MODEL)


def fitted(settings: VideoRecipe) -> VideoRecipe:
    """The recipe with as many micro-batches per step as this machine's GPU needs.

    Raises:
        ConfigError: no GPU, or one that is too small.
    """
    if not torch.cuda.is_available():
        raise ConfigError("--fit_memory asks a GPU for its free memory; there is none here")
    free, _ = torch.cuda.mem_get_info()
    accumulation = fitting_accumulation(settings, free, processes=process_count())
    return replace(settings, train=replace(settings.train, accumulation=accumulation))


def evaluate(
    run: str,
    *,
    views: Views = Views(),  # noqa: B008  # frozen
    calibrate_with: str | None = None,
    device: str = "cpu",
    batch_size: int = 16,
    json: bool = False,
) -> None:
    """Test a trained run: unseen classes, unseen people, and both among all classes.

    Writes predictions beside the models and one result card per figure into RUN/results.

    Args:
        run: folder of the command train.
        views: clips in time and crops in space of each video, whose probabilities are averaged,
            e.g. '{temporal: 4, spatial: 3}'; one of each by default.
        calibrate_with: a tested run of the same kind whose unseen classes are seen ones of this
            run; the factor that is best there is taken off the seen classes' scores here
            (calibrated stacking), on cards of their own.
        device: cpu, cuda or cuda:N.
        batch_size: clips, or views of clips, at once.
        json: print one JSON object per figure instead of a table.
    """
    need_one_process("evaluate")
    where = check_device(device)
    if batch_size < 1:
        raise InputError(f"--batch_size must be at least 1, got {batch_size}")
    folder, started = Path(run), time.monotonic()
    settings = read_run(folder)
    target = folder / RESULTS
    if target.exists():
        raise ExistingOutputError(f"{target}: already there; remove it to test again")
    clips = open_clips(settings.data)
    tuning = None if calibrate_with is None else tuning_factors(Path(calibrate_with), clips, views)
    found: dict[tuple[str, str], list[Predictions]] = {}
    notes = check_sources(settings, clips)[1]
    for seed in settings.seeds:
        with stage(f"evaluate, seed {seed}") as report:
            _evaluate_seed(settings, clips, folder, seed, where, batch_size, views, found, report)
    cards = make_cards(
        settings,
        clips,
        found,
        seconds=time.monotonic() - started,
        views=views,
        notes=notes,
        factors=tuning,
    )
    part = folder / f".{RESULTS}.part"
    shutil.rmtree(part, ignore_errors=True)
    for card in cards:
        write_card(card, part)
    os.replace(part, target)
    show_cards(cards, json=json)


def _evaluate_seed(
    settings: VideoRecipe,
    clips: Clips,
    folder: Path,
    seed: int,
    device: torch.device,
    batch_size: int,
    views: Views,
    found: dict[tuple[str, str], list[Predictions]],
    report: Callable[[int, int, str], None] | None,
) -> None:
    """Predictions of one seed, added to ``found`` and written beside its models."""
    place = seed_folder(folder, seed)
    size = load_student(place / MODEL)[0].image_size
    ways = list(answerers(settings, place, device))
    work = [(way, protocol) for way in ways for protocol in PROTOCOLS]
    for done, (way, protocol) in enumerate(work):
        if report is not None:
            report(done, len(work), f"{way.title}, {PROTOCOLS[protocol]}")
        predictions = predict_clips(
            settings,
            clips,
            way,
            protocol,
            size=size,
            device=device,
            batch_size=batch_size,
            views=views,
            meta={"seed": seed},
        )
        if predictions is not None:
            found.setdefault((way.title, protocol), []).append(predictions)
            name = f"{way.title.replace(', ', '-').replace(' ', '-')}-{protocol}.npz"
            save_predictions(predictions, place / name, overwrite=True)


def tuning_factors(run: Path, clips: Clips, views: Views) -> dict[str, float]:
    """Per answer the factor of calibrated stacking that is best on another run's own test.

    Args:
        run: tested, with pseudo-unseen classes.
        clips: of the run that is to be calibrated.
        views: of the test that is to be calibrated.

    Raises:
        InputError: its test has seen an unseen class of ``clips``, has only one kind of class, or
            was of other views.
        MissingFileError: no tested run.
    """
    settings = read_run(run)
    place = seed_folder(run, settings.seeds[0])
    paths = sorted(place.glob(f"*-{ALL}.npz"))
    if not paths:
        raise MissingFileError(
            f"{run}: no predictions among all classes; test it with the command evaluate, on seen "
            "and unseen classes (train_subjects)"
        )
    hidden = set() if clips.unseen is None else set(clips.unseen.names)
    factors = {}
    for path in paths:
        predictions = load_predictions(path)
        leaked = sorted(hidden.intersection(predictions.classes))
        if leaked:
            raise InputError(
                f"{run}: its classes hold {leaked}, which are unseen here; calibrate with a run "
                "whose classes are all seen ones of this run"
            )
        answer = str(predictions.meta["answer"])
        told = str(views) if views.count > 1 and answer != SKELETON else None
        if predictions.meta.get("views") != told:
            raise InputError(
                f"{run}: was tested by other views of the videos "
                f"({predictions.meta.get('views', 'one')}); test both with the same"
            )
        factors[answer] = best_factor(
            predictions.logits, predictions.labels, predictions.unseen or ()
        )[0]
    return factors


def seed_folder(run: Path, seed: int) -> Path:
    """Where one seed of a run has its models."""
    return run / f"seed-{seed}"


def read_run(folder: Path) -> VideoRecipe:
    """The recipe that a run was trained by.

    Raises:
        MissingFileError: no run there, or not all of its seeds are trained.
        InputError: a damaged recipe.
    """
    path = folder / "recipe.json"
    if not path.is_file():
        raise MissingFileError(f"{folder}: no run of the command train (no recipe.json in it)")
    try:
        plain = json_module.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); copy it again") from error
    settings = from_plain(VideoRecipe, plain, str(path))
    missing = [s for s in settings.seeds if not (seed_folder(folder, s) / MODEL).is_dir()]
    if missing:
        raise MissingFileError(
            f"{folder}: seeds {missing} are not trained yet; finish the command train first"
        )
    return settings


def show_cards(cards: list[ResultCard], *, json: bool) -> None:
    """Print figures, one a line."""
    for card in cards:
        if json:
            interval = None if card.interval is None else [card.interval.low, card.interval.high]
            row = {"method": card.method, "protocol": card.protocol, "metric": card.metric}
            row |= {"value": card.value, "interval": interval, "n": card.n}
            print(json_module.dumps(row | {"classes": card.n_classes, "notes": list(card.notes)}))
        else:
            text = format_interval(card.value, card.interval)
            print(f"{card.method}; {card.protocol}; {card.metric}: {text} ({card.n} clips)")
    for note in dict.fromkeys(note for card in cards for note in card.notes):
        if not json:
            print(f"note: {note}")
