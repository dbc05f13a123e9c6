"""SkeletonCLIP from a skeleton store: pretraining, alignment, zero-shot evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.errors import InputError
from ski_data.manifest import Record
from ski_data.paired import PairedDataset
from ski_data.skeleton import FeederConfig
from ski_data.splits import ZeroShotSplit, dataset_classes, zero_shot_split
from ski_data.store import SkeletonStore
from ski_skeleton.encoder import MapEncoder
from ski_skeleton.encoders import build_encoder
from ski_skeleton.errors import ConfigError, RunError
from ski_skeleton.evaluate import Scores, collect_scores
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text.clip import without_weights
from ski_skeleton.text.prompts import class_prompts
from ski_skeleton.train.data import Source
from ski_skeleton.train.loop import ProgressReport, TrainConfig, fit
from ski_skeleton.train.model_folder import read_model
from ski_skeleton.train.processes import is_main_process
from ski_skeleton.train.task import Task
from ski_skeleton.train.tasks import AlignSkeletons, ClassifySkeletons
from ski_skeleton.weights import load_strictly
from ski_skeleton.zeroshot.pgfa import (
    MatchConfig,
    MatchSkeletons,
    PrototypeConfig,
    check_cosine,
    prototypes,
)

KIND = "skeleton-clip"
"""Kind of the model folders that hold a SkeletonCLIP."""


@dataclass(frozen=True)
class ZeroShotData:
    """A store, and which of its classes and people are for training.

    Give either a published ``split`` of NTU (labels of the store are then action number - 1), or
    ``unseen`` class names of the store's own classes.
    """

    store: str
    """Folder of the skeleton store."""
    train_subjects: tuple[int, ...]
    """People whose clips of seen classes train; the others test."""
    split: str | None = None
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.split is None) == (not self.unseen):
            raise ConfigError("give either a published split or unseen class names")
        if self.split is not None:
            zero_shot_split(self.split)


@dataclass(frozen=True)
class SkeletonRecipe:
    """Everything that makes a SkeletonCLIP."""

    data: ZeroShotData
    model: SkeletonClipConfig = field(default_factory=SkeletonClipConfig)
    feeder: FeederConfig = field(default_factory=FeederConfig)
    classify: TrainConfig | None = None
    """Pretraining of the encoder on the seen classes; None starts from random weights."""
    align: TrainConfig = field(default_factory=TrainConfig)
    matching: MatchConfig | None = None
    """Align by PGFA's loss within a batch, with cosine similarity; None: cross entropy over the
    seen class names."""

    def __post_init__(self) -> None:
        if self.matching is not None:
            check_cosine(self.model)


def read_recipe(path: str | Path) -> SkeletonRecipe:
    """A recipe from YAML.

    Raises:
        MissingFileError, InputError: no such file, or settings that cannot be; the text is one
            line and names the file.
    """
    return from_plain(SkeletonRecipe, read_yaml(path), str(path))


def claim_run(folder: Path, recipe: SkeletonRecipe) -> None:
    """Make ``folder`` the run of ``recipe``, or check that it already is.

    A run that went on under another recipe could keep weights that have seen its unseen classes.
    A folder in which no training began, say because the settings did not fit, is free. Of several
    processes the main one claims for all.

    Raises:
        RunError: the folder belongs to another recipe, or is a file.
    """
    if not is_main_process():
        return
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another run folder")
    path = folder / "recipe.json"
    plain = json.dumps(to_plain(recipe), indent=1) + "\n"
    if not path.exists() or list(folder.iterdir()) == [path]:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(plain, encoding="utf-8")
        os.replace(part, path)
    elif path.read_text(encoding="utf-8") != plain:
        raise RunError(
            f"{folder}: holds a run of another recipe; choose another run folder or remove it"
        )


@dataclass(frozen=True)
class ZeroShotSets:
    """Class names and data sets of one recipe."""

    seen: list[str]
    unseen: list[str]
    split_hash: str
    """Of which classes are seen and unseen, see :attr:`ski_data.splits.ZeroShotSplit.hash`."""
    train: PairedDataset
    test_seen: PairedDataset
    """Seen classes, people that training did not see."""
    test_unseen: PairedDataset
    """All clips of the unseen classes."""


def _class_split(data: ZeroShotData, store: SkeletonStore) -> ZeroShotSplit:
    """The published split, or that of the store's classes into the unseen ones and the others."""
    if data.split is not None:
        return zero_shot_split(data.split)
    if store.classes is None:
        raise InputError(f"{data.store}: the store names no classes; use a published split")
    names = store.classes.names
    wrong = sorted(set(data.unseen) - set(names))
    if wrong:
        raise InputError(f"{data.store}: no classes {wrong}; it has {list(names)}")
    seen = [label for label, name in enumerate(names) if name not in data.unseen]
    unseen = [label for label, name in enumerate(names) if name in data.unseen]
    if min(len(seen), len(unseen)) < 2:
        raise InputError(
            f"{data.store}: {len(seen)} seen and {len(unseen)} unseen classes; recognition needs "
            "at least two of each"
        )
    return ZeroShotSplit(
        data.store,
        store.classes.subset(seen),
        store.classes.subset(unseen),
        tuple(label + 1 for label in seen),
        tuple(label + 1 for label in unseen),
    )


