"""Recipes of the zero-shot baselines: what is trained on what, and measured how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.splits import dataset_classes, zero_shot_split
from ski_data.store import SkeletonStore
from ski_eval import content_hash
from ski_skeleton.errors import ConfigError
from ski_skeleton.loading import load_encoder
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.zeroshot.extract import ExtractConfig, Report, extract_features
from ski_skeleton.zeroshot.features import FeatureSet, load_features
from ski_skeleton.zeroshot.gate import GateConfig
from ski_skeleton.zeroshot.methods import METHODS, Kind, MethodConfig, space_of
from ski_skeleton.zeroshot.pgfa import PgfaConfig, PrototypeConfig
from ski_skeleton.zeroshot.protocol import ClassSplit, ProtocolConfig
from ski_skeleton.zeroshot.sa_dvae import SaDvaeConfig
from ski_skeleton.zeroshot.smie import SmieConfig
from ski_skeleton.zeroshot.smie import official_preset as official_smie
from ski_skeleton.zeroshot.star import StarConfig
from ski_skeleton.zeroshot.star import official_preset as official_star
from ski_skeleton.zeroshot.synse import SynseConfig
from ski_skeleton.zeroshot.synse import official_preset as official_synse
from ski_skeleton.zeroshot.tdsm import TdsmConfig
from ski_skeleton.zeroshot.tdsm import official_preset as official_tdsm
from ski_skeleton.zeroshot.texts import TextConfig

OFFICIAL: dict[Kind, Callable[[Any], Any]] = {
    "synse": official_synse,
    "smie": official_smie,
    "star": official_star,
    "tdsm": official_tdsm,
}
"""What sets a method's switches to those of its release."""


@dataclass(frozen=True)
class FeatureConfig:
    """A file of features, or a store and the encoder that makes them."""

    file: str | None = None
    """Written by `ski-skeleton features`."""
    store: str | None = None
    encoder: str | None = None
    """Model folder."""
    feeder: FeederConfig = field(default_factory=FeederConfig)
    """Window and stream that the encoder was trained with."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)

    def __post_init__(self) -> None:
        pair = self.store is not None and self.encoder is not None
        if (self.file is None) != pair or (self.file and (self.store or self.encoder)):
            raise ConfigError("features: give either a file, or a store and an encoder")


@dataclass(frozen=True)
class ZeroShotRecipe:
    """Everything that makes the figures of one method on one split."""

    kind: Kind
    features: FeatureConfig
    text: TextConfig
    train: TrainRule
    """Which clips of seen classes train; the others test."""
    split: str | None = None
    """A published split; labels are then action number - 1."""
    unseen: tuple[str, ...] = ()
    """Or: names of the data set's own classes."""
    seeds: tuple[int, ...] = (0,)
    preset: Literal["default", "official"] = "default"
    """``official`` sets the method's (and gate's) switches to what the released code computes;
    SA-DVAE and PGFA have none."""
    synse: SynseConfig = field(default_factory=SynseConfig)
    sa_dvae: SaDvaeConfig = field(default_factory=SaDvaeConfig)
    smie: SmieConfig = field(default_factory=SmieConfig)
    star: StarConfig = field(default_factory=StarConfig)
    pgfa: PgfaConfig = field(default_factory=PgfaConfig)
    tdsm: TdsmConfig = field(default_factory=TdsmConfig)
    prototypes: PrototypeConfig | None = None
    """Answer once more with prototypes of the test clips, on cards of their own (transductive);
    for STAR and PGFA."""
    gate: GateConfig = field(default_factory=GateConfig)
    """Of SynSE's and SA-DVAE's generalised recognition; the others are calibrated."""
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)

    def __post_init__(self) -> None:
        if (self.split is None) == (not self.unseen):
            raise ConfigError("give either a published split or unseen class names")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds must be different numbers from 0, got {list(self.seeds)}")
        if self.split is not None:
            zero_shot_split(self.split)
        if self.preset == "official" and self.kind not in OFFICIAL:
            raise ConfigError(f"{self.kind} has no official preset; set preset to default")
        if self.prototypes is not None:
            space_of(METHODS[self.kind])

    @property
    def method(self) -> MethodConfig:
        """Settings of the method that the recipe is about, as the preset has them."""
        config: MethodConfig = getattr(self, self.kind.replace("-", "_"))
        return OFFICIAL[self.kind](config) if self.preset == "official" else config

    @property
    def seen_gate(self) -> GateConfig:
        """Settings of SynSE's gate, as the preset has them."""
        return replace(self.gate, rule="official") if self.preset == "official" else self.gate


def read_zero_shot_recipe(path: str | Path) -> ZeroShotRecipe:
    """A recipe from YAML.

    Raises:
        MissingFileError, InputError: no such file, or settings that cannot be; the text is one
            line and names the file.
    """
    return from_plain(ZeroShotRecipe, read_yaml(path), str(path))


def open_features(recipe: ZeroShotRecipe, *, report: Report | None = None) -> FeatureSet:
    """The features that a recipe names, extracted if need be."""
    config = recipe.features
    if config.file is not None:
        return load_features(config.file)
    assert config.store is not None
    assert config.encoder is not None
    classes = None
    if recipe.split is not None:
        classes = dataset_classes(recipe.split.partition("/")[0])
    return extract_features(
        load_encoder(config.encoder),
        SkeletonStore(config.store),
        config.feeder,
        config.extract,
        classes=classes,
        report=report,
    )


def class_split(recipe: ZeroShotRecipe, features: FeatureSet) -> ClassSplit:
    """Seen and unseen classes as labels, with the names that texts are made of.

    Raises:
        InputError: classes that the features do not have, or fewer than two of a kind.
    """
    if recipe.split is not None:
        published = zero_shot_split(recipe.split)
        names = dict(zip(published.seen_actions, published.seen.names, strict=True))
        names |= dict(zip(published.unseen_actions, published.unseen.names, strict=True))
        if sorted(names) != list(range(1, len(features.classes) + 1)):
            raise InputError(
                f"the features are of {len(features.classes)} classes, {recipe.split} is of "
                f"{len(names)}"
            )
        return ClassSplit(
            recipe.split,
            tuple(names[k] for k in sorted(names)),
            tuple(sorted(action - 1 for action in published.seen_actions)),
            tuple(sorted(action - 1 for action in published.unseen_actions)),
            published.hash,
        )
    wrong = sorted(set(recipe.unseen) - set(features.classes))
    if wrong:
        raise InputError(f"no classes {wrong}; there are {list(features.classes)}")
    unseen = tuple(k for k, name in enumerate(features.classes) if name in recipe.unseen)
    seen = tuple(k for k in range(len(features.classes)) if k not in unseen)
    if min(len(seen), len(unseen)) < 2:
        raise InputError(
            f"{len(seen)} seen and {len(unseen)} unseen classes; recognition needs at least two "
            "of each"
        )
    name = "unseen: " + ", ".join(features.classes[k] for k in unseen)
    digest = content_hash({"classes": list(features.classes), "unseen": list(unseen)})
    return ClassSplit(name, features.classes, seen, unseen, digest)
