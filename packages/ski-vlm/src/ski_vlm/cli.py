"""Command line of ski-vlm."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence

from ski_data import command
from ski_data.errors import InputError
from ski_data.video.decode import probe
from ski_vlm import __version__
from ski_vlm.predict import load, read_class_names


def predict(
    video: list[str],
    *,
    model: str,
    classes: str,
    top_k: int = 5,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Rank class names for video files, from RGB alone.

    Args:
        video: one or more video files.
        model: a trained model folder, or a run folder that holds one.
        classes: names separated by commas, or a file with one per line or columns id,name.
        top_k: how many classes to print.
        device: cpu, cuda or cuda:N.
        json: print one JSON object per video instead of a table.
    """
    names = read_class_names(classes)
    if top_k < 1:
        raise InputError(f"--top_k must be at least 1, got {top_k}")
    for path in video:
        probe(path)
    recognizer = load(model, device=device)
    for path in video:
        ranked = recognizer.predict(path, names, top_k=top_k)
        if json:
            rows = [{"label": p.label, "probability": round(p.probability, 6)} for p in ranked]
            print(json_module.dumps({"video": path, "predictions": rows}))
        else:
            print(path)
            for p in ranked:
                print(f"  {100 * p.probability:5.1f} %  {p.label}")


COMMANDS = {
    "predict": predict,
    "train": "ski_vlm.commands:train",
    "evaluate": "ski_vlm.commands:evaluate",
    "recipes": "ski_vlm.commands:recipes",
}
"""Those of text are imported when they are asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-vlm`` script."""
    return command.run(
        COMMANDS,
        argv,
        prog="ski-vlm",
        version=__version__,
        description="Train video students with skeletons, use them on RGB video.",
    )
