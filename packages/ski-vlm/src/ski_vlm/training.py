"""From a recipe to trained model folders: builds both sides, fits the method, writes the models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ski_data.errors import InputError
from ski_data.video.transforms import VideoTransformConfig
from ski_skeleton import pipeline
from ski_skeleton.loading import load_encoder
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text.clip import without_weights
from ski_skeleton.train import Task, fit, read_model, write_model
from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.train.processes import is_main_process
from ski_skeleton.weights import load_strictly
from ski_vlm.align import (
    AlignThreeModalities,
    CrossProjectClip,
    CrossProjectConfig,
    CrossProjection,
    CrossProjectionConfig,
    LateFusionConfig,
    TrainLateFusion,
    TrimodalConfig,
)
from ski_vlm.data import Clips, source_of, with_skeletons
from ski_vlm.distill import ScdConfig, SkeletonDistillation
from ski_vlm.distill.feature import FeatureConfig, FeatureDistillation
from ski_vlm.distill.residual import ResidualConfig, ResidualDistillation
from ski_vlm.errors import ConfigError
from ski_vlm.recipe import SKELETON_METHODS, SkeletonSide, VideoRecipe, ZeroShotConfig
from ski_vlm.students import (
    Froster,
    Student,
    ViFiClip,
    ViFiClipConfig,
    build_student,
    folder_config,
    load_student,
    student_kind,
)
from ski_vlm.tasks import FineTuneConfig, FineTuneVideo

MODEL, SKELETON_CLIP = "model", "skeleton-clip"
"""Folders of a run: the student, and the SkeletonCLIP that trained with it."""
CROSS_PROJECTION, LATE_FUSION = "cross-projection", "late-fusion"
"""Kinds and folders of models that are no students."""


def transform_of(recipe: VideoRecipe, size: int) -> VideoTransformConfig:
    """The recipe's video transform, which must give the student's frames.

    Raises:
        ConfigError: it gives frames of another size.
    """
    if recipe.video is None:
        return VideoTransformConfig(size=size, short_side=max(size, recipe.student.short_side))
    if recipe.video.size != size:
        raise ConfigError(
            f"video.size is {recipe.video.size}, the student takes {size} pixels; set it to {size}"
        )
    return recipe.video


def model_folder(place: str | Path) -> Path:
    """A model folder, given itself or the run folder that holds it."""
    return Path(place) / MODEL if (Path(place) / MODEL).is_dir() else Path(place)


def start_student(recipe: VideoRecipe) -> Student:
    """The student before training: fresh, from its CLIP's weights, or from another run.

    Raises:
        ConfigError, CheckpointError, MissingFileError: weights that are not there or do not fit.
    """
    student = build_student(recipe.student)
    if recipe.start is not None:
        other, _ = load_student(recipe.start)
        load_strictly(student, other.state_dict(), recipe.start)
    if recipe.checkpointing:
        student.checkpoint_blocks()
    return student


def start_skeleton_clip(side: SkeletonSide) -> SkeletonClip:
    """The SkeletonCLIP before training: from its folder, or fresh, perhaps with a trained body.

    Raises:
        ConfigError, CheckpointError, MissingFileError: weights that are not there or do not fit.
    """
    if side.folder is not None:
        folder = model_folder(side.folder)
        loaded, _ = pipeline.load_skeleton_clip(folder)
        if side.train_text is None or side.train_text == loaded.config.train_text:
            return loaded
        config = replace(loaded.config, train_text=side.train_text)
        model = SkeletonClip(replace(config, clip=without_weights(config.clip)))
        load_strictly(model, loaded.state_dict(), folder)
        return model
    assert side.model is not None  # checked by the settings
    train_text = side.model.train_text if side.train_text is None else side.train_text
    model = SkeletonClip(replace(side.model, train_text=train_text))
    if side.encoder is not None:
        body = load_encoder(model_folder(side.encoder)).module.state_dict()
        kept = {k: v for k, v in model.encoder.state_dict().items() if k.startswith("head.")}
        rest = {k: v for k, v in body.items() if not k.startswith("head.")}
        load_strictly(model.encoder, {**rest, **kept}, side.encoder)
    return model


def check_sources(recipe: VideoRecipe, clips: Clips) -> tuple[list[str] | None, tuple[str, ...]]:
    """What the models that a recipe starts from were trained on, and what to note of them.

    Returns:
        names of all classes that trained the recipe's models, None where a source does not say;
        notes for the cards.

    Raises:
        InputError: a source that was trained on an unseen class.
        MissingFileError, CheckpointError: no such model folder, or a damaged one.
    """
    side = recipe.skeleton
    sources = [recipe.start] if side is None else [recipe.start, side.folder, side.encoder]
    seen = set() if isinstance(recipe.method, ZeroShotConfig) else set(clips.seen.names)
    unseen = set() if clips.unseen is None else set(clips.unseen.names)
    notes = []
    for source in sources:
        if source is None:
            continue
        place = Path(source)
        known = read_model(model_folder(place))[3].get("classes_seen")
        if not isinstance(known, list):
            notes.append(f"{place} does not say which classes trained it: unseen ones may have")
            continue
        leaked = sorted(unseen.intersection(map(str, known)))
        if leaked:
            raise InputError(
                f"{place}: was trained on {leaked}, which this recipe calls unseen; start from a "
                "model of the seen classes only"
            )
        seen |= set(map(str, known))
    return (None if notes else sorted(seen)), tuple(notes)


def build_task(recipe: VideoRecipe, names: tuple[str, ...], epoch_steps: int) -> Task:
    """The method of a recipe over the seen classes ``names``.

    Args:
        recipe: with settings of both sides.
        names: seen classes.
        epoch_steps: micro-batches of an epoch on one process.

    Raises:
        ConfigError: sides that do not fit together.
    """
    method, student = recipe.method, start_student(recipe)
    if isinstance(method, FineTuneConfig):
        return FineTuneVideo(student, names, method)
    if isinstance(method, ResidualConfig):
        return residual_task(recipe, student, names, method, epoch_steps)
    side = recipe.skeleton
    if side is None or isinstance(method, ZeroShotConfig):
        raise ConfigError(f"method {method.kind} trains nothing")
    if isinstance(method, CrossProjectConfig):
        return cross_projection_task(student, side, method)
    teacher = start_skeleton_clip(side)
    if isinstance(method, ScdConfig):
        clip = None if method.residual is None else frozen_clip(recipe, student, method.residual)
        return SkeletonDistillation(student, teacher, names, method, frozen_clip=clip)
    if isinstance(method, FeatureConfig):
        return FeatureDistillation(student, teacher, names, method)
    if isinstance(method, TrimodalConfig):
        return AlignThreeModalities(student, teacher.encoder, names, method)
    return TrainLateFusion(student, teacher, names, method)


def residual_task(
    recipe: VideoRecipe,
    student: Student,
    names: tuple[str, ...],
    method: ResidualConfig,
    epoch_steps: int,
) -> ResidualDistillation:
    """FROSTER's own task."""
    if not isinstance(student, Froster):
        raise ConfigError("residual distillation trains a FROSTER student; set student.kind")
    steps = None if method.average_from is None else epoch_steps
    config = replace(method, epoch_steps=steps)
    return ResidualDistillation(student, frozen_clip(recipe, student, method), names, config)


