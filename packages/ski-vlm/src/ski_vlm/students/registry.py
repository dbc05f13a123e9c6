"""Video students by the kind that a recipe or a model folder names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

from ski_data.config import from_plain
from ski_skeleton.errors import CheckpointError
from ski_skeleton.text.clip import without_weights
from ski_skeleton.train.model_folder import read_model
from ski_skeleton.weights import load_strictly
from ski_vlm.errors import ConfigError
from ski_vlm.students.base import Student, StudentConfig
from ski_vlm.students.froster import Froster, FrosterConfig
from ski_vlm.students.prompting import PromptedConfig, PromptedViFiClip
from ski_vlm.students.vificlip import ViFiClip, ViFiClipConfig
from ski_vlm.students.xclip import XClip, XClipConfig


class Kind(NamedTuple):
    """Settings and model of a student."""

    config: type[StudentConfig]
    model: type[Student]


STUDENTS: Mapping[str, Kind] = {
    "vifi-clip": Kind(ViFiClipConfig, ViFiClip),
    "vifi-clip-prompted": Kind(PromptedConfig, PromptedViFiClip),
    "x-clip": Kind(XClipConfig, XClip),
    "froster": Kind(FrosterConfig, Froster),
}
"""Settings and model by kind; also the kinds of model folders that hold a student."""

StudentSettings = reduce(or_, [kind.config for kind in STUDENTS.values()])
"""Settings of a student, told apart by their ``kind``; those that name none are the first's."""


def build_student(config: StudentConfig) -> Student:
    """The student of ``config``, with the weights that its ``clip`` names."""
    for kind in STUDENTS.values():
        if type(config) is kind.config:
            return kind.model(config)
    raise ConfigError(f"{type(config).__name__} are settings of no student: {list(STUDENTS)}")


def student_kind(model: Student) -> str:
    """The kind that a student's folder carries."""
    return next(name for name, kind in STUDENTS.items() if type(model) is kind.model)


def load_student(folder: str | Path) -> tuple[Student, dict[str, Any]]:
    """The student in a model folder, or in the ``model`` folder of a run, and its meta.

    Raises:
        MissingFileError: no model there.
        CheckpointError: a damaged folder or one of another kind.
        ConfigError: settings that build no model.
    """
    folder = Path(folder)
    if (folder / "model").is_dir():
        folder = folder / "model"
    found, plain, state, meta = read_model(folder)
    if found not in STUDENTS:
        raise CheckpointError(
            f"{folder}: holds a {found} model, a video student is needed: {', '.join(STUDENTS)}"
        )
    config: StudentConfig = from_plain(STUDENTS[found].config, plain, str(folder))
    if config.clip.pretrained is not None:
        raise ConfigError(f"{folder}: a model folder brings its own weights, not {config.clip}")
    try:
        model = build_student(config)
    except ValueError as error:
        raise ConfigError(f"{folder}: {error}") from error
    load_strictly(model, state, folder)
    return model.eval(), meta


def folder_config(model: Student) -> StudentConfig:
    """Settings to write beside a model's weights: its towers start from no other file."""
    return replace(model.config, clip=without_weights(model.config.clip))
