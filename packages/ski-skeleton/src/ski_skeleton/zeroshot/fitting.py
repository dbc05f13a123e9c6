"""Training a zero-shot method on features, and asking it for class scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from ski_data.errors import InputError
from ski_skeleton.protocols import Features, linear_probe
from ski_skeleton.train.loop import ProgressReport, TrainConfig, fit
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.methods import Method, MethodConfig, Scorer, method_of, space_of
from ski_skeleton.zeroshot.pgfa import PrototypeConfig, prototypes
from ski_skeleton.zeroshot.smie import SmieConfig
from ski_skeleton.zeroshot.star import StarConfig, cosines
from ski_skeleton.zeroshot.texts import ClassTexts


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


def train_config(config: MethodConfig, *, seed: int) -> TrainConfig:
    """Loop, optimiser and schedule as published."""
    return replace(method_of(config).training(config), seed=seed)


def build_model(config: MethodConfig, features: FeatureSet, texts: ClassTexts) -> nn.Module:
    """The method's module for these features and texts, with random weights."""
    method = method_of(config)
    return method.build(config, _input(method, features).shape[1], texts)


def _input(method: Method, features: FeatureSet) -> NDArray[np.float32]:
    if not method.maps:
        return features.features
    assert features.maps is not None
    return features.maps


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
    method, model = method_of(config), build_model(config, features, texts)
    source = FeatureSource(
        features,
        rows,
        labels,
        maps=method.maps,
        masked=isinstance(config, SmieConfig) and config.temporal,
        length=method.epoch(config),
        seed=seed,
    )
    task = method.task(model, texts, seen)
    fit(task, source, train_config(config, seed=seed), folder, report=report)
    return model


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
    config: MethodConfig = model.config  # type: ignore[assignment]
    method = method_of(config)
    given = _input(method, features)

    def answer(place: ClassTexts) -> Tensor:
        scorer = method.scorer(model, place, seed)
        return _in_pieces(scorer, given, rows, batch_size, place.names.device)

    return _on_device(model, texts, answer)


def prototype_scores(
    model: nn.Module,
    features: FeatureSet,
    rows: NDArray[np.int64],
    texts: ClassTexts,
    config: PrototypeConfig,
    *,
    batch_size: int = 256,
) -> NDArray[np.float64]:
    """Cosines ``(n, K)`` of clips with prototypes that are made of these very clips: transductive.

    Args:
        model: a trained method whose scores are cosines.
        features: of all clips.
        rows: the test clips ``(n,)``, whose labels are not looked at.
        texts: of the candidate classes.
        config: of the prototypes.
        batch_size: clips at once.

    Raises:
        ConfigError: a method without such a space.
    """
    settings: MethodConfig = model.config  # type: ignore[assignment]
    method = method_of(settings)
    space, given = space_of(method), _input(method, features)

    def answer(place: ClassTexts) -> Tensor:
        device = place.names.device
        clips = _in_pieces(lambda x: space.clips(model, x), given, rows, batch_size, device)
        return cosines(clips, prototypes(clips, space.classes(model, place).cpu(), config))

    return _on_device(model, texts, answer)


@torch.no_grad()
def _on_device(
    model: nn.Module, texts: ClassTexts, answer: Callable[[ClassTexts], Tensor]
) -> NDArray[np.float64]:
    """What ``answer`` gives with model and texts on the GPU, if training takes one."""
    device = PartialState().device
    if device.type != "cuda":
        device = torch.device("cpu")
    model.to(device)
    try:
        return answer(texts.to(device)).double().cpu().numpy()
    finally:
        model.to("cpu")


def _in_pieces(
    ask: Scorer,
    given: NDArray[np.float32],
    rows: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """Answers ``(n, ...)`` for the clips ``rows``, on the CPU."""
    starts = range(0, len(rows), batch_size)
    pieces = [ask(torch.from_numpy(given[rows[i : i + batch_size]]).to(device)) for i in starts]
    return torch.cat([piece.cpu() for piece in pieces])


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
