"""Made-up people for the tests of checks."""

import numpy as np

from ski_data.classes import ClassSet
from ski_data.layouts import KINECT25
from ski_data.store import StoreWriter

CLASSES = ClassSet.from_names(["sit", "stand"])


def person(rng, frames=6, bodies=1):
    """(3, T, 25, M): people of 1.6 m who sway, head up, y up."""
    pose = rng.uniform(-0.2, 0.2, size=(3, 1, 25, bodies))
    pose[1] = np.linspace(0.3, 1.2, 25)[:, None]
    pose[1, :, 3] = 1.6
    pose[1, :, [15, 19]] = 0.0
    sway = 0.05 * np.sin(np.linspace(0, 3, frames) + rng.uniform(0, 3))
    return (pose + sway[None, :, None, None]).astype(np.float32)


def make_store(folder, clips, *, classes=CLASSES, labels=None, names=None, fields=None, **options):
    """A store of clips c0, c1, ... whose labels take turns."""
    with StoreWriter(folder, KINECT25, classes=classes, **options) as writer:
        for i, clip in enumerate(clips):
            writer.add(
                f"c{i}" if names is None else names[i],
                clip,
                label=i % 2 if labels is None else labels[i],
                **({"subject": 1} if fields is None else fields[i]),
            )
    return folder


def kinds(findings, level="problem"):
    """Short keys of what was found."""
    return {finding.kind for finding in findings.of(level)}