def frozen_clip(recipe: VideoRecipe, student: Student, method: ResidualConfig) -> ViFiClip:
    """The CLIP that a FROSTER student must not forget.

    Raises:
        ConfigError: neither said nor what the student starts from.
    """
    config = recipe.student
    if method.clip is None and recipe.start is not None:
        raise ConfigError(
            "the student starts from another run, which is no original CLIP; say by the residual's "
            "setting clip which CLIP it must not forget"
        )
    clip = without_weights(config.clip) if method.clip is None else method.clip
    teacher = ViFiClip(
        ViFiClipConfig(clip=clip, frames=config.frames, normalisation=config.normalisation)
    )
    if method.clip is None:
        load_strictly(teacher, student.state_dict(), "the CLIP that FROSTER starts from")
    return teacher


def cross_projection_task(
    student: Student, side: SkeletonSide, method: CrossProjectConfig
) -> CrossProjectClip:
    """Cross-projection's task on the encoder of the skeleton side."""
    clip = start_skeleton_clip(side)
    config = CrossProjectionConfig(
        encoder=clip.config.encoder,
        clip=without_weights(student.config.clip),
        template=student.config.template,
        dropout=method.dropout,
    )
    model = CrossProjection(config, student.text)
    load_strictly(model.encoder, clip.encoder.state_dict(), "skeleton side")
    return CrossProjectClip(student, model)


