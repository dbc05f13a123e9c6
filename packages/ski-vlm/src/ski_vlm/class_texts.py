"""Better texts for open vocabularies: several templates per class, and descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_skeleton.text import class_prompts
from ski_vlm.errors import ConfigError
from ski_vlm.students import PromptedViFiClip, Student, XClip


@dataclass(frozen=True)
class ClassTexts:
    """What is said of each class.

    A class's vector is the mean of its prompts' vectors: one per template, and the description
    with the share that is asked for. Without templates and descriptions it is the student's own.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...] = ()
    """Each with ``{name}``; none takes what the student was trained with."""
    descriptions: tuple[str, ...] | None = None
    """One sentence or more per class."""
    share: float = 0.5
    """Weight of the description's vector against that of the name's prompts."""

    def __post_init__(self) -> None:
        if self.descriptions is not None and len(self.descriptions) != len(self.names):
            raise ConfigError(
                f"{len(self.descriptions)} descriptions for {len(self.names)} classes; give one "
                "each"
            )
        if not 0 <= self.share <= 1:
            raise ConfigError(f"the share of descriptions must be in 0..1, not {self.share}")
        for template in self.templates:
            class_prompts(["any"], template)


def encode_texts(student: Student, texts: ClassTexts) -> Tensor:
    """Class vectors ``(K, D)`` as the student's :meth:`~ski_vlm.students.Student.score` takes them.

    Raises:
        ConfigError: templates or descriptions for a student with learned prompts, which were
            learned for one template.
    """
    if not texts.templates and texts.descriptions is None:
        return student.encode_classes(texts.names)
    if isinstance(student, PromptedViFiClip):
        raise ConfigError(
            "a student with learned prompts takes class names alone; leave out templates and "
            "descriptions"
        )
    if texts.templates:
        found = [_encode(student, class_prompts(texts.names, t)) for t in texts.templates]
        vectors = _finish(student, torch.stack(found).mean(0))
    else:
        vectors = student.encode_classes(texts.names)
    if texts.descriptions is None:
        return vectors
    said = _encode(student, list(texts.descriptions))
    return _finish(student, (1 - texts.share) * vectors + texts.share * said)


def _encode(student: Student, prompts: Sequence[str]) -> Tensor:
    """Text features ``(K, D)`` at the length that the student compares: X-CLIP's are raw."""
    if isinstance(student, XClip):
        return student.text.encode_text(prompts)
    return student.text.unit_text(prompts)


def _finish(student: Student, vectors: Tensor) -> Tensor:
    return vectors if isinstance(student, XClip) else F.normalize(vectors, dim=-1)
