"""A tiny student of each kind."""

from __future__ import annotations

from ski_skeleton.text import ClipConfig
from ski_vlm.students import STUDENTS, Student, build_student

KINDS = {name: (kind.config, {}) for name, kind in STUDENTS.items()}
KINDS["vifi-clip-prompted"][1].update(image_depth=2, text_depth=1)  # as deep as the tiny towers


def of_kind(kind: str, sizes: object, **more: object) -> Student:
    """A student in evaluation mode, of 4 frames of 32 pixels."""
    settings, extra = KINDS[kind]
    clip = ClipConfig(architecture=None, sizes=sizes)
    return build_student(
        settings(clip=clip, **{"frames": 4, "short_side": 32, **extra, **more})
    ).eval()
