"""Protocols of a trained encoder on a skeleton store: from a folder to predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.progress import Progress
from ski_data.store import SkeletonStore
from ski_eval import Predictions
from ski_skeleton.errors import ConfigError
from ski_skeleton.evaluate import collect_scores
from ski_skeleton.finetune import FINETUNE, finetune
from ski_skeleton.loading import LoadedEncoder
from ski_skeleton.protocols import (
    NTU120_EXEMPLARS,
    Features,
    extract,
    knn_scores,
    labelled_part,
    linear_probe,
    one_shot_split,
    relabelled,
)
from ski_skeleton.store_clips import StoreClips, TrainRule
from ski_skeleton.train import TrainConfig
from ski_skeleton.zeroshot.texts import TextConfig, class_texts

log = logging.getLogger(__name__)

Protocol = Literal["linear", "knn", "semi", "finetune", "semi-finetune", "oneshot", "zeroshot"]


@dataclass(frozen=True)
class ProbeConfig:
    """What is measured, and how."""

    protocol: Protocol = "linear"
    """linear, knn and semi leave the encoder as it is; finetune and semi-finetune train it; semi
    keeps the labels of some clips only; oneshot knows one clip of each class, zeroshot its name."""
    k: tuple[int, ...] = (1, 20)
    """Neighbours of knn."""
    shares: tuple[float, ...] = (0.01, 0.1)
    """Labels that the semi protocols keep."""
    draws: int = 5
    """Draws of those labels; the mean is reported."""
    novel: tuple[str, ...] = ()
    """Classes of oneshot and zeroshot, by name or id; none: the 20 published ones of NTU RGB+D 120
    for oneshot, all for zeroshot."""
    exemplars: tuple[str, ...] = ()
    """Clips of oneshot that are known; none: the published ones, or drawn for own classes."""
    text: TextConfig | None = None
    """Class texts of zeroshot, from the tower that gave the captions' vectors."""
    training: TrainConfig = FINETUNE
    """Of the finetune protocols."""
    seed: int = 0
    device: str = "cpu"
    """Where the trained encoder runs."""

    def __post_init__(self) -> None:
        wrong = []
        if self.draws < 1 or self.seed < 0:
            wrong.append(f"draws from 1 and seed from 0, got {self.draws}, {self.seed}")
        if not self.k or not self.shares:
            wrong.append("k and shares need at least one value")
        if self.exemplars and not self.novel:
            wrong.append("exemplars are for classes named by novel")
        if (self.protocol == "zeroshot") != (self.text is not None):
            wrong.append("zeroshot needs text, and no other protocol takes it")
        if wrong:
            raise ConfigError("probe: " + "; ".join(wrong))


@dataclass(frozen=True)
class Outcome:
    """One figure's predictions: several where labels were drawn several times."""

    name: str
    """Of files."""
    protocol: str
    """In words, for cards."""
    predictions: tuple[Predictions, ...]
    config: dict[str, Any] = field(default_factory=dict)
    """What was chosen, e.g. the regularisation and its accuracy on held-out training people."""
    notes: tuple[str, ...] = ()


def run_protocol(
    loaded: LoadedEncoder,
    store: SkeletonStore,
    config: ProbeConfig,
    rule: TrainRule | None,
    folder: Path,
) -> list[Outcome]:
    """All figures of one protocol.

    Args:
        loaded: the encoder.
        store: the clips; their joints are converted to the encoder's where there is a map.
        config: the protocol.
        rule: which clips train; oneshot goes without, and zeroshot then tests all clips.
        folder: for the logs of trainings.

    Raises:
        InputError: clips without labels, an encoder trained on the classes of oneshot, a rule that
            is missing or leaves a part without clips.
    """
    classes = store.classes
    labels = store.index["label"]
    if (labels < 0).any():
        first = store.index["name"][int((labels < 0).argmax())]
        raise InputError(f"{store.folder}: clip {first} has no label; probes need labels of all")
    if classes is None:
        classes = ClassSet.from_names([f"class {i}" for i in range(int(labels.max()) + 1)])
    if config.protocol == "oneshot":
        return [_one_shot(loaded, store, classes, config)]
    if config.protocol == "zeroshot":
        return [_zero_shot(loaded, store, classes, config, rule)]
    if rule is None:
        raise InputError("say which clips train: give subjects, cameras or setups")
    chosen = rule.rows(store)
    parts = [np.flatnonzero(chosen), np.flatnonzero(~chosen)]
    bench = _Bench(loaded, store, classes, config, parts[0], parts[1])
    if config.protocol in ("finetune", "semi-finetune"):
        return bench.trained(folder)
    return bench.frozen()


