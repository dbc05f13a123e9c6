"""Command line of ski-skeleton."""

from __future__ import annotations

from collections.abc import Sequence

from ski_data import command
from ski_data.config import recipe_command
from ski_skeleton import __version__


def recipes(copy: str | None = None) -> None:
    """List the recipes that come with the package, or copy one to start from.

    Args:
        copy: name of a recipe to write into the current folder.
    """
    recipe_command("ski_skeleton", copy)


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
