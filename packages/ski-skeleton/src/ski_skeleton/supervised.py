"""Closed-set recognition: a skeleton encoder trained on all classes, tested on other clips.

Hyperformer's recipes follow its published training (SGD with Nesterov momentum, warm-up once per
epoch, steps at epochs 110 and 120). The last epoch counts: test clips are never looked at in
training, whereas the published code keeps the epoch that is best on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.errors import InputError
from ski_data.ntu.archive import get_protocol
from ski_data.skeleton import STREAMS, FeederConfig
from ski_data.splits import dataset_classes, zero_shot_split
from ski_data.store import SkeletonStore
from ski_eval import Predictions, content_hash
from ski_skeleton.encoder import MapEncoder
from ski_skeleton.encoders import ENCODERS, EncoderConfig, build_encoder, encoder_config
from ski_skeleton.errors import CheckpointError, ConfigError
from ski_skeleton.evaluate import collect_scores
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.store_clips import StoreClips, TrainRule
from ski_skeleton.train import TrainConfig, fit, read_model
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.train.tasks import ClassifySkeletons
from ski_skeleton.weights import load_strictly


@dataclass(frozen=True)
class SplitRule:
    """Which clips train and which test: an official NTU protocol, or a rule of one's own."""

    protocol: str | None = None
    """``ntu60/xsub``, ``ntu60/xview``, ``ntu120/xsub`` or ``ntu120/xset``."""
    train: TrainRule | None = None
    """Or the people, cameras or setups that train."""
    zero_shot: str | None = None
    """A published zero-shot split, such as ``ntu60/55-5``: its unseen classes neither train nor
    test, for an encoder that zero-shot recognition is tried on."""
    unseen: tuple[str, ...] = ()
    """Or the names of unseen classes."""

    def __post_init__(self) -> None:
        if (self.protocol is None) == (self.train is None):
            raise ConfigError(
                "how clips are split must be said once: give a protocol, or the people, cameras or "
                "setups that train"
            )
        if self.protocol is not None:
            object.__setattr__(self, "protocol", get_protocol(self.protocol).name)
        if self.zero_shot is not None:
            zero_shot_split(self.zero_shot)
            if self.unseen:
                raise ConfigError("give either a published zero-shot split or unseen class names")

    @property
    def rule(self) -> TrainRule:
        """The numbers that train."""
        if self.train is not None:
            return self.train
        protocol = get_protocol(str(self.protocol))
        return TrainRule(**{f"{protocol.field}s": protocol.train})

    def seen(self, names: tuple[str, ...]) -> np.ndarray:
        """Labels of the classes ``names`` that train and test, int64 ``(K,)``.

        Raises:
            InputError: an unseen class that is none of ``names``.
        """
        if self.zero_shot is not None:
            unseen = {action - 1 for action in zero_shot_split(self.zero_shot).unseen_actions}
            odd = [label + 1 for label in sorted(unseen) if label >= len(names)]
        else:
            unseen = {label for label, name in enumerate(names) if name in self.unseen}
            odd = sorted(set(self.unseen) - set(names))
        if odd:
            raise InputError(f"unseen classes {odd} are none of the {len(names)} classes")
        return np.array([label for label in range(len(names)) if label not in unseen], np.int64)

    def __str__(self) -> str:
        people = f"training {self.rule.column}s {list(self.rule.numbers)}"
        text = self.protocol if self.protocol is not None else people
        if self.zero_shot is not None:
            return f"{text} without the unseen classes of {self.zero_shot}"
        return f"{text} without {', '.join(self.unseen)}" if self.unseen else text


@dataclass(frozen=True)
class ClosedSetData:
    """A store, and which of its clips train."""

    store: str
    """Folder of the skeleton store."""
    split: SplitRule


@dataclass(frozen=True)
class ClassifierRecipe:
    """Everything that makes a classifier."""

    data: ClosedSetData
    encoder: EncoderConfig = field(default_factory=lambda: HyperformerConfig(output=None))
    """Its ``output`` stays null: the data's classes make the head."""
    feeder: FeederConfig = field(default_factory=FeederConfig)
    label_smoothing: float = 0.0
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.encoder.output is not None:
            raise ConfigError("encoder.output must be null: the head is as wide as classes are")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")


def read_recipe(path: str | Path) -> ClassifierRecipe:
    """A recipe from YAML.

    Raises:
        MissingFileError, InputError: no such file, or settings that cannot be; the text is one
            line and names the file.
    """
    return from_plain(ClassifierRecipe, read_yaml(path), str(path))


