"""SkeletonCLIP on real Kinect data: ``python -m benchmarks.ui_prmd DATA.npz --sentence MODEL``.

Trains on 8 of UI-PRMD's 10 movements with 7 of its 10 people, tests on the two other movements (all
people) and on the 8 movements by the 3 other people, for several seeds. Finished seeds are kept.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from ski_data import command
from ski_data.config import to_plain
from ski_data.errors import InputError
from ski_data.importer import import_skeletons
from ski_data.store import SkeletonStore
from ski_eval import (
    Predictions,
    ResultCard,
    accuracy_table,
    bootstrap_interval,
    content_hash,
    environment,
    load_predictions,
    save_predictions,
    write_card,
)
from ski_skeleton import pipeline
from ski_skeleton.pipeline_commands import fit_recipe
from ski_skeleton.text.sentence import SentenceConfig

RECIPE = Path(__file__).with_name("recipe.yaml")
PROTOCOLS = {
    "unseen-movements": "zero-shot: 2 unseen movements, all people",
    "unseen-people": "8 seen movements, 3 unseen people",
}


def benchmark(data: str, *, sentence: str, out: str = "runs/ui-prmd", seeds: int = 3) -> None:
    """Train and test SkeletonCLIP on UI-PRMD.

    Args:
        data: ui_prmd_kinect22.npz.
        sentence: sentence encoder, a transformers id or a local folder (384 wide, as MiniLM-L6).
        out: folder for the store, the runs and the results.
        seeds: number of seeds.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    folder = Path(out)
    store = folder / "store"
    if not store.is_dir():
        import_skeletons(data, str(store), "ui_prmd")
    recipe = pipeline.read_recipe(RECIPE)
    recipe = replace(
        recipe,
        data=replace(recipe.data, store=str(store)),
        model=replace(recipe.model, sentence=SentenceConfig(sentence)),
    )
    found: dict[str, list[Predictions]] = {name: [] for name in PROTOCOLS}
    start = time.monotonic()
    for seed in range(seeds):
        run = folder / f"seed{seed}"
        for name, predictions in predict(recipe, run, seed).items():
            found[name].append(predictions)
    cards = make_cards(recipe, folder, found, time.monotonic() - start)
    print(accuracy_table(cards).markdown())


def predict(recipe: pipeline.SkeletonRecipe, run: Path, seed: int) -> dict[str, Predictions]:
    """Predictions of one seed for both test sets; trains unless they are there."""
    if not all((run / f"{name}.npz").exists() for name in PROTOCOLS):
        sets = pipeline.open_sets(recipe, seed=seed)
        if (run / "model").is_dir():
            model, _ = pipeline.load_skeleton_clip(run / "model")
        else:
            model = fit_recipe(recipe, sets, run, seed)
        for name, source, names in (
            ("unseen-movements", sets.test_unseen, sets.unseen),
            ("unseen-people", sets.test_seen, sets.seen),
        ):
            scores = pipeline.zero_shot_scores(model, source, names)
            predictions = Predictions(
                names=tuple(record.name for record in source.records),
                labels=scores.labels,
                logits=scores.logits,
                classes=tuple(names),
                groups=tuple(f"{r.subject}" for r in source.records),
                meta={"seed": seed},
            )
            save_predictions(predictions, run / f"{name}.npz", overwrite=True)
    return {name: load_predictions(run / f"{name}.npz") for name in PROTOCOLS}


def make_cards(
    recipe: pipeline.SkeletonRecipe,
    folder: Path,
    found: dict[str, list[Predictions]],
    seconds: float,
) -> list[ResultCard]:
    """One card per protocol: mean over seeds, interval over people."""
    store = SkeletonStore(recipe.data.store)
    where = environment(Path(__file__).parent)
    split = {"unseen": recipe.data.unseen, "train_subjects": recipe.data.train_subjects}
    cards = []
    for name, by_seed in found.items():
        correct = np.mean([p.correct for p in by_seed], axis=0)
        each = ", ".join(f"{100 * p.correct.mean():.1f} %" for p in by_seed)
        cards.append(
            ResultCard(
                name=f"SkeletonCLIP, {PROTOCOLS[name]}",
                method="SkeletonCLIP",
                dataset="UI-PRMD (Kinect)",
                split="8/2 movements, 7/3 people",
                protocol=PROTOCOLS[name],
                metric="top-1",
                value=float(correct.mean()),
                n=len(correct),
                interval=bootstrap_interval(
                    correct, by_seed[0].groups, rng=np.random.default_rng(0)
                ),
                n_classes=len(by_seed[0].classes),
                seeds=tuple(range(len(by_seed))),
                data_hash=store.sha256,
                split_hash=content_hash(split),
                config=to_plain(recipe),
                environment=where,
                wall_time_s=round(seconds, 1),
                notes=(f"{PROTOCOLS[name]}, by seed: {each}", "intervals resample people"),
            )
        )
    for card in cards:
        write_card(card, folder / "results", overwrite=True)
    return cards


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.ui_prmd"))
