"""The zero-shot methods by name: what each is made of, how it trains and how it answers.

A method is a module of its own and an entry of :data:`METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ski_data.errors import InputError
from ski_skeleton.errors import ConfigError
from ski_skeleton.train.loop import TrainConfig
from ski_skeleton.train.optim import OptimConfig
from ski_skeleton.train.task import Task
from ski_skeleton.zeroshot import sa_dvae, synse
from ski_skeleton.zeroshot.pgfa import Pgfa, PgfaConfig, PgfaTask
from ski_skeleton.zeroshot.sa_dvae import SaDvae, SaDvaeConfig, SaDvaeTask
from ski_skeleton.zeroshot.smie import Smie, SmieConfig, SmieTask
from ski_skeleton.zeroshot.star import Star, StarConfig, StarTask, cosines
from ski_skeleton.zeroshot.synse import Synse, SynseConfig, SynseTask
from ski_skeleton.zeroshot.tdsm import Tdsm, TdsmConfig, TdsmTask, TokenTexts
from ski_skeleton.zeroshot.texts import ClassTexts

Kind = Literal["synse", "sa-dvae", "smie", "star", "pgfa", "tdsm"]
MethodConfig = SynseConfig | SaDvaeConfig | SmieConfig | StarConfig | PgfaConfig | TdsmConfig
Scorer = Callable[[Tensor], Tensor]
"""Features ``(N, D)``, or maps, to scores ``(N, K)``, larger is better."""


class Space(NamedTuple):
    """Clips and class texts in one space, whose cosines are a method's scores."""

    clips: Callable[[Any, Tensor], Tensor]
    """Model and features (or maps) to ``(N, A)``."""
    classes: Callable[[Any, ClassTexts], Tensor]
    """Model and texts to ``(K, A)``."""


class Method(NamedTuple):
    """What a method is made of; ``config`` and ``model`` stand for its own types."""

    title: str
    config: type
    build: Callable[[Any, int, ClassTexts], nn.Module]
    """Config, width of the features (or maps) and class texts to a module of random weights."""
    task: Callable[[Any, ClassTexts, list[int]], Task]
    """Model, texts of all classes and the rows that train, to its training."""
    training: Callable[[Any], TrainConfig]
    """Loop, optimiser and schedule as published."""
    scorer: Callable[[Any, ClassTexts, int], Scorer]
    """Model, texts of the candidates and a seed to scores."""
    epoch: Callable[[Any], int | None] = lambda _config: None
    """Samples of an epoch; None: every clip once."""
    maps: bool = False
    """Fed with maps in the place of pooled features."""
    gated: bool = False
    """Generalised by a gate; the others by calibrated stacking."""
    space: Space | None = None
    """Where its scores are cosines."""


def words(texts: ClassTexts) -> tuple[Tensor, Tensor]:
    """Nouns and verbs ``(K, E)`` of class texts that have them.

    Raises:
        InputError: they have none.
    """
    if texts.nouns is None or texts.verbs is None:
        raise InputError("SynSE needs vectors of nouns and verbs")
    return texts.nouns, texts.verbs


def _parts(texts: ClassTexts) -> Tensor:
    if texts.parts is None:
        raise InputError("STAR needs vectors of part descriptions")
    return texts.parts


def _token_texts(model: Tdsm, texts: ClassTexts) -> TokenTexts:
    """Texts with their tokens; a vector without any is its own single token."""
    if texts.tokens is None or texts.lengths is None:
        one = torch.ones(len(texts.names), dtype=torch.long, device=texts.names.device)
        return model.texts(texts.names, texts.names[:, None], one)
    return model.texts(texts.names, texts.tokens, texts.lengths)


def _adam(lr: float, **schedule: Any) -> OptimConfig:
    return OptimConfig(lr=lr, weight_decay=0.0, betas=(0.9, 0.999), **schedule)


def _train_cycles(config: SynseConfig | SaDvaeConfig) -> TrainConfig:
    return TrainConfig(
        epochs=config.cycles,
        batch_size=config.batch_size,
        log_every=100,
        optim=_adam(config.lr, schedule="constant"),
    )


def _train_smie(config: SmieConfig) -> TrainConfig:
    optim = _adam(config.lr, schedule="cosine", warmup_epochs=config.warmup_epochs, min_ratio=0.0)
    return TrainConfig(epochs=config.epochs, batch_size=config.batch_size, optim=optim)


def _train_star(config: StarConfig) -> TrainConfig:
    optim = OptimConfig(
        name="sgd",
        lr=config.lr,
        momentum=0.9,
        weight_decay=config.weight_decay,
        schedule="step",
        milestones=config.milestones,
    )
    return TrainConfig(epochs=config.epochs, batch_size=config.batch_size, optim=optim)


