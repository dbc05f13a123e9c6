"""C2VL without video: ``python -m benchmarks.c2vl_posture DATA.npz --sentence MODEL``.

UI-PRMD has joints but no video, so its captions are told from the joints by fixed rules that know
no class (`captions.py`). 7 of 10 people pretrain without labels; frozen features are then probed on
the other 3. Compared: random weights, plain contrast, each soft target, the same encoder trained
with all labels, and the text vectors alone.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.c2vl_posture.captions import clip_captions
from ski_data import command
from ski_data.errors import InputError
from ski_data.importer import import_skeletons
from ski_data.store import SkeletonStore
from ski_eval import ResultCard, accuracy_table, bootstrap_interval, environment, write_card
from ski_skeleton.c2vl import Concepts, encode_captions, load_concepts, pretrain, save_concepts
from ski_skeleton.c2vl.model import C2vl
from ski_skeleton.c2vl.recipe import C2vlRecipe, open_source, read_recipe
from ski_skeleton.protocols import Features, extract, knn_scores, labelled_part, linear_probe
from ski_skeleton.store_clips import StoreClips
from ski_skeleton.supervised import (
    ClassifierRecipe,
    ClosedSetData,
    SplitRule,
    open_closed_set,
    train_classifier,
)
from ski_skeleton.text.sentence import SentenceConfig, SentenceTextTower

RECIPE = Path(__file__).with_name("recipe.yaml")
ARMS: dict[str, dict[str, float] | None] = {
    "random weights": None,
    "C2VL, hard targets (w = 0)": {"soft": 0.0},
    "C2VL, intra-modal targets": {"intra_share": 1.0},
    "C2VL, inter-modal targets": {"intra_share": 0.0},
    "C2VL": {},
}
PROTOCOLS = ("linear probe", "KNN, k = 1", "KNN, k = 20", "1 % of labels", "10 % of labels")
SUPERVISED = "the same encoder, trained with all labels"
DRAWS = 5
"""Draws of the few labels; their mean counts."""


def benchmark(data: str, *, sentence: str, out: str = "runs/c2vl-posture", seeds: int = 3) -> None:
    """Pretrain C2VL on UI-PRMD without labels and probe it on unseen people.

    Args:
        data: ui_prmd_kinect22.npz.
        sentence: sentence encoder, a transformers id or a local folder (384 wide, as MiniLM-L6).
        out: folder for the store, the runs and the results.
        seeds: number of seeds.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}")
    folder = Path(out)
    if not (folder / "store").is_dir():
        import_skeletons(data, str(folder / "store"), "ui_prmd")
    store = SkeletonStore(folder / "store")
    path = folder / "concepts.npz"
    if not path.exists():
        told = {name: clip_captions(store.clip(name)) for name in store.names}
        tower = SentenceTextTower(SentenceConfig(sentence))
        vectors = encode_captions(told, tower.encode_text)
        save_concepts(Concepts(tuple(told), vectors), path)
    recipe = read_recipe(RECIPE)
    places = {"store": str(store.folder), "concepts": str(path)}
    recipe = replace(recipe, data=replace(recipe.data, **places))
    start = time.monotonic()
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for seed in range(seeds):
        for arm, changes in ARMS.items():
            train, test = arm_features(recipe, store, arm, changes, folder, seed)
            for protocol, correct in measure(train, test, len(store.classes or ()), seed).items():
                found.setdefault(arm, {}).setdefault(protocol, []).append(correct)
        labelled = supervised_features(recipe, store, folder, seed)
        for protocol, correct in measure(*labelled, len(store.classes or ()), seed).items():
            found.setdefault(SUPERVISED, {}).setdefault(protocol, []).append(correct)
        texts = text_features(recipe, store)
        for protocol, correct in measure(*texts, len(store.classes or ()), seed).items():
            found.setdefault("text vectors", {}).setdefault(protocol, []).append(correct)
    people = parts(recipe, store)[1].people
    cards = make_cards(recipe, store, found, people, time.monotonic() - start)
    for card in cards:
        write_card(card, folder / "cards", overwrite=True)
    print(accuracy_table(cards).markdown())


def parts(recipe: C2vlRecipe, store: SkeletonStore) -> list[StoreClips]:
    """Training and test clips, as the encoder takes them, with labels."""
    chosen = recipe.data.train.rows(store)
    encoder = recipe.model.encoder
    return [
        StoreClips(
            store,
            rows,
            recipe.feeder,
            layout=encoder.layout,
            bodies=encoder.persons,
            train=False,
            labels=store.index["label"][rows],
        )
        for rows in (np.flatnonzero(chosen), np.flatnonzero(~chosen))
    ]


