"""Size, seed and identity of adl-mini."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ski_data.config import to_plain
from ski_data.errors import InputError
from ski_data.synthetic.camera import ANGLES
from ski_data.synthetic.classes import ACTIONS

NAME = "adl-mini"
GENERATOR = 2
"""Raised whenever the same configuration gives other data."""
LICENCE = "CC0-1.0 OR Apache-2.0"
SAMPLE_RULE = (
    "train_seen: training subjects, seen classes; test_seen: test subjects, seen classes; "
    "test_unseen: all subjects, unseen classes"
)


@dataclass(frozen=True)
class AdlMiniConfig:
    """Size and seed of adl-mini.

    Attributes:
        seed: The same seed gives the same bytes, however many processes write them.
        subjects: Performers, up to 99; the last three of eight (rounded) are test subjects.
        repetitions: How often each subject acts each class.
        cameras: 1 (front), 2 (front, 40 degrees to the person's right) or 3 (and to the left).
        frames_min: Shortest clip, in frames at 15 per second.
        frames_max: Longest clip.
        size: Width and height of the videos, even.
        caption_frames: Captioned frames of each training clip of a seen class.
        captions_per_frame: Captions of each such frame, at most.
        classes: Indices of the classes to make, 0..24; all when None.
    """

    seed: int = 0
    subjects: int = 10
    repetitions: int = 2
    cameras: int = 3
    frames_min: int = 24
    frames_max: int = 40
    size: int = 112
    caption_frames: int = 6
    captions_per_frame: int = 4
    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.seed < 0:
            problems.append(f"seed must not be negative, got {self.seed}")
        for name, low, high in (
            ("subjects", 1, 99),
            ("repetitions", 1, 99),
            ("cameras", 1, len(ANGLES)),
            ("size", 32, 1024),
            ("frames_min", 8, 300),
            ("frames_max", self.frames_min, 300),
            ("caption_frames", 0, self.frames_min),
            ("captions_per_frame", 1, 16),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                problems.append(f"{name} must be {low}..{high}, got {value}")
        if self.size % 2:
            problems.append(f"size must be even for H.264, got {self.size}")
        chosen = self.classes
        if chosen is not None and (
            not chosen
            or len(set(chosen)) < len(chosen)
            or not all(0 <= k < len(ACTIONS) for k in chosen)
        ):
            problems.append(
                f"classes must be different indices 0..{len(ACTIONS) - 1}, got {chosen}"
            )
        if problems:
            raise InputError(f"{NAME}: " + "; ".join(problems))

    @property
    def test_subjects(self) -> tuple[int, ...]:
        """Numbers (from 1) of the test subjects."""
        return tuple(range(self.subjects - round(self.subjects * 3 / 8) + 1, self.subjects + 1))

    @property
    def clips(self) -> int:
        """Number of videos."""
        classes = len(ACTIONS) if self.classes is None else len(self.classes)
        return classes * self.subjects * self.repetitions * self.cameras

    @property
    def hash(self) -> str:
        """Identity of configuration and generator."""
        plain = {"generator": GENERATOR, **to_plain(self)}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


DEFAULT = AdlMiniConfig()
"""What `ski-data synthesize` makes."""
