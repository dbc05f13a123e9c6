"""Video students: RGB clips and class names to logits."""

from ski_vlm.students.base import Student, StudentConfig, StudentOutput
from ski_vlm.students.registry import (
    STUDENTS,
    build_student,
    folder_config,
    load_student,
    student_kind,
)
from ski_vlm.students.vificlip import ViFiClip, ViFiClipConfig

__all__ = [
    "STUDENTS",
    "Student",
    "StudentConfig",
    "StudentOutput",
    "ViFiClip",
    "ViFiClipConfig",
    "build_student",
    "folder_config",
    "load_student",
    "student_kind",
]
