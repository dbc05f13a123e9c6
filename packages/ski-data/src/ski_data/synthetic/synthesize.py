"""The command ``ski-data synthesize``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path

from ski_data.progress import Progress
from ski_data.synthetic.config import DEFAULT, AdlMiniConfig
from ski_data.synthetic.dataset import make_adl_mini


def synthesize(
    out: str,
    seed: int = DEFAULT.seed,
    n_subjects: int = DEFAULT.subjects,
    repetitions: int = DEFAULT.repetitions,
    n_cameras: int = DEFAULT.cameras,
    size: int = DEFAULT.size,
    workers: int | None = None,
    json: bool = False,
) -> None:
    """Make adl-mini: rendered videos, skeletons and manifests of 25 daily actions.

    A folder that holds the same data already is left as it is.

    Args:
        out: Folder to make.
        seed: Of the data; the same seed gives the same.
        n_subjects: How many people act; the last three of eight, rounded, are for the test.
        repetitions: How often each of them acts each class.
        n_cameras: How many views, 1 to 3.
        size: Width and height of the videos in pixels, even.
        workers: Processes; by default one per CPU, 0 works in this one.
        json: Print the data's description as one JSON object instead of the folder.
    """
    config = AdlMiniConfig(
        seed=seed, subjects=n_subjects, repetitions=repetitions, cameras=n_cameras, size=size
    )
    with Progress("adl-mini", config.clips) as progress:
        folder = make_adl_mini(
            Path(out), config, workers=workers, progress=lambda done, _: progress.update(done)
        )
    if json:
        print(jsonlib.dumps(jsonlib.loads((folder / "meta.json").read_text(encoding="utf-8"))))
    else:
        print(folder)
