"""Command that trains by a recipe of any package: finds out whose it is and runs that command."""

from __future__ import annotations

import json as json_format
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apps.cli.signatures import fields, package_folder, signature
from ski_data import command
from ski_data.config import read_yaml
from ski_data.errors import InputError, MissingFileError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A command that trains, and the settings of its recipes.

    Attributes:
        package: Import name of the package.
        command: As the package's program knows it.
        function: What the command runs.
        recipe: Dataclass of its recipes.
        data: Dataclass of their part ``data``, if they have one.
    """

    package: str
    command: str
    function: str
    recipe: str
    data: str | None = None

    def __str__(self) -> str:
        return f"{self.package.replace('_', '-')} {self.command}"

    @cache  # noqa: B019  # a handful of constants
    def known(self) -> frozenset[str]:
        """Names of all settings, those within ``data`` as ``data.NAME``."""
        inner = frozenset() if self.data is None else fields(self.data)
        return fields(self.recipe) | {f"data.{name}" for name in inner}


OWNERS = (
    Owner(
        "ski_vlm",
        "train",
        "ski_vlm.commands:train",
        "ski_vlm.recipe:VideoRecipe",
        "ski_vlm.recipe:VideoData",
    ),
    Owner(
        "ski_lvlm",
        "train",
        "ski_lvlm.cli:train",
        "ski_lvlm.recipe:LvlmRecipe",
        "ski_lvlm.recipe:DataConfig",
    ),
    Owner(
        "ski_skeleton",
        "train",
        "ski_skeleton.pipeline_commands:train",
        "ski_skeleton.pipeline:SkeletonRecipe",
        "ski_skeleton.pipeline:ZeroShotData",
    ),
    Owner(
        "ski_skeleton",
        "train-classifier",
        "ski_skeleton.supervised_commands:train_classifier",
        "ski_skeleton.supervised:ClassifierRecipe",
        "ski_skeleton.supervised:ClosedSetData",
    ),
    Owner(
        "ski_skeleton",
        "pretrain-c2vl",
        "ski_skeleton.c2vl.commands:pretrain_command",
        "ski_skeleton.c2vl.recipe:C2vlRecipe",
        "ski_skeleton.c2vl.recipe:C2vlData",
    ),
    Owner(
        "ski_skeleton",
        "zeroshot",
        "ski_skeleton.zeroshot.commands:zeroshot",
        "ski_skeleton.zeroshot.recipe:ZeroShotRecipe",
    ),
)
MAIN_JOB = "apps.adl_mini.recipe:AdlMiniRecipe"


def train(
    recipe: str,
    *,
    out: str,
    seed: int | None = None,
    seeds: int | None = None,
    skeleton_stream: str | None = None,
    set: tuple[str, ...] = (),
    fit_memory: bool = False,
    processes: int | None = None,
    dry_run: bool = False,
    json: bool = False,
) -> object:
    """Train by a recipe of any package; the same command goes on after a kill.

    Whose recipe it is shows in its settings; the options are those of that package's command, and
    one that it does not have is refused. `ski train --list` names the recipes that there are.

    Args:
        recipe: YAML file, or the name of a recipe that comes with a package.
        out: run folder; gets logs, checkpoints while training, and the model.
        seed: of weights and data order.
        seeds: use the seeds 0 to SEEDS-1 in the place of the recipe's.
        skeleton_stream: joint, bone, joint_motion or bone_motion, of a classifier.
        set: changes of single settings, e.g. '["method.alpha=0.1","data.manifest=clips.jsonl"]'.
        fit_memory: choose the accumulation so that a micro-batch fits the GPU; the batch of a step
            stays the same.
        processes: processes on this machine, one for each GPU.
        dry_run: print parameters, memory and steps, and train nothing.
        json: print JSON in place of text.
    """
    given = {
        "seed": seed,
        "seeds": seeds,
        "skeleton_stream": skeleton_stream,
        "set": set or None,
        "fit_memory": fit_memory or None,
        "processes": processes,
        "dry_run": dry_run or None,
        "json": json or None,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    path = recipe_file(recipe)
    owner = find_owner(path)
    known = [option.name for option in signature(owner.function).options]
    unknown = [f"--{name}" for name in wanted if name not in known]
    if unknown:
        raise InputError(
            f"{path} is a recipe of {owner}, which does not take {' '.join(unknown)}; it takes "
            + " ".join(f"--{name}" for name in known)
        )
    log.info("%s: a recipe of %s", path, owner)
    return command.load(owner.function)(path, out=out, **wanted)


def list_recipes(*, json: bool = False) -> None:
    """List the recipes that come with the packages: the command that trains, the name, what it is.

    Args:
        json: print one JSON object per recipe in place of a table.
    """
    rows = []
    for package in dict.fromkeys(owner.package for owner in OWNERS):
        for name, path in shipped(package).items():
            text = path.read_text(encoding="utf-8")
            title = text.partition("\n")[0].lstrip("# ").partition(": ski-")[0].rstrip(".")
            rows.append((str(find_owner(str(path))), name, title))
    if json:
        for owner, name, title in rows:
            print(json_format.dumps({"command": owner, "recipe": name, "title": title}))
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for owner, name, title in rows:
        print(f"{owner:<{widths[0]}}  {name:<{widths[1]}}  {title}")


def shipped(package: str) -> dict[str, Path]:
    """Recipes that come with a package by name without ending, in order."""
    return {
        path.stem: path for path in sorted((package_folder(package) / "recipes").glob("*.yaml"))
    }


def recipe_file(recipe: str) -> str:
    """The file of a recipe: the one named, or that of the packages' recipe of this name.

    Raises:
        MissingFileError: neither.
    """
    if Path(recipe).is_file():
        return recipe
    for package in dict.fromkeys(owner.package for owner in OWNERS):
        path = shipped(package).get(recipe.removesuffix(".yaml"))
        if path is not None:
            return str(path)
    raise MissingFileError(
        f"{recipe}: no such file, and no package has a recipe of this name; `ski train --list` "
        "names them"
    )


def find_owner(path: str) -> Owner:
    """The command whose recipes have this one's settings.

    The one that knows most of them, so that a setting with a typing error is still told by the
    package that knows the right one.

    Raises:
        InputError: no settings, those of no package, or of several alike.
    """
    plain = read_yaml(path)
    if not isinstance(plain, Mapping):
        raise InputError(f"{path}: expected settings by name; `ski train --list` names recipes")
    names = {str(name) for name in plain}
    data = plain.get("data")
    names |= {f"data.{name}" for name in data} if isinstance(data, Mapping) else set()
    if len(names & fields(MAIN_JOB)) > max(len(names & owner.known()) for owner in OWNERS):
        raise InputError(f"{path}: a recipe of the main job; run `ski demo --recipe {path}`")
    fits = {owner: len(names & owner.known()) for owner in OWNERS}
    best = max(fits.values())
    found = [owner for owner, count in fits.items() if count == best]
    if 2 * best <= len(names):
        raise InputError(
            f"{path}: not the settings of a recipe of any package ({', '.join(sorted(names))}); "
            "`ski train --list` names recipes to start from"
        )
    if len(found) > 1:
        raise InputError(
            f"{path}: could be a recipe of {' or '.join(map(str, found))}; run the one you mean"
        )
    return found[0]
