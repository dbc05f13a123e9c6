"""Better texts for open vocabularies: several templates per class, and descriptions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ski_data.classes import read_classes
from ski_data.errors import InputError, MissingFileError
from ski_data.text import read_text
from ski_skeleton.text import PHOTO_TEMPLATE, class_prompts, tokenize
from ski_skeleton.text.prompts import NAME_TEMPLATE
from ski_vlm.errors import ConfigError
from ski_vlm.students import PromptedViFiClip, Student, XClip
from ski_vlm.students.templates import TEMPLATES

TEMPLATE_SETS = {"name": (NAME_TEMPLATE,), "photo": (PHOTO_TEMPLATE,), "froster": TEMPLATES}
"""Templates that the command line knows by name."""
SHOWN = 8
"""Names in an error message."""


@dataclass(frozen=True)
class Wording:
    """How class names are put to the text tower; by default as the student was trained.

    A class's vector is the mean of the unit vectors of its prompts, one per template, made unit
    length again; a description takes part with its share in the same way.
    """

    templates: tuple[str, ...] = ()
    """Each with ``{name}``; none takes what the student was trained with."""
    descriptions: dict[str, str] = field(default_factory=dict)
    """A sentence or more for every class, by its name; none for no class."""
    share: float = 0.5
    """Weight of a description's vector against that of the name's prompts."""

    def __post_init__(self) -> None:
        if isinstance(self.templates, str):
            raise ConfigError(f"templates are a list of texts, not the text {self.templates!r}")
        object.__setattr__(self, "templates", tuple(self.templates))
        if not 0 <= self.share <= 1:
            raise ConfigError(f"the share of descriptions must be in 0..1, not {self.share}")
        for template in self.templates:
            class_prompts(["any"], template)
        empty = [name for name, text in self.descriptions.items() if not text.strip()]
        if empty:
            raise ConfigError(f"empty descriptions: {_shown(empty)}")

    @property
    def own(self) -> bool:
        """Whether nothing is asked for beyond what the student was trained with."""
        return not self.templates and not self.descriptions

    def check(self, names: Sequence[str]) -> None:
        """See that the descriptions are those of these classes.

        Raises:
            InputError: classes without a description, or descriptions of other classes.
        """
        if not self.descriptions:
            return
        wrong = []
        if missing := [name for name in names if name not in self.descriptions]:
            wrong.append(f"no description of {_shown(missing)}")
        if beyond := sorted(set(self.descriptions) - set(names)):
            wrong.append(f"descriptions of {_shown(beyond)}, which are none of the classes")
        if wrong:
            raise InputError(
                f"{'; '.join(wrong)}: give one for each of the {len(names)} classes, under the "
                "same name"
            )


def encode_texts(student: Student, names: Sequence[str], wording: Wording) -> Tensor:
    """Class vectors ``(K, D)`` as the student's :meth:`~ski_vlm.students.Student.score` takes them.

    X-CLIP's class vectors are not unit length, as their size counts against what a video adds to
    them: there the mean has the mean length of its parts.

    Raises:
        InputError: descriptions of other classes than these.
        ConfigError: a text that is too long; templates or descriptions for a student with learned
            prompts, which were learned for one template.
    """
    wording.check(names)
    if wording.own:
        return student.encode_classes(names)
    if isinstance(student, PromptedViFiClip):
        raise ConfigError(
            "a student with learned prompts takes class names alone; leave out templates and "
            "descriptions"
        )
    named = [_encode(student, class_prompts(names, template)) for template in wording.templates]
    vectors = _mean(student, named, [1 / len(named)] * len(named)) if named else None
    if vectors is None:
        vectors = student.encode_classes(names)
    if not wording.descriptions:
        return vectors
    said = _encode(student, [wording.descriptions[name] for name in names])
    return _mean(student, [vectors, said], [1 - wording.share, wording.share])


def _encode(student: Student, prompts: Sequence[str]) -> Tensor:
    """Text features ``(K, D)`` at the length that the student compares: X-CLIP's are raw."""
    tokenize(prompts, context=len(student.text.positional_embedding))  # an error, where cut
    if isinstance(student, XClip):
        return student.text.encode_text(prompts)
    return student.text.unit_text(prompts)


def _mean(student: Student, vectors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The unit mean of unit vectors, X-CLIP's at their mean length; a single one is itself."""
    parts = [(v, w) for v, w in zip(vectors, weights, strict=True) if w > 0]
    if len(parts) == 1:
        return parts[0][0]
    unit = F.normalize(sum(w * F.normalize(v, dim=-1) for v, w in parts), dim=-1)
    if not isinstance(student, XClip):
        return unit
    return unit * sum(w * v.norm(dim=-1, keepdim=True) for v, w in parts)


def read_wording(templates: str | None, descriptions: str | None) -> Wording:
    """What the command line's options of these names say.

    Args:
        templates: a key of :data:`TEMPLATE_SETS`, or a file with one template per line.
        descriptions: CSV with the columns id,name,description.

    Raises:
        MissingFileError: no such file.
        InputError: no templates or descriptions in it, or a template without ``{name}``.
    """
    return Wording(
        () if templates is None else _read_templates(templates),
        {} if descriptions is None else _read_descriptions(descriptions),
    )


def _read_templates(text: str) -> tuple[str, ...]:
    if text in TEMPLATE_SETS:
        return TEMPLATE_SETS[text]
    path = Path(text)
    if not os.path.isfile(path):
        raise MissingFileError(
            f"{text}: no such file of templates, and not one of {', '.join(TEMPLATE_SETS)}"
        )
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        if "{name}" not in line:
            raise InputError(f"{path}, line {number}: a template needs {{name}} for the class")
        found.append(line.strip())
    if not found:
        raise InputError(f"{path}: no templates in it; write one per line, with {{name}}")
    return tuple(found)


def _read_descriptions(text: str) -> dict[str, str]:
    classes = read_classes(text)
    if classes.descriptions is None:
        raise InputError(f"{text}: no column description; its header must be id,name,description")
    empty = [n for n, d in zip(classes.names, classes.descriptions, strict=True) if not d.strip()]
    if empty:
        raise InputError(f"{text}: no description of {_shown(empty)}; write one for each class")
    return dict(zip(classes.names, classes.descriptions, strict=True))


def _shown(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + rest