def train_seed(
    recipe: VideoRecipe,
    clips: Clips,
    folder: Path,
    seed: int,
    *,
    report: ProgressReport | None = None,
) -> None:
    """Train with one seed and write the models into ``folder``; goes on after a kill.

    Raises:
        ConfigError, CheckpointError, MissingFileError: settings, weights or data that do not fit.
        DivergedError: a loss that is not finite.
    """
    if (folder / MODEL).is_dir():
        return
    config = replace(recipe.train, seed=seed)
    torch.manual_seed(seed)
    method = recipe.method
    skeletons = isinstance(method, SKELETON_METHODS)
    meta = {
        "classes_seen": check_sources(recipe, clips)[0],
        "split": clips.split_name,
        "split_hash": clips.split_hash,
        "manifest": recipe.data.manifest,
        "method": method.kind,
        "start": recipe.start,
        "seed": seed,
    }
    if isinstance(method, ZeroShotConfig):
        _write_student(folder, start_student(recipe), meta)
        return
    records = with_skeletons(clips, clips.train) if skeletons else clips.train
    if not records:
        raise ConfigError(f"{recipe.data.manifest}: no clip that trains has a skeleton")
    micro = config.batch_size // config.accumulation
    steps = max(1, len(records) // config.batch_size) * config.accumulation
    task = build_task(recipe, clips.seen.names, steps)
    student: Student = task.student  # type: ignore[assignment]
    source = source_of(
        clips,
        records,
        frames=student.config.frames,
        video=transform_of(recipe, student.image_size),
        feeder=recipe.feeder if skeletons else None,
        train=True,
        seed=seed,
        pairing=recipe.pairing if skeletons else "clip",
        pair_dropout=recipe.pair_dropout if skeletons else 0.0,
    )
    if micro < 2 and isinstance(method, (TrimodalConfig, CrossProjectConfig)):
        raise ConfigError("contrast needs at least two clips a micro-batch; raise batch_size")
    fit(task, source, config, folder, report=report)
    if is_main_process():
        write_models(task, folder, meta | {"feeder": recipe.feeder} if skeletons else meta)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def write_models(task: Task, folder: Path, meta: dict[str, Any]) -> None:
    """Write what a trained task leaves: the student last, whose folder says that all is there."""
    if isinstance(task, (SkeletonDistillation, AlignThreeModalities, TrainLateFusion)):
        _write(folder / SKELETON_CLIP, pipeline.KIND, *_skeleton_clip(task), meta)
    if isinstance(task, CrossProjectClip):
        model = task.model
        _write(folder / CROSS_PROJECTION, CROSS_PROJECTION, model.config, model, meta)
    if isinstance(task, TrainLateFusion):
        _write(folder / LATE_FUSION, LATE_FUSION, LateFusionConfig(), task.fusion, meta)
    student = task.trained() if isinstance(task, ResidualDistillation) else task.student
    _write_student(folder, student, meta)  # type: ignore[arg-type]


def _skeleton_clip(
    task: SkeletonDistillation | AlignThreeModalities | TrainLateFusion,
) -> tuple[Any, nn.Module]:
    """Settings and weights of the SkeletonCLIP; the tri-modal one has the student's texts."""
    if not isinstance(task, AlignThreeModalities):
        model = task.teacher
    else:
        config = SkeletonClipConfig(
            encoder=task.encoder.config,
            clip=task.student.config.clip,
            template=task.student.config.template,
        )
        model = SkeletonClip(config, task.student.text)
        load_strictly(model.encoder, task.encoder.state_dict(), "tri-modal encoder")
    return replace(model.config, clip=without_weights(model.config.clip)), model


def _write(folder: Path, kind: str, config: Any, model: nn.Module, meta: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed here
    write_model(folder, kind, config, model.state_dict(), meta)


def _write_student(folder: Path, student: Student, meta: dict[str, Any]) -> None:
    write_model(
        folder / MODEL, student_kind(student), folder_config(student), student.state_dict(), meta
    )
