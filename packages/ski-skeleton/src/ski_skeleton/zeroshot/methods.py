"""SynSE, SA-DVAE, SMIE and STAR behind one face: trained on features, asked for class scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ski_data.errors import InputError
from ski_skeleton.protocols import Features, linear_probe
from ski_skeleton.train.loop import ProgressReport, TrainConfig, fit
from ski_skeleton.train.optim import OptimConfig
from ski_skeleton.train.task import Task
from ski_skeleton.zeroshot import sa_dvae
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.sa_dvae import SaDvae, SaDvaeConfig, SaDvaeTask
from ski_skeleton.zeroshot.smie import Smie, SmieConfig, SmieTask
from ski_skeleton.zeroshot.star import Star, StarConfig, StarTask
from ski_skeleton.zeroshot.synse import (
    Synse,
    SynseConfig,
    SynseTask,
    class_probabilities,
    fit_classifier,
)
from ski_skeleton.zeroshot.texts import ClassTexts

Kind = Literal["synse", "sa-dvae", "smie", "star"]
MethodConfig = SynseConfig | SaDvaeConfig | SmieConfig | StarConfig


class FeatureSource:
    """Chosen clips of a feature set, over and over up to ``length`` samples in an epoch.

    Samples hold ``index``, ``label``, ``feature`` ``(D,)`` or ``map`` ``(D, T, V)``, and where the
    set has them ``masked`` ``(D,)``, another draw in every epoch.
    """

    def __init__(
        self,
        features: FeatureSet,
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        maps: bool = False,
        masked: bool = False,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        self.features, self.rows, self.labels = features, rows, labels
        self.maps, self.masked, self.seed = maps, masked, seed
        self.length = len(rows) if length is None else length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Draw other masks from now on."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        position = index % len(self.rows)
        row = int(self.rows[position])
        sample: dict[str, Any] = {"index": row, "label": int(self.labels[position])}
        if self.maps:
            sample["map"] = self.features.maps[row]  # type: ignore[index]
        else:
            sample["feature"] = self.features.features[row]
        if self.masked:
            draws = self.features.masked[row]  # type: ignore[index]
            rng = np.random.default_rng([self.seed, self.epoch, index])
            sample["masked"] = draws[rng.integers(len(draws))]
        return sample


def check_inputs(config: MethodConfig, features: FeatureSet) -> None:
    """Whether the features hold what the method needs.

    Raises:
        InputError: no maps for STAR, joints that they do not have, or no masked features.
    """
    if isinstance(config, StarConfig):
        if features.maps is None:
            raise InputError("STAR needs maps; extract the features with maps")
        last = max(max(part) for part in config.part_joints)
        if last >= features.maps.shape[-1]:
            raise InputError(
                f"star.part_joints names joint {last}; the maps have {features.maps.shape[-1]}"
            )
    if isinstance(config, SmieConfig) and config.temporal and features.masked is None:
        raise InputError("SMIE's temporal term needs masked features; extract them with masked")


def words(texts: ClassTexts) -> tuple[Tensor, Tensor]:
    """Nouns and verbs ``(K, E)`` of class texts that have them.

    Raises:
        InputError: they have none.
    """
    if texts.nouns is None or texts.verbs is None:
        raise InputError("SynSE needs vectors of nouns and verbs")
    return texts.nouns, texts.verbs


def train_config(config: MethodConfig, *, seed: int) -> TrainConfig:
    """Loop, optimiser and schedule as published."""
    if isinstance(config, SynseConfig | SaDvaeConfig):
        optim = OptimConfig(lr=config.lr, weight_decay=0.0, betas=(0.9, 0.999), schedule="constant")
        return TrainConfig(
            epochs=config.cycles,
            batch_size=config.batch_size,
            seed=seed,
            log_every=100,
            optim=optim,
        )
    if isinstance(config, SmieConfig):
        optim = OptimConfig(
            lr=config.lr,
            weight_decay=0.0,
            betas=(0.9, 0.999),
            schedule="cosine",
            warmup_epochs=config.warmup_epochs,
            min_ratio=0.0,
        )
    else:
        optim = OptimConfig(
            name="sgd",
            lr=config.lr,
            momentum=0.9,
            weight_decay=config.weight_decay,
            schedule="step",
            milestones=config.milestones,
        )
    return TrainConfig(epochs=config.epochs, batch_size=config.batch_size, seed=seed, optim=optim)


def build_model(config: MethodConfig, features: FeatureSet, texts: ClassTexts) -> nn.Module:
    """The method's module for these features and texts, with random weights."""
    width, text_width = features.features.shape[1], texts.names.shape[1]
    if isinstance(config, SynseConfig):
        return Synse(config, width, words(texts)[0].shape[1])
    if isinstance(config, SaDvaeConfig):
        return SaDvae(config, width, text_width)
    if isinstance(config, SmieConfig):
        return Smie(config, width, text_width)
    assert features.maps is not None
    return Star(config, features.maps.shape[1], text_width, len(texts.names))


