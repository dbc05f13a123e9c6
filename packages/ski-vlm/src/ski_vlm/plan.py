"""What a recipe will do, before it does it: parameters, memory and steps, on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ski_data.classes import read_classes
from ski_data.config import from_plain
from ski_data.errors import SkiDataError
from ski_data.splits import zero_shot_split
from ski_skeleton.encoders import build_encoder
from ski_skeleton.skeleton_clip import SkeletonClipConfig
from ski_skeleton.text import ClipTextTower, build_clip, class_prompts, tokenize
from ski_skeleton.text.clip import without_weights
from ski_skeleton.train import read_model
from ski_vlm.data import open_clips, with_skeletons
from ski_vlm.errors import ConfigError
from ski_vlm.recipe import SKELETON_METHODS, VideoRecipe, ZeroShotConfig
from ski_vlm.students import Froster, Student, StudentConfig, ViFiClipConfig, build_student
from ski_vlm.students.transformer import FrameTransformer, is_plain
from ski_vlm.training import model_folder

GIB = 2**30
HEADROOM = 0.85
"""Share of the free memory that a plan may fill: allocators round up and kernels need room."""


@dataclass(frozen=True)
class Plan:
    """Sizes of one training run."""

    parameters: dict[str, int]
    """Weights of each part."""
    trained: dict[str, int]
    """Those of them that train."""
    weights_bytes: int
    """Weights, gradients and optimiser state."""
    clip_bytes: int
    """What one clip of a micro-batch keeps for the backward pass."""
    fixed_bytes: int
    """What the class texts keep, however many clips there are."""
    micro_batch: int
    """Clips of a micro-batch on one process."""
    clips: int | None
    """Clips that train; None where the manifest is not there."""
    steps: int | None
    """Optimiser steps in all."""
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Estimate of one process's memory in training."""
        return self.weights_bytes + self.fixed_bytes + self.micro_batch * self.clip_bytes


