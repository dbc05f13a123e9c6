"""Recipes of video students: clips, classes, both sides, the method and its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.splits import zero_shot_split
from ski_data.video.transforms import VideoTransformConfig
from ski_skeleton.skeleton_clip import SkeletonClipConfig
from ski_skeleton.train import TrainConfig
from ski_vlm.align import CrossProjectConfig, LateFusionConfig, TrimodalConfig
from ski_vlm.distill import ScdConfig
from ski_vlm.distill.feature import FeatureConfig
from ski_vlm.distill.residual import ResidualConfig
from ski_vlm.errors import ConfigError
from ski_vlm.students import StudentSettings, ViFiClipConfig
from ski_vlm.tasks import FineTuneConfig


@dataclass(frozen=True)
class ZeroShotConfig:
    """No training at all: the student as its weights come."""

    kind: Literal["zero-shot"] = "zero-shot"


Method = (
    ZeroShotConfig
    | FineTuneConfig
    | ResidualConfig
    | ScdConfig
    | FeatureConfig
    | TrimodalConfig
    | CrossProjectConfig
    | LateFusionConfig
)
"""Settings of a method, told apart by their ``kind``."""
SKELETON_METHODS = (ScdConfig, FeatureConfig, TrimodalConfig, CrossProjectConfig, LateFusionConfig)
"""Methods that train with skeletons."""


@dataclass(frozen=True)
class VideoData:
    """Clips, and which of their classes and people are for training.

    Give a published ``split`` of NTU (labels of the manifest are then action number - 1), or
    ``classes`` with the names of ``unseen`` ones, if any.
    """

    manifest: str
    """List of clips: CSV (video, skeleton, label), JSON lines or Parquet."""
    videos: str | None = None
    """Store of decoded videos; without one each file is decoded whenever it is needed."""
    skeletons: str | None = None
    """Store of skeletons; without one the manifest's ``.skeleton`` files are read."""
    classes: str | None = None
    """CSV with columns id,name in the order of the labels."""
    split: str | None = None
    unseen: tuple[str, ...] = ()
    train_subjects: tuple[int, ...] = ()
    """People whose clips of seen classes train, the others test them; none named: everyone trains,
    as in the released lists, and only unseen classes test."""

    def __post_init__(self) -> None:
        if (self.split is None) == (self.classes is None):
            raise ConfigError("give either a published split or a file of classes")
        if self.split is not None:
            zero_shot_split(self.split)
            if self.unseen:
                raise ConfigError("a published split names its unseen classes; leave out unseen")
        elif not self.unseen and not self.train_subjects:
            raise ConfigError("nothing would test: name unseen classes or train_subjects")


@dataclass(frozen=True)
class SkeletonSide:
    """Where the skeleton side starts: a trained SkeletonCLIP, or fresh weights of a ``model``."""

    folder: str | None = None
    """Model or run folder of a SkeletonCLIP."""
    model: SkeletonClipConfig | None = None
    encoder: str | None = None
    """Folder of an encoder that a fresh ``model`` starts from, its head left out."""
    train_text: bool | None = None
    """Whether the text tower trains now; unset keeps what the folder or model says."""

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.model is None):
            raise ConfigError("skeleton: give either the folder of a SkeletonCLIP or a model")
        if self.encoder is not None and self.model is None:
            raise ConfigError("skeleton: encoder starts a fresh model; leave it out with a folder")


@dataclass(frozen=True)
class VideoRecipe:
    """Everything that makes and tests one row of a table."""

    data: VideoData
    student: StudentSettings = field(default_factory=ViFiClipConfig)
    start: str | None = None
    """Run or model folder whose student's weights this one starts from."""
    skeleton: SkeletonSide | None = None
    method: Method = field(default_factory=FineTuneConfig)
    video: VideoTransformConfig | None = None
    """Cropping and colours; by default those of the published training at the student's size."""
    feeder: FeederConfig = field(default_factory=FeederConfig)
    pairing: Literal["clip", "class"] = "clip"
    """Video and skeleton of one recording, or of any two of a class (asynchronous pairs)."""
    pair_dropout: float = 0.0
    """Share of clips that train without their skeleton."""
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpointing: bool = False
    """Compute the image tower's blocks again in the backward pass: much less memory for up to a
    third more work."""
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        wrong = []
        needs = isinstance(self.method, SKELETON_METHODS)
        if needs and self.skeleton is None:
            wrong.append(f"method {self.method.kind} needs the setting skeleton")
        if not needs and self.skeleton is not None:
            wrong.append(f"method {self.method.kind} takes no skeleton; leave the setting out")
        if self.start is not None and self.student.clip.pretrained is not None:
            wrong.append("start brings all weights; leave out student.clip.pretrained")
        if isinstance(self.method, ResidualConfig) and self.student.kind != "froster":
            wrong.append("residual distillation is FROSTER's; set student.kind to froster")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            wrong.append(f"seeds must be different numbers from 0 on, got {self.seeds}")
        if wrong:
            raise ConfigError("recipe: " + "; ".join(wrong))


def read_recipe(path: str | Path, changes: Sequence[str] = ()) -> VideoRecipe:
    """A recipe from YAML.

    Args:
        path: the file.
        changes: single settings as ``part.name=value``, the value written as in YAML.

    Raises:
        MissingFileError, InputError: no such file, or settings that cannot be; the text is one
            line and names the file.
    """
    plain = read_yaml(path)
    for change in changes:
        plain = changed(plain, change)
    return from_plain(VideoRecipe, plain, str(path))


def changed(plain: Any, change: str) -> Any:
    """Plain settings with one of them set: ``part.name=value``.

    Raises:
        InputError: no name, no value, or a value that is no YAML.
    """
    name, equals, text = change.partition("=")
    keys = name.split(".")
    if not equals or not all(keys):
        raise InputError(f"a change is written part.name=value, not {change!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{change!r}: {text!r} is no YAML value") from error
    new = dict(plain) if isinstance(plain, Mapping) else {}
    if len(keys) == 1:
        return {**new, keys[0]: value}
    return {**new, keys[0]: changed(new.get(keys[0]), f"{'.'.join(keys[1:])}={text}")}