@dataclass(frozen=True)
class _Bench:
    """An encoder with the training and test clips of a store."""

    loaded: LoadedEncoder
    store: SkeletonStore
    classes: ClassSet
    config: ProbeConfig
    train_rows: np.ndarray
    test_rows: np.ndarray

    def source(self, rows: np.ndarray, *, train: bool = False, seed: int = 0) -> StoreClips:
        return clips_for(self.loaded, self.store, rows, train=train, seed=seed)

    def frozen(self) -> list[Outcome]:
        config, count = self.config, len(self.classes)
        train = extract(self.loaded.module, self.source(self.train_rows), device=config.device)
        test = extract(self.loaded.module, self.source(self.test_rows), device=config.device)
        if config.protocol == "knn":
            return [
                self.outcome(f"knn-{k}", f"KNN, k = {k}", [knn_scores(train, test, count, k)], {})
                for k in config.k
            ]
        if config.protocol == "linear":
            probe = linear_probe(train, test, count, seed=config.seed)
            found = {"regularisation": probe.regularisation, "validation": probe.validation}
            return [self.outcome("linear", "linear probe", [probe.logits], found)]
        outcomes = []
        for share in config.shares:
            parts = self._draws(train.labels, share)
            probes = [
                linear_probe(train.take(part), test, count, pool=train, seed=config.seed + draw)
                for draw, part in enumerate(parts)
            ]
            found = {
                "share": share,
                "labelled_clips": len(parts[0]),
                "regularisation": [probe.regularisation for probe in probes],
                "validation": [probe.validation for probe in probes],
            }
            outcomes.append(
                self.outcome(
                    f"semi-{share:g}",
                    f"semi-supervised, {100 * share:g} % of labels, frozen encoder",
                    [probe.logits for probe in probes],
                    found,
                )
            )
        return outcomes

    def trained(self, folder: Path) -> list[Outcome]:
        config = self.config
        labels = self.store.index["label"][self.train_rows]
        if config.protocol == "finetune":
            everything = [np.arange(len(self.train_rows))]
            return [self._finetuned(folder, "finetune", "fine-tuned", everything, {})]
        outcomes = []
        for share in config.shares:
            words = f"semi-supervised, {100 * share:g} % of labels, fine-tuned"
            parts = self._draws(labels, share)
            found = {"share": share, "labelled_clips": len(parts[0])}
            name = f"semi-finetune-{share:g}"
            outcomes.append(self._finetuned(folder, name, words, parts, found))
        return outcomes

    def _draws(self, labels: np.ndarray, share: float) -> list[np.ndarray]:
        seeds = range(self.config.seed, self.config.seed + self.config.draws)
        return [labelled_part(labels, share, seed=seed) for seed in seeds]

    def _finetuned(
        self, folder: Path, name: str, words: str, parts: list[np.ndarray], found: dict[str, Any]
    ) -> Outcome:
        scores = []
        for draw, part in enumerate(parts):
            seed = self.config.seed + draw
            with Progress(f"{name}, {draw + 1} of {len(parts)}", total=1) as progress:
                scored = finetune(
                    self.loaded.module,
                    self.source(self.train_rows[part], train=True, seed=seed),
                    self.source(self.test_rows),
                    len(self.classes),
                    self.config.training,
                    folder / f"{name}-{draw}",
                    seed=seed,
                    device=self.config.device,
                    report=progress.report,
                )
            scores.append(scored.numpy())
        return self.outcome(name, words, scores, found)

    def outcome(
        self, name: str, protocol: str, scores: Sequence[np.ndarray], found: dict[str, Any]
    ) -> Outcome:
        source = self.source(self.test_rows)
        predictions = tuple(
            Predictions(
                names=source.names,
                labels=self.store.index["label"][self.test_rows].astype(np.int64),
                logits=logits,
                classes=self.classes.names,
                groups=source.people,
                meta={"protocol": protocol, "seed": self.config.seed + draw},
            )
            for draw, logits in enumerate(scores)
        )
        return Outcome(name, protocol, predictions, found)


