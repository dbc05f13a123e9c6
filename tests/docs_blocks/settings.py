"""Blocks of settings and data, read by what they are for."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import io
import json
from collections.abc import Mapping
from typing import Any, get_type_hints

import tomllib
import yaml
from docs_blocks.pages import Block

from ski_data.config import from_plain
from ski_data.errors import SkiDataError

SETTINGS = (
    "ski_data.importing.mapping:ImportMapping",
    "ski_skeleton.pipeline:SkeletonRecipe",
    "ski_skeleton.supervised:ClassifierRecipe",
    "ski_skeleton.c2vl.recipe:C2vlRecipe",
    "ski_skeleton.zeroshot.recipe:ZeroShotRecipe",
    "ski_vlm.recipe:VideoRecipe",
    "ski_lvlm.recipe:LvlmRecipe",
    "apps.adl_mini.recipe:AdlMiniRecipe",
)
"""Dataclasses that YAML files of a user become."""


def read(block: Block) -> Any:
    """Content of a block of data.

    Raises:
        ValueError: It is not what its language says, or settings of nothing that takes settings.
    """
    if block.language == "yaml":
        return settings_of(yaml.safe_load(block.text), block.where)
    if block.language == "json":
        return json.loads(block.text)
    if block.language == "jsonl":
        return [json.loads(line) for line in block.text.splitlines()]
    if block.language == "toml":
        return tomllib.loads(block.text)
    rows = list(csv.reader(io.StringIO(block.text)))
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{block.where}: rows of different lengths")
    return rows


def settings_of(plain: Any, where: str) -> str:
    """Name of the dataclass that takes these settings, each with its value.

    A page may show some settings of many, so none has to be there.

    Raises:
        ValueError: No dataclass takes them.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f"{where}: no settings by name: {plain!r}")
    told = []
    for target in SETTINGS:
        module, _, name = target.partition(":")
        kind = getattr(importlib.import_module(module), name)
        known = {field.name for field in dataclasses.fields(kind)}
        if not set(plain) <= known:
            continue
        hints = get_type_hints(kind)
        try:
            part = dataclasses.make_dataclass(name, [(key, hints[key]) for key in plain])
            from_plain(part, plain, where)
        except (ValueError, SkiDataError) as error:
            told.append(f"{name}: {error}")
            continue
        return name
    raise ValueError(f"{where}: settings of nothing: {'; '.join(told) or sorted(plain)}")
