"""Class names to prompts."""

from __future__ import annotations

from collections.abc import Sequence

from ski_skeleton.errors import ConfigError

PHOTO_TEMPLATE = "a photo of a {name}."
"""Template of ViFi-CLIP and SKI: trailing dot, no a/an handling."""
NAME_TEMPLATE = "{name}"
"""The bare class name, as in the vanilla CLIP and X-CLIP rows."""


def class_prompts(names: Sequence[str], template: str = PHOTO_TEMPLATE) -> list[str]:
    """One prompt per class name.

    Raises:
        ConfigError: no names, or a template without ``{name}``.
    """
    if not names:
        raise ConfigError("no class names given; at least one is needed")
    if "{name}" not in template:
        raise ConfigError(f"prompt template {template!r} has no {{name}} in it")
    return [template.replace("{name}", name) for name in names]
