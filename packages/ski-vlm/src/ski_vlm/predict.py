"""Recognition of any class names in RGB clips, from a trained folder; no skeleton is used."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ski_data.classes import read_classes
from ski_data.errors import InputError, MissingFileError
from ski_data.text import read_text
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import center_crop, resize_short_side
from ski_skeleton.errors import CheckpointError
from ski_vlm.errors import ConfigError
from ski_vlm.students import Student, load_student

LISTS = (".csv", ".txt")
"""Endings of files of class names."""


@dataclass(frozen=True)
class Prediction:
    """One class and its probability among the classes that were asked for."""

    label: str
    probability: float


class Recognizer:
    """A trained student with its input rules."""

    def __init__(
        self,
        model: Student,
        *,
        device: str | torch.device = "cpu",
        meta: dict | None = None,
        name: str = "the model",
    ) -> None:
        self.device = check_device(device)
        self.model = model.eval().to(self.device)
        self.model.text.freeze()
        self.meta = meta or {}
        self.name = name

    def predict(
        self, video: str | Path | np.ndarray, classes: Sequence[str], *, top_k: int | None = None
    ) -> list[Prediction]:
        """Classes by falling probability.

        Args:
            video: a file, or uint8 frames ``(T, H, W, 3)`` RGB of any length.
            classes: names in plain words; seen in training or not.
            top_k: how many to give back; all by default.

        Raises:
            InputError: a file that cannot be decoded, frames of another shape, no class names,
                or one twice.
            CheckpointError: the model's scores are not finite.
        """
        names = check_names(classes)
        frames = torch.from_numpy(self.frames(video)[None]).to(self.device)
        with torch.inference_mode():
            output = self.model(self.model.normalise(frames), names)
            probabilities = output.logits.softmax(-1)[0].cpu().tolist()
        if not all(map(math.isfinite, probabilities)):
            raise CheckpointError(
                f"{self.name}: gives probabilities that are not finite numbers; it is damaged or "
                "its training diverged: copy it again or train it again"
            )
        ranked = sorted(zip(names, probabilities, strict=True), key=lambda pair: -pair[1])
        return [Prediction(name, p) for name, p in ranked[:top_k]]

    def frames(self, video: str | Path | np.ndarray) -> np.ndarray:
        """The T frames that the model sees, uint8 ``(T, H, W, 3)`` at its input size."""
        config, size = self.model.config, self.model.image_size
        if isinstance(video, np.ndarray):
            if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or not len(video):
                raise InputError(
                    f"frames must be uint8 (T, H, W, 3) with T > 0, got {video.dtype} {video.shape}"
                )
            chosen = video[test_indices(len(video), config.frames)]
        else:
            indices = test_indices(probe(video).frames, config.frames)
            chosen = read_frames(video, indices)
        return center_crop(resize_short_side(chosen, max(config.short_side, size)), size)


def load(folder: str | Path, *, device: str | torch.device = "cpu") -> Recognizer:
    """The student in a model folder, or in the ``model`` folder of a run.

    Raises:
        MissingFileError: no model there.
        CheckpointError: a damaged folder or one of another kind.
    """
    model, meta = load_student(folder)
    return Recognizer(model, device=device, meta=meta, name=str(folder))


def check_device(name: str | torch.device) -> torch.device:
    """The device of that name, if this machine has it.

    Raises:
        ConfigError: no such device, or not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is not None and device.type == "cuda" and (device.index or 0) < cards:
        return device
    if device is None or device.type != "cpu":
        known = ["cpu", *(f"cuda:{i}" for i in range(cards))]
        raise ConfigError(f"--device {name}: not on this machine; it has {', '.join(known)}")
    return device


def check_names(classes: Sequence[str]) -> list[str]:
    """Class names without white space around them.

    Raises:
        InputError: none, an empty one, or one twice.
    """
    names = [name.strip() for name in classes]
    if not names:
        raise InputError("no class names given; name at least one")
    if "" in names:
        raise InputError("an empty class name was given")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"class names given twice: {twice}")
    return names


def read_class_names(text: str) -> list[str]:
    """Class names from ``a,b,c``, or from a file with one per line or with columns ``id,name``."""
    path = Path(text)
    if not os.path.isfile(path):
        if os.path.isdir(path) or ("," not in text and (os.sep in text or path.suffix in LISTS)):
            raise MissingFileError(f"{path}: no such file of class names")
        return check_names([name for name in text.split(",") if name.strip()])
    if path.suffix == ".csv":
        return check_names(read_classes(path).names)
    if path.suffix not in LISTS:
        raise InputError(f"{path}: a file of class names ends in {' or '.join(LISTS)}")
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        name = line.strip()
        if name in lines:
            raise InputError(
                f"{path}, line {number}: class {name!r} stands already in line {lines[name]}; "
                "remove one"
            )
        if name:
            lines[name] = number
    if not lines:
        raise InputError(f"{path}: no class names in it; write one per line")
    return list(lines)