def _train_pgfa(config: PgfaConfig) -> TrainConfig:
    optim = OptimConfig(
        name="sgd",
        lr=config.lr,
        momentum=0.9,
        weight_decay=config.weight_decay,
        schedule="constant",
        warmup_epochs=config.warmup_epochs,
    )
    return TrainConfig(epochs=config.epochs, batch_size=config.batch_size, optim=optim)


def _train_tdsm(config: TdsmConfig) -> TrainConfig:
    optim = OptimConfig(
        lr=config.lr,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.999),
        schedule="cosine",
        warmup_epochs=config.warmup_steps / config.epoch_steps,
        min_ratio=0.0,
    )
    return TrainConfig(
        epochs=config.epochs,
        batch_size=config.batch_size,
        precision=config.precision,
        log_every=100,
        optim=optim,
    )


def _score_synse(model: Synse, texts: ClassTexts, seed: int) -> Scorer:
    classifier = synse.fit_classifier(model, *words(texts), seed=seed)
    return lambda x: synse.class_probabilities(model, classifier, x).clamp_min(1e-30).log()


def _score_sa_dvae(model: SaDvae, texts: ClassTexts, seed: int) -> Scorer:
    classifier = sa_dvae.fit_classifier(model, texts.names, seed=seed)
    return lambda x: sa_dvae.class_probabilities(model, classifier, x).clamp_min(1e-30).log()


def _score_tdsm(model: Tdsm, texts: ClassTexts, _seed: int) -> Scorer:
    fed = _token_texts(model, texts)
    return lambda x: model.scores(x, fed)


METHODS: dict[Kind, Method] = {
    "synse": Method(
        "SynSE",
        SynseConfig,
        build=lambda config, width, texts: Synse(config, width, words(texts)[0].shape[1]),
        task=lambda model, texts, _seen: SynseTask(model, *words(texts)),
        training=_train_cycles,
        scorer=_score_synse,
        epoch=lambda config: config.cycle_steps * config.batch_size,
        gated=True,
    ),
    "sa-dvae": Method(
        "SA-DVAE",
        SaDvaeConfig,
        build=lambda config, width, texts: SaDvae(config, width, texts.names.shape[1]),
        task=lambda model, texts, _seen: SaDvaeTask(model, texts.names),
        training=_train_cycles,
        scorer=_score_sa_dvae,
        epoch=lambda config: config.cycle_steps * config.batch_size,
        gated=True,
    ),
    "smie": Method(
        "SMIE",
        SmieConfig,
        build=lambda config, width, texts: Smie(config, width, texts.names.shape[1]),
        task=lambda model, texts, _seen: SmieTask(model, texts.names),
        training=_train_smie,
        scorer=lambda model, texts, _seed: lambda x: model.scores(x, texts.names),
    ),
    "star": Method(
        "STAR",
        StarConfig,
        build=lambda config, width, texts: Star(
            config, width, texts.names.shape[1], len(texts.names)
        ),
        task=lambda model, texts, seen: StarTask(model, _parts(texts), texts.names, seen),
        training=_train_star,
        scorer=lambda model, texts, _seed: lambda x: model.scores(x, texts.names),
        maps=True,
        space=Space(
            lambda model, x: model(x).whole, lambda model, texts: model.name_map(texts.names)
        ),
    ),
    "pgfa": Method(
        "PGFA",
        PgfaConfig,
        build=lambda config, width, texts: Pgfa(config, width, texts.names.shape[1]),
        task=lambda model, texts, _seen: PgfaTask(model, texts.names),
        training=_train_pgfa,
        scorer=lambda model, texts, _seed: lambda x: cosines(model(x), texts.names),
        space=Space(lambda model, x: model(x), lambda _model, texts: texts.names),
    ),
    "tdsm": Method(
        "TDSM",
        TdsmConfig,
        build=lambda config, width, texts: Tdsm(config, width, texts.names.shape[1]),
        task=lambda model, texts, seen: TdsmTask(model, _token_texts(model, texts), seen),
        training=_train_tdsm,
        scorer=_score_tdsm,
        epoch=lambda config: config.epoch_steps * config.batch_size,
    ),
}


def method_of(config: MethodConfig) -> Method:
    """The method that settings belong to."""
    return next(method for method in METHODS.values() if type(config) is method.config)


def space_of(method: Method) -> Space:
    """The space in which a method compares clips and class texts by cosine.

    Raises:
        ConfigError: its scores are no cosines.
    """
    if method.space is None:
        known = [other.title for other in METHODS.values() if other.space is not None]
        raise ConfigError(
            "prototypes need clips and class texts in one space, compared by cosine: "
            f"{' and '.join(known)} have one, {method.title} has none; leave prototypes out"
        )
    return method.space
