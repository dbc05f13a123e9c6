"""When a window shows none of the classes: scores, and thresholds measured on labelled clips.

Three scores can be compared with a threshold: ``probability``, the largest probability among the
classes; ``cosine``, the similarity with the nearest class; ``margin``, by how much it is nearer
than the second. Which tells known from unknown actions best depends on the model and the classes: a
probability depends on how many classes stand beside and saturates at CLIP's scale, a cosine shifts
from clip to clip but not with the other classes. So it is measured, not assumed: calibration takes
the score with the largest area under the ROC curve and the threshold with the best mean of the
shares of known windows accepted and unknown ones rejected. Windows, not whole clips, because their
scores differ: a threshold holds for the windows and the smoothing that it was measured with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError
from ski_data.folders import whole_file
from ski_data.text import read_text
from ski_vlm.class_texts import Wording
from ski_vlm.errors import ConfigError
from ski_vlm.predict import softmax
from ski_vlm.segments import Smoothing
from ski_vlm.students import Student, folder_config, student_kind

ScoreName = Literal["probability", "cosine", "margin"]
SCORES: tuple[ScoreName, ...] = ("probability", "cosine", "margin")
FORMAT = 1


@dataclass(frozen=True)
class WindowRule:
    """Windows of a stream, and over how many of them scores are smoothed."""

    window: float
    """Seconds."""
    stride: float
    """Seconds."""
    smoothing: Smoothing
    span: int

    def __str__(self) -> str:
        """As options of the commands."""
        return (
            f"--window {self.window:g} --stride {self.stride:g} --smoothing {self.smoothing} "
            f"--span {self.span}"
        )


@dataclass(frozen=True)
class Calibration:
    """From which score on a window shows one of the classes."""

    score: ScoreName
    threshold: float
    classes_hash: str
    """Of the class names, in any order, and of their wording."""
    model_hash: str
    """Of the model's weights and settings."""
    classes: int
    windows: WindowRule
    known: int
    """Windows over clips of the classes that were measured."""
    unknown: int
    """Windows over clips of none of them that were measured."""
    accepted: float
    """Share of the known windows at or above the threshold."""
    rejected: float
    """Share of the unknown windows below it."""
    auroc: dict[str, float]
    """Area under the ROC curve of every score; 0.5 is chance."""
    format: int = FORMAT

    def check(
        self,
        names: Sequence[str],
        wording: Wording,
        model_hash: str,
        windows: WindowRule,
        where: str,
    ) -> None:
        """See that it was made for these classes, so worded, this model and these windows.

        Raises:
            InputError: it was made for others.
        """
        if self.classes_hash != hash_classes(names, wording):
            raise InputError(
                f"{where}: made for another list of {self.classes} classes, or other templates or "
                f"descriptions, not for these {len(names)}; calibrate again with these"
            )
        if self.model_hash != model_hash:
            raise InputError(f"{where}: made for another model; calibrate again with this one")
        if self.windows != windows:
            raise InputError(
                f"{where}: made for {self.windows}, not for {windows}; give the former or "
                "calibrate again with the latter"
            )


def hash_classes(names: Sequence[str], wording: Wording) -> str:
    """SHA-256 of a set of class names and their wording."""
    plain = [sorted(names), to_plain(wording)]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def hash_model(model: Student) -> str:
    """SHA-256 of a student's kind, settings and weights, wherever they came from."""
    total = hashlib.sha256()
    plain = {"kind": student_kind(model), **to_plain(folder_config(model))}
    total.update(json.dumps(plain, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def score_of(cosines: np.ndarray, scale: float, name: ScoreName) -> np.ndarray:
    """Scores ``(N,)`` of clips from their cosines ``(N, K)`` with the classes.

    Raises:
        ConfigError: a margin of a single class.
    """
    if name == "probability":
        return softmax(scale * cosines).max(-1)
    if name == "cosine":
        return cosines.max(-1)
    if cosines.shape[-1] < 2:
        raise ConfigError("a margin needs two classes; choose the score cosine")
    second, first = np.sort(cosines, -1)[..., -2:].T
    return first - second


def calibrate(
    cosines: np.ndarray,
    scale: float,
    known: np.ndarray,
    *,
    names: Sequence[str],
    wording: Wording,
    model_hash: str,
    windows: WindowRule,
) -> Calibration:
    """The score and threshold that tell windows over clips of the classes from others best.

    Args:
        cosines: ``(N, K)`` of windows with the classes, smoothed.
        scale: of the model.
        known: bool ``(N,)``, windows over clips that show one of the classes.
        names: the K classes.
        wording: of these.
        model_hash: of the model.
        windows: how they were cut and smoothed.

    Raises:
        InputError: no known or no unknown windows.
    """
    if not known.any() or known.all():
        raise InputError(
            f"calibration needs clips of the classes and of none of them, got {int(known.sum())} "
            f"and {int((~known).sum())}"
        )
    usable = SCORES if cosines.shape[1] > 1 else ("cosine",)
    found = {name: score_of(cosines, scale, name) for name in usable}
    areas = {name: auroc(values[known], values[~known]) for name, values in found.items()}
    best = max(usable, key=lambda name: areas[name])
    threshold, accepted, rejected = best_threshold(found[best][known], found[best][~known])
    return Calibration(
        score=best,
        threshold=threshold,
        classes_hash=hash_classes(names, wording),
        model_hash=model_hash,
        windows=windows,
        classes=len(names),
        known=int(known.sum()),
        unknown=int((~known).sum()),
        accepted=accepted,
        rejected=rejected,
        auroc=areas,
    )


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Chance that a known clip scores above an unknown one; ties count half."""
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.mean() / (2 * len(unknown)))


def best_threshold(known: np.ndarray, unknown: np.ndarray) -> tuple[float, float, float]:
    """Threshold, share of ``known`` at or above it, share of ``unknown`` below it.

    It lies in the middle between two scores, and accepts more where several are as good.
    """
    values = np.unique(np.concatenate([known, unknown]))
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
    accepted = 1 - np.searchsorted(np.sort(known), edges, "left") / len(known)
    rejected = np.searchsorted(np.sort(unknown), edges, "left") / len(unknown)
    at = int(np.argmax(np.round(accepted + rejected, 9)))
    return float(edges[at]), float(accepted[at]), float(rejected[at])


def write_calibration(path: str | Path, found: Calibration) -> None:
    """Write it as JSON.

    Raises:
        ExistingOutputError: the file is there already.
    """
    with whole_file(path) as part:
        part.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def read_calibration(path: str | Path) -> Calibration:
    """What :func:`write_calibration` wrote.

    Raises:
        MissingFileError: no such file.
        InputError: no calibration, or of another version.
    """
    text = read_text(path, "calibration")
    try:
        plain = json.loads(text)
        found = from_plain(Calibration, plain, str(path))
    except ValueError as error:
        raise InputError(
            f"{path}: no calibration ({error}); make one with the command calibrate"
        ) from None
    if found.format != FORMAT:
        raise InputError(f"{path}: version {found.format}, only {FORMAT} is known; calibrate again")
    return found
