"""Text towers: class names to unit-comparable vectors in the joint space."""

from ski_skeleton.text.clip import (
    ClipConfig,
    ClipSizes,
    ClipTextTower,
    build_clip,
    tokenize,
)
from ski_skeleton.text.prompts import PHOTO_TEMPLATE, class_prompts

__all__ = [
    "PHOTO_TEMPLATE",
    "ClipConfig",
    "ClipSizes",
    "ClipTextTower",
    "build_clip",
    "class_prompts",
    "tokenize",
]
