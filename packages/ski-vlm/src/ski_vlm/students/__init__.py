"""Video students: RGB clips and class names to logits."""

from ski_vlm.students.base import Student, StudentConfig, StudentOutput
from ski_vlm.students.froster import Froster, FrosterConfig
from ski_vlm.students.prompting import PromptedConfig, PromptedViFiClip, add_prompts
from ski_vlm.students.registry import (
    STUDENTS,
    StudentSettings,
    build_student,
    folder_config,
    load_student,
    student_kind,
)
from ski_vlm.students.vificlip import ViFiClip, ViFiClipConfig
from ski_vlm.students.xclip import XClip, XClipConfig

__all__ = [
    "STUDENTS",
    "Froster",
    "FrosterConfig",
    "PromptedConfig",
    "PromptedViFiClip",
    "Student",
    "StudentConfig",
    "StudentOutput",
    "StudentSettings",
    "ViFiClip",
    "ViFiClipConfig",
    "XClip",
    "XClipConfig",
    "add_prompts",
    "build_student",
    "folder_config",
    "load_student",
    "student_kind",
]