def with_stream(feeder: FeederConfig, stream: str | None) -> FeederConfig:
    """The same feeder for another stream; None leaves it.

    Raises:
        InputError: no such stream.
    """
    if stream is None:
        return feeder
    if stream not in STREAMS:
        raise InputError(f"--skeleton_stream {stream!r}: there are {', '.join(STREAMS)}")
    return replace(feeder, stream=stream)


@dataclass(frozen=True)
class ClosedSet:
    """A store split for closed-set recognition."""

    store: SkeletonStore
    split: SplitRule
    classes: tuple[str, ...]
    labels: np.ndarray
    """Positions of the store's clips in ``classes``, int64; -1 for other classes."""
    train: np.ndarray
    """Positions of the training clips in the store, int64 ``(N,)``."""
    test: np.ndarray

    def source(
        self,
        rows: np.ndarray,
        encoder: EncoderConfig,
        feeder: FeederConfig,
        *,
        train: bool,
        seed: int = 0,
    ) -> StoreClips:
        """Labelled clips as ``encoder`` takes them."""
        return StoreClips(
            self.store,
            rows,
            feeder,
            layout=encoder.layout,
            bodies=encoder.persons,
            train=train,
            seed=seed,
            labels=self.labels[rows],
        )


def open_closed_set(store: str | Path, split: SplitRule) -> ClosedSet:
    """Open a store and split its clips; those of setups beyond a protocol's data set are left out.

    Raises:
        InputError: clips without a label of the data set or without what the split needs, or a
            part without clips.
    """
    opened = SkeletonStore(store)
    within = np.ones(len(opened), bool)
    names = None if opened.classes is None else opened.classes.names
    if split.protocol is not None:
        protocol = get_protocol(split.protocol)
        within = opened.index["setup"] <= protocol.setups
        if names is not None and len(names) < protocol.classes:
            raise InputError(
                f"{store}: has {len(names)} classes, {protocol.name} {protocol.classes}; give the "
                "store of that data set"
            )
        names = names or dataset_classes(protocol.name.split("/")[0]).names
        names = names[: protocol.classes]
    labels = opened.index["label"]
    if names is None:
        names = tuple(f"class {label}" for label in range(int(labels.max(initial=-1)) + 1))
    wrong = np.flatnonzero(within & ((labels < 0) | (labels >= len(names))))
    if len(wrong):
        raise InputError(
            f"{store}: label {labels[wrong[0]]} of clip {opened.name(int(wrong[0]))} is out of "
            f"range; allowed: 0..{len(names) - 1}"
        )
    try:
        seen = split.seen(tuple(names))
    except InputError as error:
        raise InputError(f"{store}: {error}") from None
    place = np.full(len(names), -1, np.int64)
    place[seen] = np.arange(len(seen))
    labels = np.where(within, place[np.where(within, labels, 0)], -1)
    within &= labels >= 0
    trains = split.rule.rows(opened)
    train, test = np.flatnonzero(trains & within), np.flatnonzero(~trains & within)
    if not len(train) or not len(test):
        raise InputError(f"{store}: {len(train)} clips train and {len(test)} test by {split}")
    if len(np.unique(labels[train])) < 2:
        raise InputError(f"{store}: training clips of at least two classes are needed")
    return ClosedSet(opened, split, tuple(names[k] for k in seen), labels, train, test)


def train_classifier(
    recipe: ClassifierRecipe,
    clips: ClosedSet,
    folder: Path,
    *,
    seed: int = 0,
    report: ProgressReport | None = None,
) -> MapEncoder:
    """Train to the last epoch; called again after a kill it goes on and ends with the same weights.

    Raises:
        InputError: joints or bodies that the encoder is not built for.
        ConfigError, RunError, DivergedError: see :func:`ski_skeleton.train.fit`.
    """
    source = clips.source(clips.train, recipe.encoder, recipe.feeder, train=True, seed=seed)
    torch.manual_seed(seed)
    model = build_encoder(replace(recipe.encoder, output=len(clips.classes)))
    task = ClassifySkeletons(model, label_smoothing=recipe.label_smoothing)
    fit(task, source, replace(recipe.train, seed=seed), folder, report=report)
    return model


def model_meta(recipe: ClassifierRecipe, clips: ClosedSet, *, seed: int) -> dict[str, Any]:
    """What a model folder says of its training."""
    index = clips.store.index
    people = np.unique(index["subject"][clips.train])
    trained = np.unique(clips.labels[clips.train])
    return {
        "classes": list(clips.classes),
        "classes_seen": [clips.classes[label] for label in trained],
        "split": to_plain(clips.split),
        "subjects": None if (people < 0).any() else people.tolist(),
        "clips": len(clips.train),
        "stream": recipe.feeder.stream,
        "feeder": to_plain(recipe.feeder),
        "store": recipe.data.store,
        "data_hash": clips.store.sha256,
        "epochs": recipe.train.epochs,
        "seed": seed,
    }


