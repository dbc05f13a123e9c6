"""The command that converts checkpoints of CLIP, its video students, and SKI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ski_data.errors import ExistingOutputError, InputError
from ski_skeleton import pipeline
from ski_skeleton.convert.table import Table, from_published, same, to_published
from ski_skeleton.errors import CheckpointError
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig, official_preset
from ski_skeleton.text import ClipConfig, build_clip
from ski_skeleton.text.clip import openai_state
from ski_skeleton.train import write_model
from ski_skeleton.weights import load_strictly, read_weights, write_weights
from ski_vlm.convert.froster import DROPPED, froster_table
from ski_vlm.convert.ski_phase1 import ski_phase1_table
from ski_vlm.convert.vificlip import (
    CLIP_LOGIT_SCALE,
    TOKENS,
    module_table,
    ski_phase2_table,
    vificlip_table,
)
from ski_vlm.convert.xclip import xclip_table
from ski_vlm.students import (
    STUDENTS,
    Student,
    build_student,
    folder_config,
    load_student,
    student_kind,
)
from ski_vlm.training import MODEL, SKELETON_CLIP

Source = Literal["openai", "vifi-clip", "x-clip", "froster", "ski-phase1", "ski-phase2"]
BUFFERS = ("prompt_learner.",)
"""Prompts that ViFi-CLIP and SKI computed for their own classes; left out."""


class Mark(NamedTuple):
    """What tells one kind of file from the others."""

    title: str
    prefixes: tuple[str, ...]
    """Each begins at least one entry."""


MARKS = (
    Mark("a SKI phase-2 checkpoint (ski-phase2)", ("image_encoder.", "hyperformer_model.")),
    Mark("a SKI phase-1 checkpoint (ski-phase1)", ("text_encoder.", "hyperformer_model.")),
    Mark("a ViFi-CLIP checkpoint (vifi-clip)", ("image_encoder.", "text_encoder.")),
    Mark("an X-CLIP checkpoint (x-clip)", ("mit.", "prompts_generator.")),
    Mark("a FROSTER checkpoint (froster)", ("model.visual.",)),
    Mark("an OpenAI or open_clip CLIP (openai)", ("visual.", "token_embedding.")),
    Mark("a published Hyperformer (ski-skeleton convert)", ("l1.vit1.",)),
    Mark("the weights of a folder of ours (no conversion needed)", ("image.", "text.")),
    Mark("a SkeletonCLIP folder of ours (no conversion needed)", ("encoder.blocks.", "text.")),
)
"""The first that fits names a file."""


def looks_like(state: Mapping[str, Tensor]) -> str:
    """What a state dict probably is, in words."""
    for mark in MARKS:
        if all(any(key.startswith(p) for key in state) for p in mark.prefixes):
            return mark.title
    return "nothing that is known here"


def convert(
    weights: str,
    out: str,
    *,
    source: Source,
    to: Literal["ours", "published"] = "ours",
    architecture: str = "ViT-B-16-quickgelu",
    base: str | None = None,
    frames: int = 16,
    encoder: HyperformerConfig = HyperformerConfig(),  # noqa: B008 (frozen)
) -> None:
    """Convert checkpoints between the published names and our model folders.

    Every entry must be used: a file of another kind is refused and named.

    Args:
        weights: published weight file; with to=published one of our model or run folders.
        out: model folder to write (ski-phase2: a folder of both models); with to=published a
            safetensors file.
        source: kind of the published file.
        to: direction.
        architecture: open_clip name of the towers.
        base: CLIP weights (file or open_clip tag) whose token embedding vifi-clip, ski-phase1 and
            ski-phase2 need: their files leave it out, since it never trained.
        frames: frames of a clip; X-CLIP's belong to its weights.
        encoder: sizes of the Hyperformer in SKI's files.
    """
    target = Path(out)
    if target.exists():
        raise ExistingOutputError(f"{target}: already there; choose another name or remove it")
    if source not in get_args(Source):
        raise InputError(f"--source must be one of {', '.join(get_args(Source))}, not {source!r}")
    if to == "published":
        if target.suffix != ".safetensors":
            raise InputError(f"{target}: is written as safetensors; give such a name")
        theirs = published(Path(weights), source)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_weights(target, theirs)
        print(target)
        return
    clip = ClipConfig(architecture=architecture)
    state = openai_state(read_weights(weights)) if source == "openai" else read_weights(weights)
    state = {k: v for k, v in state.items() if not k.startswith(BUFFERS)}
    if source in ("vifi-clip", "ski-phase1", "ski-phase2"):
        if base is None:
            raise InputError(
                f"{source} files hold no token embedding; give --base, the CLIP that training "
                "started from (such as openai, or its weight file)"
            )
        tokens = build_clip(replace(clip, pretrained=base)).token_embedding.weight.detach()
        state = {**state, TOKENS: tokens}
    note = {"classes_seen": None, "converted_from": f"{source} checkpoint"}
    kind = {"openai": "vifi-clip", "ski-phase2": "vifi-clip", "ski-phase1": None}.get(
        source, source
    )
    student = None if kind is None else _student(kind, clip, frames)
    skeleton = None
    if source.startswith("ski-"):
        settings = SkeletonClipConfig(encoder=encoder, clip=clip)
        skeleton = SkeletonClip(official_preset(settings))
    table = table_of(source, student, skeleton)
    if source == "froster":
        state = {k: v for k, v in state.items() if not k.startswith(DROPPED)}
    try:
        ours = from_published(table, state, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; it looks like {looks_like(state)}") from error
    if source == "ski-phase2":
        assert student is not None  # of this source
        assert skeleton is not None
        ours["student.logit_scale"] = torch.tensor(CLIP_LOGIT_SCALE)
        parts = {
            part: {k.removeprefix(part): v for k, v in ours.items() if k.startswith(part)}
            for part in ("student.", "teacher.")
        }
        _write_skeleton(target / SKELETON_CLIP, skeleton, parts["teacher."], note)
        _write_student(target / MODEL, student, parts["student."], note)
    elif student is None:
        assert skeleton is not None
        _write_skeleton(target, skeleton, ours, note)
    else:
        _write_student(target, student, ours, note)
    print(target)


def published(folder: Path, source: Source) -> dict[str, Tensor]:
    """The published state dict of a folder of ours.

    Raises:
        CheckpointError: a folder of another kind of model.
    """
    if source == "ski-phase1":
        place = folder / SKELETON_CLIP if (folder / SKELETON_CLIP).is_dir() else folder
        skeleton, _ = pipeline.load_skeleton_clip(place)
        return _without_tokens(
            to_published(table_of(source, None, skeleton), skeleton.state_dict(), str(place))
        )
    student, _ = load_student(folder)
    if student_kind(student) != kind_of(source):
        raise CheckpointError(
            f"{folder}: holds a {student_kind(student)} student, {source} files hold "
            f"{kind_of(source)}"
        )
    if source != "ski-phase2":
        theirs = to_published(table_of(source, student, None), student.state_dict(), str(folder))
        return _without_tokens(theirs) if source == "vifi-clip" else theirs
    skeleton, _ = pipeline.load_skeleton_clip(folder / SKELETON_CLIP)
    state = {f"student.{k}": v for k, v in student.state_dict().items() if k != "logit_scale"}
    state |= {f"teacher.{k}": v for k, v in skeleton.state_dict().items()}
    return _without_tokens(to_published(table_of(source, student, skeleton), state, str(folder)))


def kind_of(source: Source) -> str:
    """The kind of our student that a published file becomes."""
    return "vifi-clip" if source in ("openai", "ski-phase2") else source


def table_of(source: Source, student: Student | None, skeleton: SkeletonClip | None) -> Table:
    """The key table of a kind of file for models of its sizes."""
    if source == "openai" and student is not None:
        return [
            *module_table(student.text, "text.", ""),
            *module_table(student.image, "image.", "visual."),
            same("logit_scale", "logit_scale", ()),
        ]
    if source == "vifi-clip":
        return vificlip_table(student)  # type: ignore[arg-type]
    if source == "x-clip":
        return xclip_table(student)  # type: ignore[arg-type]
    if source == "froster":
        return froster_table(student)  # type: ignore[arg-type]
    if source == "ski-phase1":
        return ski_phase1_table(skeleton)  # type: ignore[arg-type]
    return ski_phase2_table(student, skeleton)  # type: ignore[arg-type]


def _without_tokens(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k != TOKENS}


def _student(kind: str, clip: ClipConfig, frames: int) -> Student:
    return build_student(STUDENTS[kind].config(clip=clip, frames=frames))


def _write_student(
    folder: Path, student: Student, state: dict[str, Tensor], note: dict[str, object]
) -> None:
    load_strictly(student, state, folder)
    write_model(folder, student_kind(student), folder_config(student), student.state_dict(), note)


def _write_skeleton(
    folder: Path, model: SkeletonClip, state: dict[str, Tensor], note: dict[str, object]
) -> None:
    load_strictly(model, state, folder)
    write_model(folder, pipeline.KIND, model.config, model.state_dict(), note)
