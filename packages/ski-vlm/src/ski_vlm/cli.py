"""Command line of ski-vlm."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ski_data import command
from ski_vlm import __version__

COMMANDS = {
    "predict": "ski_vlm.predict_command:predict",
    "stream": "ski_vlm.stream_command:stream",
    "calibrate": "ski_vlm.stream_command:calibrate",
    "embed": "ski_vlm.embed:embed",
    "attention": "ski_vlm.attention_command:attention",
    "export": "ski_vlm.export_command:export",
    "train": "ski_vlm.commands:train",
    "evaluate": "ski_vlm.commands:evaluate",
    "recipes": "ski_vlm.commands:recipes",
    "convert": "ski_vlm.convert.command:convert",
}
"""Imported when they are asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-vlm`` script; ``predict --stream`` is the command ``stream``."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["predict"] and "--stream" in args:
        args = ["stream", *(arg for arg in args[1:] if arg != "--stream")]
    return command.run(
        COMMANDS,
        args,
        prog="ski-vlm",
        version=__version__,
        description="Train video students with skeletons, use them on RGB video.",
    )