def plan(recipe: VideoRecipe, *, processes: int = 1) -> Plan:
    """Build the models of a recipe without weights and count.

    Sources that are not there yet are noted, and their part left out.

    Args:
        recipe: what is to be trained.
        processes: among which each micro-batch is dealt.

    Raises:
        ConfigError: settings that build no model, or a batch that cannot be dealt.
    """
    notes: list[str] = []
    names = seen_names(recipe, notes)
    trains = not isinstance(recipe.method, ZeroShotConfig)
    student = meta_student(recipe.student)
    if recipe.checkpointing and is_plain(student.image):
        student.checkpoint_blocks()
    elif recipe.checkpointing:
        notes.append("the memory of this image tower is that without checkpointing")
    parts: dict[str, nn.Module] = {"student": student}
    if recipe.method.kind in ("late-fusion", "cross-projection"):
        student.requires_grad_(False)
    prompts = class_prompts(names, student.config.template)
    clip_bytes = 0
    if trains:
        clip_bytes = saved_bytes(student, lambda: _score(student, len(names))) + _twice(student)
    fixed = saved_bytes(student.text, lambda: _texts(student.text, prompts)) if trains else 0
    if isinstance(student, Froster):
        fixed *= 2  # a drawn template and the bare label
        frozen = ViFiClipConfig(clip=recipe.student.clip)
        parts["frozen CLIP"] = meta_student(frozen).requires_grad_(False)
    if recipe.skeleton is not None:
        config = skeleton_config(recipe, notes)
        if config is not None:
            encoder, text = skeleton_parts(config)
            parts |= {"skeleton encoder": encoder, "skeleton text tower": text}
            shape = (1, 3, recipe.feeder.window, config.encoder.joints, config.encoder.persons)
            frozen = getattr(recipe.method, "mode", "online") == "offline"
            if frozen or recipe.method.kind in ("feature", "late-fusion"):
                encoder.requires_grad_(False)
                text.requires_grad_(False)
            clip_bytes += saved_bytes(encoder, lambda: encoder(torch.zeros(shape, device="meta")))
            fixed += saved_bytes(text, lambda: _texts(text, prompts))
    weights = {name: _count(part, trained=False) for name, part in parts.items()}
    moving = {name: _count(part, trained=trains) for name, part in parts.items()} if trains else {}
    train = recipe.train
    micro, rest = divmod(train.batch_size, train.accumulation * processes)
    if rest:
        raise ConfigError(
            f"batch_size {train.batch_size} in {train.accumulation} parts cannot be dealt to "
            f"{processes} processes"
        )
    clips = clip_count(recipe, notes)
    steps = None if clips is None else max(1, clips // train.batch_size) * train.epochs
    half = 2 if train.precision in ("bf16", "fp16") else 1
    return Plan(
        weights,
        moving,
        4 * sum(weights.values()) + 12 * sum(moving.values()),
        clip_bytes // half,
        fixed // half,
        micro,
        clips,
        steps if trains else 0,
        tuple(notes),
    )


def fitting_accumulation(recipe: VideoRecipe, free: int, *, processes: int = 1) -> int:
    """The fewest micro-batches per step whose estimate fits; the step's batch stays the same.

    Args:
        recipe: its own ``accumulation`` is not looked at.
        free: bytes of memory of one device.
        processes: among which each micro-batch is dealt.

    Raises:
        ConfigError: not even one clip at once fits.
    """
    found = plan(replace(recipe, train=replace(recipe.train, accumulation=1)), processes=processes)
    per_process = recipe.train.batch_size // processes
    fixed = found.weights_bytes + found.fixed_bytes
    for accumulation in range(1, per_process + 1):
        micro, rest = divmod(per_process, accumulation)
        if not rest and fixed + micro * found.clip_bytes <= HEADROOM * free:
            return accumulation
    need = (fixed + found.clip_bytes) / GIB / HEADROOM
    raise ConfigError(
        f"one clip at a time needs about {need:.1f} GiB, the device has {free / GIB:.1f} GiB free; "
        "take fewer frames, a smaller tower or a larger device"
    )


def report(found: Plan) -> str:
    """The plan as lines of text."""
    lines = [
        f"{name}: {count / 1e6:.2f} M parameters, {found.trained.get(name, 0) / 1e6:.2f} M train"
        for name, count in found.parameters.items()
    ]
    lines.append(
        f"memory of one process: about {found.bytes / GIB:.2f} GiB ({found.weights_bytes / GIB:.2f}"
        f" for weights, gradients and optimiser, {found.fixed_bytes / GIB:.2f} for class texts, "
        f"{found.clip_bytes / GIB:.3f} for each of {found.micro_batch} clips)"
    )
    clips = "unknown" if found.clips is None else str(found.clips)
    steps = "unknown" if found.steps is None else str(found.steps)
    lines.append(f"training clips: {clips}, optimiser steps: {steps}")
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def seen_names(recipe: VideoRecipe, notes: list[str]) -> list[str]:
    """Names of the seen classes; stand-ins where the file of classes is not there."""
    if recipe.data.split is not None:
        return list(zero_shot_split(recipe.data.split).seen.names)
    try:
        names = read_classes(Path(str(recipe.data.classes))).names
    except SkiDataError as error:
        notes.append(f"{error}; ten classes are assumed")
        return [f"class {i}" for i in range(10)]
    return [name for name in names if name not in recipe.data.unseen]


def clip_count(recipe: VideoRecipe, notes: list[str]) -> int | None:
    """How many clips train."""
    try:
        clips = open_clips(recipe.data)
    except SkiDataError as error:
        notes.append(f"data: {error}")
        return None
    if isinstance(recipe.method, SKELETON_METHODS):
        return len(with_skeletons(clips, clips.train))
    return len(clips.train)


def meta_student(config: StudentConfig) -> Student:
    """The student without weights or memory."""
    with torch.device("meta"):
        return build_student(replace(config, clip=without_weights(config.clip)))


def skeleton_config(recipe: VideoRecipe, notes: list[str]) -> SkeletonClipConfig | None:
    """Settings of the skeleton side; None where its folder is not there yet."""
    side = recipe.skeleton
    assert side is not None  # asked only where there is one
    if side.model is not None:
        config = side.model
    else:
        folder = model_folder(str(side.folder))
        try:
            plain = read_model(folder)[1]
        except SkiDataError as error:
            notes.append(f"skeleton side left out: {error}")
            return None
        config = from_plain(SkeletonClipConfig, plain, str(folder))
    if side.train_text is None:
        return config
    return replace(config, train_text=side.train_text)


def skeleton_parts(config: SkeletonClipConfig) -> tuple[nn.Module, ClipTextTower]:
    """Encoder and CLIP text tower of a SkeletonCLIP without weights or memory.

    Raises:
        ConfigError: a sentence encoder, which has no architecture of its own here.
    """
    if config.sentence is not None:
        raise ConfigError("a plan is made for SkeletonCLIPs with CLIP's text tower")
    encoder = build_encoder(config.encoder).to("meta")  # its graph is made of real numbers
    with torch.device("meta"):
        text = ClipTextTower(build_clip(without_weights(config.clip)))
    if not config.train_text:
        text.freeze()
    return encoder, text


def saved_bytes(module: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes that one forward pass keeps for the backward one, weights left out."""
    weights = {id(p) for p in module.parameters()} | {id(b) for b in module.buffers()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in weights:
            kept[id(base)] = base  # held, so that no other tensor gets the same id
        return tensor

    module.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(t.numel() * t.element_size() for t in kept.values())


def _score(student: Student, classes: int) -> Tensor:
    size, config = student.image_size, student.config
    video = torch.zeros((1, config.frames, 3, size, size), device="meta")
    text = torch.zeros((classes, student.text.width), device="meta")
    return student.score(video, text).cosines


def _twice(student: Student) -> int:
    """Of blocks that are computed again: the inputs, which all keep, and what one block fills."""
    if not student.checkpointing:
        return 0
    assert isinstance(student, FrameTransformer)  # as all students on plain transformers
    size, frames = student.image_size, student.config.frames
    with torch.no_grad():
        x = student.first_tokens(torch.zeros((1, frames, 3, size, size), device="meta"))
    inputs = x.numel() * x.element_size() * len(student.image.transformer.resblocks)
    return inputs + saved_bytes(student, lambda: student.block(0, x.requires_grad_(), frames))


def _texts(tower: ClipTextTower, prompts: list[str]) -> Tensor:
    """The text transformer's own work on the prompts, cut to the longest."""
    return tower.encode_tokens(
        tokenize(prompts, context=len(tower.positional_embedding), truncate=True)
    )


def _count(part: nn.Module, *, trained: bool) -> int:
    return sum(p.numel() for p in part.parameters() if p.requires_grad or not trained)
