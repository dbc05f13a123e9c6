"""Published data sets and folders, and the packages' own recipes with weights filled in."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from benchmarks.bench.jobs import OUT, WORK, Job
from benchmarks.bench.places import Given, Place
from ski_data.splits import zero_shot_split

Plain = dict[str, Any]
OWN_SPLIT = "ntu60/48-12"
"""Whose recipes an own folder takes."""
CLIP_L: Plain = {"architecture": "ViT-L-14-quickgelu", "pretrained": "openai"}
"""Sees for Table 3 and for C2VL's concepts."""


@dataclass(frozen=True)
class Split:
    """Data and the classes that are new in them."""

    name: str
    """As ``ntu60/48-12``; of own folders their name."""
    place: Place
    given: Given

    @property
    def stem(self) -> str:
        """Second part of its recipes' file names."""
        return (self.name if self.place.own is None else OWN_SPLIT).replace("/", "_")

    @property
    def unseen(self) -> list[tuple[int, str]]:
        """Labels and names of the unseen classes."""
        if self.place.own is not None:
            names = self.place.own.classes.names
            return [(names.index(name), name) for name in self.place.own.unseen]
        split = zero_shot_split(self.name)
        return [
            (action - 1, name)
            for action, name in zip(split.unseen_actions, split.unseen.names, strict=True)
        ]

    def of_classes(self) -> Plain:
        """How recipes of skeleton methods name the classes."""
        own = self.place.own
        return {"split": self.name} if own is None else {"unseen": list(own.unseen)}


@functools.cache
def _parsed(package: str, name: str) -> Plain:
    text = (files(package) / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def recipe(package: str, name: str) -> Plain:
    """A recipe that comes with a package, as plain settings of one's own to change."""
    return copy.deepcopy(_parsed(package, name))


def yaml_text(plain: Plain) -> str:
    """Settings as a recipe file."""
    return _dumped(json.dumps(plain))


@functools.cache
def _dumped(plain: str) -> str:
    return yaml.safe_dump(json.loads(plain), sort_keys=False)


def weights(kind: str, name: str) -> Job:
    """Fetches weights from a hub before anything needs them."""
    target = f"{OUT}/weights.json"
    return Job(
        name=f"weights {name}",
        argv=(WORK, "fetch", kind, name, "--out", target),
        done=target,
        kind="weights",
    )


def with_clip(plain: Any, given: Given, needs: list[Job]) -> Any:
    """Settings whose CLIPs come from files where there are any; else ``needs`` gets a fetch.

    A file ``--weights_folder FOLDER/NAME.*`` is taken for an architecture NAME in lower case.
    """
    if isinstance(plain, list):
        return [with_clip(item, given, needs) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if plain.get("pretrained") is not None and "architecture" in plain:
        file = given.weight_file(str(plain["architecture"]).lower())
        if file is not None:
            return {**plain, "pretrained": str(file)}
        needs.append(weights("clip", f"{plain['architecture']}/{plain['pretrained']}"))
        return plain
    return {key: with_clip(value, given, needs) for key, value in plain.items()}
