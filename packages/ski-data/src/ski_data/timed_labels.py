"""What happens when in untrimmed videos: several labels per video, each with a start and an end.

On disk a JSON line per video, which stands beside a manifest that names the same clips:
``{"name": "46GP8", "length": 24.83, "actions": [{"label": 92, "start": 11.9, "end": 21.2}]}``,
times in seconds, labels from 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr
from typing import Any, Protocol

import numpy as np

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.folders import whole_file
from ski_data.text import json_lines


class TimedLabelError(InputError):
    """Timed labels that cannot be used, with the file and the line."""


@dataclass(frozen=True)
class Segment:
    """One action of a video; ends are in seconds, and may lie past the end of the video."""

    label: int
    start: float
    end: float


@dataclass(frozen=True)
class TimedLabels:
    """The actions of one video.

    Attributes:
        name: That of the clip in its manifest.
        length: Seconds.
        actions: In any order; they may overlap.
    """

    name: str
    length: float
    actions: tuple[Segment, ...]


class HasActions(Protocol):
    """Anything with timed actions."""

    @property
    def actions(self) -> tuple[Segment, ...]:
        """In any order."""
        ...


def multi_hot(videos: Sequence[HasActions], classes: ClassSet) -> np.ndarray:
    """Which actions each video holds, uint8 (N, K), for multi-label classification."""
    labels = np.zeros((len(videos), len(classes)), np.uint8)
    for row, video in zip(labels, videos, strict=True):
        row[[segment.label for segment in video.actions]] = 1
    return labels


def labels_at(video: HasActions, times: np.ndarray, classes: ClassSet) -> np.ndarray:
    """Which actions go on at each time, ends included, uint8 (T, K); ``times`` (T,) in seconds."""
    times = np.asarray(times, np.float64)
    labels = np.zeros((len(times), len(classes)), np.uint8)
    for segment in video.actions:
        labels[(segment.start <= times) & (times <= segment.end), segment.label] = 1
    return labels


def read_timed_labels(path: Path | str, classes: ClassSet) -> list[TimedLabels]:
    """Read timed labels.

    Raises:
        MissingFileError, InputError: No such file, not UTF-8, or a line that is not JSON.
        TimedLabelError: No lines, a line of another form, a label that is none of the classes,
            times that are no numbers or run backwards, a video twice; the text names file and line.
    """
    path = Path(path)
    found: list[TimedLabels] = []
    lines: dict[str, int] = {}
    for number, row in json_lines(path, "file of timed labels"):
        where = f"{path}, line {number}"
        video = _video(row, where, classes)
        if video.name in lines:
            raise TimedLabelError(
                f"{where}: video {video.name} stands already in line {lines[video.name]}; "
                "remove one"
            )
        lines[video.name] = number
        found.append(video)
    if not found:
        raise TimedLabelError(f"{path}: no timed labels")
    return found


def write_timed_labels(path: Path | str, videos: Iterable[TimedLabels]) -> None:
    """Write what :func:`read_timed_labels` reads.

    Raises:
        ExistingOutputError: The file is there already.
        SkiDataError: It cannot be written.
    """
    text = "".join(json.dumps(asdict(video), ensure_ascii=False) + "\n" for video in videos)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def _video(row: Any, where: str, classes: ClassSet) -> TimedLabels:
    if not isinstance(row, dict) or set(row) != {"name", "length", "actions"}:
        raise TimedLabelError(f"{where}: an object with name, length and actions expected")
    name, actions = row["name"], row["actions"]
    if not isinstance(name, str) or not name.strip():
        raise TimedLabelError(f"{where}: name must be text, not {repr(name)}")
    if not isinstance(actions, list):
        raise TimedLabelError(f"{where}: actions must be a list")
    segments = tuple(_segment(action, where, classes) for action in actions)
    return TimedLabels(name, _seconds(row["length"], where, "length"), segments)


def _segment(action: Any, where: str, classes: ClassSet) -> Segment:
    if not isinstance(action, dict) or set(action) != {"label", "start", "end"}:
        raise TimedLabelError(f"{where}: an action has exactly label, start and end")
    label = action["label"]
    if type(label) is not int or not 0 <= label < len(classes):
        raise TimedLabelError(
            f"{where}: label {repr(label)} is out of range; allowed: 0..{len(classes) - 1}"
        )
    start, end = (_seconds(action[key], where, key) for key in ("start", "end"))
    if end < start:
        raise TimedLabelError(f"{where}: an action from {start} to {end} ends before it starts")
    return Segment(label, start, end)


def _seconds(value: Any, where: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TimedLabelError(f"{where}: {what} is {repr(value)}, not a number of seconds from 0")
    return float(value)