def clips_for(
    loaded: LoadedEncoder,
    store: SkeletonStore,
    rows: np.ndarray,
    *,
    train: bool = False,
    seed: int = 0,
) -> StoreClips:
    """Labelled clips of a store as ``loaded`` takes them."""
    return StoreClips(
        store,
        rows,
        loaded.feeder,
        layout=loaded.layout,
        bodies=loaded.bodies,
        train=train,
        seed=seed,
        labels=store.index["label"][rows],
    )


def _one_shot(
    loaded: LoadedEncoder, store: SkeletonStore, classes: ClassSet, config: ProbeConfig
) -> Outcome:
    names, labels = store.names, store.index["label"]
    exemplars: Sequence[str] | None = config.exemplars or None
    if config.novel:
        novel = [classes.label(text) for text in config.novel]
    else:
        novel = [action - 1 for action, _ in NTU120_EXEMPLARS]
        exemplars = [name for _, name in NTU120_EXEMPLARS]
        if len(classes) != 120 or not set(exemplars) <= set(names):
            raise InputError(
                f"{store.folder}: is not NTU RGB+D 120, whose one-shot classes are the default; "
                "name the novel classes"
            )
    notes = _check_leak(loaded, [classes.names[label] for label in novel])
    split = one_shot_split(names, labels, novel, exemplars=exemplars, seed=config.seed)
    features: list[Features] = [
        relabelled(
            extract(loaded.module, clips_for(loaded, store, rows), device=config.device),
            split.classes,
        )
        for rows in (split.exemplars, split.test)
    ]
    found = Predictions(
        names=features[1].names,
        labels=features[1].labels,
        logits=knn_scores(features[0], features[1], len(split.classes), 1),
        classes=tuple(classes.names[label] for label in split.classes),
        groups=features[1].people,
        meta={"protocol": "one-shot", "exemplars": list(features[0].names)},
    )
    exemplar_list = {"exemplars": list(features[0].names)}
    return Outcome("oneshot", "one-shot, nearest exemplar", (found,), exemplar_list, notes)


def _zero_shot(
    loaded: LoadedEncoder,
    store: SkeletonStore,
    classes: ClassSet,
    config: ProbeConfig,
    rule: TrainRule | None,
) -> Outcome:
    student = loaded.c2vl
    if student is None:
        raise InputError("zeroshot needs a pretrained c2vl, whose heads map class texts")
    assert config.text is not None  # checked by ProbeConfig
    chosen = [classes.label(text) for text in config.novel] or list(range(len(classes)))
    chosen = sorted(set(chosen))
    if len(chosen) < 2:
        raise InputError("zero-shot recognition needs at least two classes")
    rows = np.isin(store.index["label"], chosen)
    if rule is not None:
        rows &= ~rule.rows(store)
    if not rows.any():
        raise InputError(f"{store.folder}: no test clips of these classes")
    names = [classes.names[label] for label in chosen]
    texts = class_texts(config.text, names, words=False).names
    if texts.shape[1] != student.config.concept_width:
        raise InputError(
            f"the class texts are {texts.shape[1]} wide, the captions' vectors were "
            f"{student.config.concept_width}; take the tower that made those"
        )
    source = clips_for(loaded, store, np.flatnonzero(rows))
    student, texts = student.to(config.device), texts.to(config.device)
    scores = collect_scores(
        lambda batch: student.class_scores(batch["skeleton"], texts), source, device=config.device
    )
    position = np.full(len(classes), -1)
    position[chosen] = np.arange(len(chosen))
    found = Predictions(
        names=source.names,
        labels=position[scores.labels],
        logits=scores.logits,
        classes=tuple(names),
        groups=source.people,
        meta={"protocol": "zero-shot, label-free"},
    )
    notes = ("label-free pretraining: no class is seen, so not comparable with seen/unseen splits",)
    return Outcome("zeroshot", "zero-shot, label-free pretraining", (found,), {}, notes)


def _check_leak(loaded: LoadedEncoder, novel: Sequence[str]) -> tuple[str, ...]:
    """Notes for the card; an encoder that was trained on a novel class is refused."""
    if loaded.trained_on is None:
        note = "LEAK NOT EXCLUDED: the encoder does not say which classes trained it"
        log.warning(note)
        return (note,)
    leaked = sorted(set(loaded.trained_on) & set(novel))
    if leaked:
        raise InputError(
            f"the encoder was trained on {leaked}, which are novel classes here; train it without "
            "them"
        )
    if loaded.meta.get("labels_used") is False:
        return ("label-free pretraining, which may have met unlabelled clips of the novel classes",)
    return ()