def open_sets(recipe: SkeletonRecipe, *, seed: int = 0) -> ZeroShotSets:
    """Open the store and split it by the recipe.

    Raises:
        InputError: classes that the store does not have, fewer than two seen or unseen ones, a
            label that is none of its classes, joints or bodies that the encoder is not built for,
            or a part without clips.
    """
    data, store = recipe.data, SkeletonStore(recipe.data.store)
    encoder = recipe.model.encoder
    if (store.layout.name, store.bodies) != (encoder.layout, encoder.persons):
        raise InputError(
            f"{data.store}: clips of {store.bodies} x {store.layout.name}, the recipe's encoder "
            f"takes {encoder.persons} x {encoder.layout}; set encoder.persons and encoder.layout"
        )
    split = _class_split(data, store)
    seen, unseen = list(split.seen.names), list(split.unseen.names)
    seen_labels = [action - 1 for action in split.seen_actions]
    unseen_labels = [action - 1 for action in split.unseen_actions]
    known = store.classes or dataset_classes(str(data.split).split("/")[0])
    wrong_rows = np.flatnonzero((store.index["label"] < 0) | (store.index["label"] >= len(known)))
    if len(wrong_rows):
        first = wrong_rows[0]
        raise InputError(
            f"{data.store}: label {store.index['label'][first]} of clip "
            f"{store.index['name'][first]} is out of range; allowed: 0..{len(known) - 1}"
        )
    people = np.isin(store.index["subject"], data.train_subjects)

    def part(labels: list[int], rows: np.ndarray, *, train: bool) -> PairedDataset:
        label_of = {label: i for i, label in enumerate(labels)}
        chosen = np.flatnonzero(np.isin(store.index["label"], labels) & rows)
        records = [
            Record(
                name=str(store.index["name"][i]),
                label=label_of[int(store.index["label"][i])],
                subject=int(store.index["subject"][i]),
            )
            for i in chosen
        ]
        if not records:
            raise InputError(
                f"{data.store}: no clips for labels {labels} and these subjects; it has subjects "
                f"{sorted(set(store.index['subject'].tolist()))}"
            )
        return PairedDataset(records, skeletons=store, feeder=recipe.feeder, train=train, seed=seed)

    everyone = np.ones_like(people)
    return ZeroShotSets(
        seen,
        unseen,
        split.hash,
        part(seen_labels, people, train=True),
        part(seen_labels, ~people, train=False),
        part(unseen_labels, everyone, train=False),
    )


def pretrain_encoder(
    config: SkeletonClipConfig,
    source: Source,
    classes: int,
    train: TrainConfig,
    folder: Path,
    *,
    report: ProgressReport | None = None,
) -> MapEncoder:
    """The encoder with a head that classifies the ``classes`` seen classes."""
    torch.manual_seed(train.seed)
    model = build_encoder(replace(config.encoder, output=classes))
    fit(ClassifySkeletons(model), source, train, folder, report=report)
    return model


def align(
    model: SkeletonClip,
    body: Mapping[str, Tensor] | None,
    source: Source,
    names: list[str],
    train: TrainConfig,
    folder: Path,
    *,
    matching: MatchConfig | None = None,
    report: ProgressReport | None = None,
) -> SkeletonClip:
    """Align ``model`` with the class names, its encoder started from a pretrained ``body``.

    Raises:
        ConfigError: ``matching`` with a model that does not compare by cosine.
    """
    task: Task = AlignSkeletons(model, names)
    if matching is not None:
        task = MatchSkeletons(model, names, matching)
    if body is not None:
        own_head = {k: v for k, v in model.encoder.state_dict().items() if k.startswith("head.")}
        rest = {k: v for k, v in body.items() if not k.startswith("head.")}
        load_strictly(model.encoder, {**rest, **own_head}, "pretrained encoder")
    fit(task, source, train, folder, report=report)
    return model


def zero_shot_scores(
    model: SkeletonClip, source: Source, names: list[str], *, batch_size: int = 64
) -> Scores:
    """Similarities of every clip with every class name."""
    model.eval()
    return collect_scores(
        lambda batch: model.logits(batch["skeleton"], names), source, batch_size=batch_size
    )


def prototype_scores(
    model: SkeletonClip,
    source: Source,
    names: list[str],
    config: PrototypeConfig,
    *,
    batch_size: int = 64,
) -> Scores:
    """Cosines of every clip with prototypes that are made of these very clips: transductive.

    Raises:
        ConfigError: a model that does not compare by cosine.
    """
    check_cosine(model.config)
    model.eval()
    found = collect_scores(
        lambda batch: model.embed(batch["skeleton"]), source, batch_size=batch_size
    )
    clips = torch.from_numpy(found.logits)
    with torch.no_grad():
        text = model.text.unit_text(class_prompts(names, model.config.template))
    scores = F.normalize(clips, dim=-1) @ prototypes(clips, text, config).T
    return Scores(scores.numpy(), found.labels)


def load_skeleton_clip(folder: str | Path) -> tuple[SkeletonClip, dict[str, Any]]:
    """A trained SkeletonCLIP and what it was trained on.

    All weights come from the folder; those that the text tower started from are not needed.

    Raises:
        MissingFileError, CheckpointError: no model folder, a damaged one, or one of another kind.
    """
    _, plain, state, meta = read_model(folder, KIND)
    config = from_plain(SkeletonClipConfig, plain, str(folder))
    try:
        model = SkeletonClip(replace(config, clip=without_weights(config.clip)))
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
    load_strictly(model, state, folder)
    return model.eval(), meta