def arm_features(
    recipe: C2vlRecipe,
    store: SkeletonStore,
    arm: str,
    changes: dict[str, float] | None,
    folder: Path,
    seed: int,
) -> list[Features]:
    """Frozen features of training and test clips after one pretraining, or none."""
    if changes is None:
        torch.manual_seed(seed)
        model = C2vl(recipe.model)
    else:
        own = replace(recipe, model=replace(recipe.model, **changes))  # type: ignore[arg-type]
        name = re.sub("[^a-z0-9]+", "-", arm.lower()).strip("-")
        model = pretrain(own, open_source(own, seed=seed), folder / f"{name}-{seed}", seed=seed)
    return [extract(model.encoder, clips) for clips in parts(recipe, store)]


def supervised_features(
    recipe: C2vlRecipe, store: SkeletonStore, folder: Path, seed: int
) -> list[Features]:
    """Frozen features of the recipe's encoder after as long a training on all labels."""
    rule = SplitRule(train=recipe.data.train)
    data = ClosedSetData(str(store.folder), rule)
    settings = ClassifierRecipe(
        data, encoder=recipe.model.encoder, feeder=recipe.feeder, train=recipe.train
    )
    clips = open_closed_set(store.folder, rule)
    model = train_classifier(settings, clips, folder / f"supervised-{seed}", seed=seed)
    return [extract(model, clips) for clips in parts(recipe, store)]


def text_features(recipe: C2vlRecipe, store: SkeletonStore) -> list[Features]:
    """The mean caption vectors themselves, what pretraining imitates."""
    concepts = load_concepts(recipe.data.concepts)
    assert concepts.text is not None  # made with text
    return [
        Features(
            clips.names,
            concepts.text[concepts.rows(clips.names)],
            np.asarray(clips.labels, np.int64),
            clips.people,
        )
        for clips in parts(recipe, store)
    ]


def measure(train: Features, test: Features, classes: int, seed: int) -> dict[str, np.ndarray]:
    """How often each protocol gets each test clip right: (N,), 0 or 1, or a mean over draws."""
    every = (
        linear_probe(train, test, classes, seed=seed).logits,
        knn_scores(train, test, classes, 1),
        knn_scores(train, test, classes, 20),
    )
    found = [(logits.argmax(1) == test.labels).astype(float) for logits in every]
    for share in (0.01, 0.1):
        hits = []
        for draw in range(DRAWS):
            few = train.take(labelled_part(train.labels, share, seed=DRAWS * seed + draw))
            logits = linear_probe(few, test, classes, pool=train, seed=seed).logits
            hits.append(logits.argmax(1) == test.labels)
        found.append(np.mean(hits, axis=0))
    return dict(zip(PROTOCOLS, found, strict=True))


def make_cards(
    recipe: C2vlRecipe,
    store: SkeletonStore,
    found: dict[str, dict[str, list[np.ndarray]]],
    people: tuple[str, ...] | None,
    seconds: float,
) -> list[ResultCard]:
    """One card per arm and protocol: mean over seeds, interval over people."""
    where: dict[str, Any] = environment(Path(__file__).parent)
    groups = None if people is None else np.array(people)
    cards = []
    for arm, by_protocol in found.items():
        for protocol, by_seed in by_protocol.items():
            correct = np.mean(by_seed, axis=0)
            each = ", ".join(f"{100 * c.mean():.1f} %" for c in by_seed)
            cards.append(
                ResultCard(
                    name=f"{arm}, {protocol}",
                    method=arm,
                    dataset="UI-PRMD (Kinect)",
                    split="people 1 to 7 train, 8 to 10 test",
                    protocol=protocol,
                    metric="top-1",
                    value=float(correct.mean()),
                    n=len(correct),
                    interval=bootstrap_interval(correct, groups, rng=np.random.default_rng(0)),
                    n_classes=len(store.classes or ()),
                    seeds=tuple(range(len(by_seed))),
                    data_hash=store.sha256,
                    config={"recipe": recipe, "changes": ARMS.get(arm)},
                    environment=where,
                    wall_time_s=seconds,
                    notes=(f"by seed: {each}", "captions told from joints by rules, no labels"),
                )
            )
    return cards


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.c2vl_posture"))
