"""C2VL from a skeleton store and a concept file: recipe, sources, pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore
from ski_skeleton.c2vl.concepts import Concepts, load_concepts
from ski_skeleton.c2vl.model import C2vl, C2vlConfig
from ski_skeleton.c2vl.task import PretrainC2vl
from ski_skeleton.errors import ConfigError
from ski_skeleton.store_clips import StoreClips, TrainRule
from ski_skeleton.train import OptimConfig, TrainConfig, fit, read_model
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.weights import load_strictly

KIND = "c2vl"
"""Kind of the model folders that hold a C2VL student."""


@dataclass(frozen=True)
class C2vlData:
    """Clips, and what a vision-language model says of them."""

    store: str
    """Folder of the skeleton store."""
    concepts: str
    """Concept file of its clips, see ``ski-skeleton c2vl-concepts``."""
    train: TrainRule
    """Which clips train; their labels are not looked at."""


@dataclass(frozen=True)
class C2vlRecipe:
    """Everything that makes a C2VL encoder."""

    data: C2vlData
    model: C2vlConfig = field(default_factory=C2vlConfig)
    feeder: FeederConfig = field(default_factory=lambda: FeederConfig(rotation=0.0))
    """Only a crop in time by default: the method does without transformed skeletons."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=150,
            batch_size=256,
            optim=OptimConfig(lr=5e-4, weight_decay=0.05, betas=(0.9, 0.999), warmup_epochs=10),
        )
    )


def read_recipe(path: str | Path) -> C2vlRecipe:
    """A recipe from YAML.

    Raises:
        MissingFileError, InputError: no such file, or settings that cannot be; the text is one
            line and names the file.
    """
    return from_plain(C2vlRecipe, read_yaml(path), str(path))


class ConceptClips(StoreClips):
    """Clips with their concept vectors, by ``kinds``; samples hold no labels."""

    def __init__(
        self,
        store: SkeletonStore,
        rows: np.ndarray,
        feeder: FeederConfig,
        concepts: Concepts,
        kinds: Sequence[str],
        *,
        layout: str,
        bodies: int,
        seed: int,
    ) -> None:
        super().__init__(store, rows, feeder, layout=layout, bodies=bodies, train=True, seed=seed)
        place = concepts.rows(self.names)
        self.vectors: dict[str, np.ndarray] = {}
        for kind in kinds:
            vectors = getattr(concepts, kind)
            if vectors is None:
                raise InputError(f"the concept file has no {kind} vectors; make it with them")
            self.vectors[kind] = vectors[place]

    def __getitem__(self, index: int) -> dict[str, Any]:
        concepts = {kind: vectors[index] for kind, vectors in self.vectors.items()}
        return {**super().__getitem__(index), **concepts}


def open_source(recipe: C2vlRecipe, *, seed: int = 0) -> ConceptClips:
    """The training clips of a recipe with their concepts.

    Raises:
        InputError: clips without concepts, concepts of another width, a rule that leaves no clips.
    """
    data, model = recipe.data, recipe.model
    store, concepts = SkeletonStore(data.store), load_concepts(data.concepts)
    try:
        source = ConceptClips(
            store,
            np.flatnonzero(data.train.rows(store)),
            recipe.feeder,
            concepts,
            model.concepts,
            layout=model.encoder.layout,
            bodies=model.encoder.persons,
            seed=seed,
        )
    except InputError as error:
        raise InputError(f"{data.concepts}: {error}") from None
    for kind, vectors in source.vectors.items():
        if vectors.shape[1] != model.concept_width:
            raise InputError(
                f"{data.concepts}: {kind} vectors are {vectors.shape[1]} wide; set "
                f"model.concept_width to that, not {model.concept_width}"
            )
    if len(source) < 2:
        raise ConfigError("contrast needs at least two training clips")
    return source


def pretrain(
    recipe: C2vlRecipe,
    source: ConceptClips,
    folder: Path,
    *,
    seed: int = 0,
    report: ProgressReport | None = None,
) -> C2vl:
    """Train a student; called again after a kill it goes on and ends with the same weights."""
    train = replace(recipe.train, seed=seed)
    torch.manual_seed(seed)
    model = C2vl(recipe.model)
    micro = train.batch_size // train.accumulation
    per_epoch = max(1, max(1, len(source) // micro) // train.accumulation)
    task = PretrainC2vl(model, per_epoch * train.epochs, train.accumulation)
    fit(task, source, train, folder, report=report)
    return model


def model_meta(recipe: C2vlRecipe, *, seed: int) -> dict[str, Any]:
    """What a model folder says of its training."""
    return {
        "classes_seen": [],
        "labels_used": False,
        "store": recipe.data.store,
        "data_hash": SkeletonStore(recipe.data.store).sha256,
        "trained_on": to_plain(recipe.data.train),
        "feeder": to_plain(recipe.feeder),
        "seed": seed,
    }


def load_c2vl(folder: str | Path) -> tuple[C2vl, dict[str, Any]]:
    """A pretrained student and what it was trained on.

    Raises:
        MissingFileError, CheckpointError: no model folder, a damaged one, or one of another kind.
    """
    _, plain, state, meta = read_model(folder, KIND)
    model = C2vl(from_plain(C2vlConfig, plain, str(folder)))
    load_strictly(model, state, folder)
    return model.eval(), meta