@dataclass(frozen=True)
class Classifier:
    """A classifier from a model folder, and what the folder says of its training."""

    model: MapEncoder
    """In evaluation mode."""
    config: EncoderConfig
    feeder: FeederConfig
    classes: tuple[str, ...] | None
    """In the order of its outputs; None where the folder does not say (a converted one)."""
    split: SplitRule | None
    """Which clips trained it; None as above."""
    meta: dict[str, Any]


def load_classifier(folder: str | Path, *, stream: str | None = None) -> Classifier:
    """A classifier from its model folder.

    Args:
        folder: of a run, or converted from a published checkpoint.
        stream: of a converted one, which does not say.

    Raises:
        MissingFileError, CheckpointError: no model folder, a damaged one, one of another kind, or
            one without a head.
        InputError: a stream other than that of its training.
    """
    kind, plain, state, meta = read_model(folder)
    if kind not in ENCODERS:
        raise CheckpointError(
            f"{folder}: a {kind} model is no classifier; {', '.join(ENCODERS)} models can be"
        )
    config = encoder_config(kind, plain, str(folder))
    if config.output is None:
        raise CheckpointError(f"{folder}: has no head to classes; train one, see train-classifier")
    model = build_encoder(config)
    load_strictly(model, state, folder)
    recorded = meta.get("feeder")
    feeder = from_plain(FeederConfig, recorded or {}, f"{folder}: feeder")
    if recorded and stream not in (None, feeder.stream):
        raise InputError(f"{folder}: was trained on the {feeder.stream} stream, not on {stream}")
    classes = meta.get("classes")
    if classes is not None and (
        not isinstance(classes, list)
        or not all(isinstance(name, str) for name in classes)
        or len(classes) != config.output
    ):
        raise CheckpointError(
            f"{folder}: its classes are no {config.output} names; copy the folder again"
        )
    split = meta.get("split")
    return Classifier(
        model.eval(),
        config,
        with_stream(feeder, stream),
        None if classes is None else tuple(classes),
        None if split is None else from_plain(SplitRule, split, f"{folder}: split"),
        meta,
    )


def predict(
    classifier: Classifier,
    store: str | Path,
    split: SplitRule | None = None,
    *,
    batch_size: int = 64,
    device: str = "cpu",
) -> Predictions:
    """Logits of the clips that did not train, in full precision.

    Args:
        classifier: the model.
        store: its own store or another with the same classes; the same rule says what tests.
        split: which clips trained a model that does not say.
        batch_size: clips at once.
        device: where the model runs.

    Raises:
        InputError: no split known, another one than that of the training, or other classes.
        CheckpointError: logits that are not finite.
    """
    if classifier.split is None and split is None:
        raise InputError("the model does not say which clips trained it; name its protocol")
    if None not in (split, classifier.split) and split != classifier.split:
        raise InputError(
            f"the model was trained by {classifier.split}, so {split} could test training clips; "
            "leave the protocol out"
        )
    known = classifier.split or split
    assert known is not None  # checked above
    clips = open_closed_set(store, known)
    config = classifier.config
    if len(clips.classes) != config.output or classifier.classes not in (None, clips.classes):
        odd = sorted(set(clips.classes) ^ set(classifier.classes or ()))
        raise InputError(
            f"{store}: its {len(clips.classes)} classes are not the model's {config.output}, or in "
            f"another order (differing: {odd[:3] if classifier.classes else 'their number'})"
        )
    source = clips.source(clips.test, config, classifier.feeder, train=False)
    model = classifier.model.to(device)
    scores = collect_scores(
        lambda batch: model(batch["skeleton"]), source, batch_size=batch_size, device=device
    )
    if not np.isfinite(scores.logits).all():
        raise CheckpointError(
            "the model gives scores that are not finite numbers; it is damaged or its training "
            "diverged: copy it again or train it again"
        )
    return Predictions(
        names=source.names,
        labels=scores.labels,
        logits=scores.logits,
        classes=clips.classes,
        groups=source.people,
        meta={
            "encoder": config.kind,
            "encoder_config": to_plain(config),
            "stream": classifier.feeder.stream,
            "feeder": to_plain(classifier.feeder),
            "store": clips.store.folder.name or str(clips.store.folder),
            "split": str(known),
            "split_hash": content_hash([str(known), list(source.names), list(clips.classes)]),
            "data_hash": clips.store.sha256,
            "trained_on": classifier.meta.get("data_hash"),
            "seed": classifier.meta.get("seed"),
        },
    )