def train_method(
    config: MethodConfig,
    features: FeatureSet,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    texts: ClassTexts,
    seen: list[int],
    *,
    seed: int,
    folder: Path,
    report: ProgressReport | None = None,
) -> nn.Module:
    """Train on some clips of seen classes.

    Args:
        config: of the method.
        features: all features.
        rows: clips that train ``(n,)``.
        labels: their classes ``(n,)``, rows of ``texts``.
        texts: of all candidate classes.
        seen: rows of ``texts`` that train.
        seed: of weights, order and noise.
        folder: for logs and checkpoints.
        report: progress.
    """
    torch.manual_seed(seed)
    model = build_model(config, features, texts)
    length = None
    if isinstance(config, SynseConfig | SaDvaeConfig):
        length = config.cycle_steps * config.batch_size
    source = FeatureSource(
        features,
        rows,
        labels,
        maps=isinstance(config, StarConfig),
        masked=isinstance(config, SmieConfig) and config.temporal,
        length=length,
        seed=seed,
    )
    task: Task
    if isinstance(model, Synse):
        task = SynseTask(model, *words(texts))
    elif isinstance(model, SaDvae):
        task = SaDvaeTask(model, texts.names)
    elif isinstance(model, Smie):
        task = SmieTask(model, texts.names)
    else:
        assert isinstance(model, Star)
        assert texts.parts is not None
        task = StarTask(model, texts.parts, texts.names, seen)
    fit(task, source, train_config(config, seed=seed), folder, report=report)
    return model


@torch.no_grad()
def class_scores(
    model: nn.Module,
    features: FeatureSet,
    rows: NDArray[np.int64],
    texts: ClassTexts,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> NDArray[np.float64]:
    """Scores ``(n, K)`` of clips for the classes of ``texts``, larger is better.

    SynSE's and SA-DVAE's are log probabilities of a classifier that is fitted to these classes'
    texts (``seed``).
    """
    if isinstance(model, Synse):
        classifier = fit_classifier(model, *words(texts), seed=seed)
    elif isinstance(model, SaDvae):
        classifier = sa_dvae.fit_classifier(model, texts.names, seed=seed)

    def score(chosen: NDArray[np.int64]) -> Tensor:
        if isinstance(model, Star):
            return model.scores(torch.from_numpy(features.maps[chosen]), texts.names)  # type: ignore[index]
        x = torch.from_numpy(features.features[chosen])
        if isinstance(model, Synse):
            return class_probabilities(model, classifier, x).clamp_min(1e-30).log()
        if isinstance(model, SaDvae):
            return sa_dvae.class_probabilities(model, classifier, x).clamp_min(1e-30).log()
        assert isinstance(model, Smie)
        return model.scores(x, texts.names)

    pieces = [score(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
    return torch.cat(pieces).double().numpy()


def seen_logits(
    features: FeatureSet,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    test: NDArray[np.int64],
    classes: int,
    *,
    seed: int,
) -> NDArray[np.float64]:
    """Log probabilities ``(n, S)`` of seen classes for the clips ``test``, by a linear probe.

    Args:
        features: of all clips.
        rows: clips that train ``(m,)``.
        labels: their classes ``(m,)``, from 0 to S-1.
        test: clips to score ``(n,)``.
        classes: S.
        seed: of the folds that choose the probe's penalty.
    """
    train = _pooled(features, rows, labels)
    other = _pooled(features, test, np.zeros(len(test), np.int64))
    return linear_probe(train, other, classes, seed=seed).logits.astype(np.float64)


def _pooled(features: FeatureSet, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> Features:
    people = features.subjects[rows]
    return Features(
        tuple(features.names[i] for i in rows),
        features.features[rows],
        labels,
        None if (people < 0).any() else tuple(map(str, people.tolist())),
    )
