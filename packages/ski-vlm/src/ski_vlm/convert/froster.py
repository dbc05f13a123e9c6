"""Key tables of published FROSTER checkpoints.

A checkpoint of training holds the student as ``model``, the frozen CLIP as ``raw_model`` and two
projectors; of these, inference needs the first alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ski_skeleton.convert.table import Table, from_published, same, to_published, with_prefix
from ski_vlm.convert.vificlip import module_table
from ski_vlm.distill.residual import ResidualDistillation
from ski_vlm.students.base import Student
from ski_vlm.students.froster import Froster

DROPPED = ("raw_model.", "projector_v.", "projector_t.")
"""What a checkpoint holds beside the student."""
PROGRESS = ("steps.", "average.")
"""What a task holds beside a checkpoint."""


def froster_table(student: Student) -> Table:
    """The trained CLIP of a checkpoint, under ``model``."""
    return [
        *module_table(student.text, "text.", "model."),
        *module_table(student.image, "image.", "model.visual."),
        same("logit_scale", "model.logit_scale", ()),
    ]


def from_froster(student: Froster, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Our student from a checkpoint, without what only its training needs (:data:`DROPPED`).

    Raises:
        CheckpointError: missing, unknown or misshapen entries.
    """
    kept = {k: v for k, v in state.items() if not k.startswith(DROPPED)}
    return from_published(froster_table(student), kept, source)


def to_froster(student: Froster, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The inverse of :func:`from_froster`: the student alone."""
    return to_published(froster_table(student), state, source)


def froster_task_table(task: ResidualDistillation) -> Table:
    """All of a checkpoint of training, as entries of a task."""
    teacher = [
        entry._replace(parts=tuple(p._replace(name="raw_" + p.name) for p in entry.parts))
        for entry in froster_table(task.terms.teacher)
    ]
    return [
        *with_prefix(froster_table(task.student), "student.", ""),
        *with_prefix(teacher, "terms.teacher.", ""),
        *module_table(task.terms.image_projector, "terms.image_projector.", "projector_v."),
        *module_table(task.terms.text_projector, "terms.text_projector.", "projector_t."),
    ]


def from_froster_task(
    task: ResidualDistillation, state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Entries of a task from a checkpoint of training; its step and average start anew.

    Raises:
        CheckpointError: missing, unknown or misshapen entries.
    """
    ours = from_published(froster_task_table(task), state, source)
    return {**task.state_dict(), **ours}


def to_froster_task(
    task: ResidualDistillation, state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """The inverse of :func:`from_froster_task`; step and average have no place there."""
    own = {k: v for k, v in state.items() if not k.startswith(PROGRESS)}
    return to_published(froster_task_table(task), own, source)
