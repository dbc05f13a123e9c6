"""Command line of ski-skeleton."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ski_data import command
from ski_data.errors import ExistingOutputError, InputError
from ski_skeleton import __version__


def recipes(copy: str | None = None) -> None:
    """List the recipes that come with the package, or copy one to start from.

    Args:
        copy: name of a recipe to write into the current folder.
    """
    folder = files("ski_skeleton") / "recipes"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml"))
    if copy is None:
        print("\n".join(names))
        return
    name = copy if copy.endswith(".yaml") else f"{copy}.yaml"
    if name not in names:
        raise InputError(f"no recipe {copy!r}; there are {names}")
    if Path(name).exists():
        raise ExistingOutputError(f"{name}: already there; rename or remove it first")
    Path(name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    print(name)


COMMANDS = {
    "train": "ski_skeleton.pipeline_commands:train",
    "evaluate": "ski_skeleton.pipeline_commands:evaluate",
    "train-classifier": "ski_skeleton.supervised_commands:train_classifier",
    "evaluate-classifier": "ski_skeleton.supervised_commands:evaluate_classifier",
    "ensemble": "ski_skeleton.supervised_commands:ensemble",
    "convert": "ski_skeleton.convert.command:convert",
    "recipes": recipes,
    "c2vl-concepts": "ski_skeleton.c2vl.commands:concepts",
    "pretrain-c2vl": "ski_skeleton.c2vl.commands:pretrain_command",
    "probe": "ski_skeleton.probe_command:probe",
    "features": "ski_skeleton.zeroshot.commands:features",
    "zeroshot": "ski_skeleton.zeroshot.commands:zeroshot",
}
"""Imported when they are asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-skeleton`` script."""
    return command.run(
        COMMANDS,
        argv,
        prog="ski-skeleton",
        version=__version__,
        description="Train, evaluate and convert skeleton encoders aligned with language.",
    )
