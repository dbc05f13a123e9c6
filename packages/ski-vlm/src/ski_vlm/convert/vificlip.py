"""Key tables of published ViFi-CLIP and SKI phase-2 checkpoints.

Both store the image tower as ``image_encoder`` and text towers without the token embedding, which
never trains: it comes from the base CLIP, under ``token_embedding.weight``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ski_skeleton.convert.hyperformer import SKI_HEAD, hyperformer_table
from ski_skeleton.convert.table import (
    Entry,
    Part,
    Table,
    from_published,
    same,
    to_published,
    with_prefix,
)
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.text import ClipTextTower
from ski_vlm.students.vificlip import ViFiClip

TOKENS = "token_embedding.weight"
CLIP_LOGIT_SCALE = 4.605170185988092
"""ln 100: SKI's phase 2 drops the scale; released CLIP models carry this value."""


def module_table(module: nn.Module, ours: str, theirs: str, skip: tuple[str, ...] = ()) -> Table:
    """A table of entries that keep their names behind the two prefixes."""
    return [
        same(ours + name, theirs + name, value.shape)
        for name, value in module.state_dict().items()
        if name not in skip
    ]


def text_table(tower: ClipTextTower, ours: str, theirs: str) -> Table:
    """A text tower whose token embedding is the base CLIP's."""
    shape = tuple(tower.token_embedding.weight.shape)
    tokens = Entry(f"{ours}{TOKENS}", shape, (Part(TOKENS, shape),))
    return [*module_table(tower, ours, theirs, skip=(TOKENS,)), tokens]


def vificlip_table(student: ViFiClip) -> Table:
    """ViFi-CLIP checkpoints (with ``token_embedding.weight`` of the base CLIP added)."""
    return [
        *module_table(student.image, "image.", "image_encoder."),
        *text_table(student.text, "text.", "text_encoder."),
        same("logit_scale", "logit_scale", ()),
    ]


def ski_phase2_table(student: ViFiClip, teacher: SkeletonClip) -> Table:
    """SKI-ViFi-CLIP checkpoints of phase 2, as ``student.`` and ``teacher.`` entries."""
    return [
        *module_table(student.image, "student.image.", "image_encoder."),
        *text_table(student.text, "student.text.", "text_encoder."),
        *text_table(teacher.text, "teacher.text.", "clip_text_encoder."),
        *with_prefix(
            hyperformer_table(teacher.config.encoder, SKI_HEAD),
            "teacher.encoder.",
            "hyperformer_model.",
        ),
    ]


def from_ski_phase2(
    student: ViFiClip, teacher: SkeletonClip, state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Entries of a ``SkeletonDistillation`` from a phase-2 checkpoint.

    The checkpoint has no logit scale; the student gets CLIP's.
    """
    ours = from_published(ski_phase2_table(student, teacher), state, source)
    return {**ours, "student.logit_scale": torch.tensor(CLIP_LOGIT_SCALE)}


def to_ski_phase2(
    student: ViFiClip, teacher: SkeletonClip, state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """The inverse of :func:`from_ski_phase2`; the logit scale has no place there."""
    kept = {k: v for k, v in state.items() if k != "student.logit_scale"}
    return to_published(ski_phase2_table(student, teacher), kept, source)
