"""FROSTER's prompts: 28 templates and the bare label, over labels that may be rewritten."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ski_data.errors import InputError
from ski_data.text import read_text
from ski_vlm.errors import ConfigError

_KINDS = ("photo", "video", "example", "demonstration")
_ACTIONS = (
    "{name}",
    "a person {name}",
    "a person using {name}",
    "a person doing {name}",
    "a person during {name}",
    "a person performing {name}",
    "a person practicing {name}",
)
TEMPLATES = tuple(f"a {kind} of {action}." for kind in _KINDS for action in _ACTIONS)
"""The 28 templates in the published order, articles as published."""


def template_prompts(
    names: Sequence[str], template: str, rewritten: Mapping[str, str]
) -> list[str]:
    """One prompt per class: the template on a label's title, then the whole label.

    A label's title is what stands before its first colon: ``waving: moving a hand.`` gives
    ``a photo of waving. waving: moving a hand.``
    """
    labels = rewritten_labels(names, rewritten)
    return [template.replace("{name}", label.split(":")[0]) + " " + label for label in labels]


def rewritten_labels(names: Sequence[str], rewritten: Mapping[str, str]) -> list[str]:
    """The labels of class names; a name that is not rewritten is its own label.

    Raises:
        ConfigError: no names.
    """
    if not names:
        raise ConfigError("no class names given; at least one is needed")
    return [rewritten.get(name, name) for name in names]


def read_rewritten(path: str | Path) -> dict[str, str]:
    """Class names to labels ``Title: description`` from a JSON object.

    Raises:
        MissingFileError: no such file.
        InputError: no JSON object of texts by name.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f'{path}: wanted an object {{"name": "Title: description"}}')
    for name, label in content.items():
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{path}: the label of {name!r} is no text: {label!r}")
    return content
