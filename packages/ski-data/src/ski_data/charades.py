"""Charades annotations: what happens when in a video, and what was written about it.

Source: the public annotation files of Charades (Sigurdsson et al., ECCV 2016): one CSV row per
video, actions as ``class start end`` in seconds joined by semicolons, 157 classes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.classes import ClassSet
from ski_data.errors import InputError, MissingFileError
from ski_data.instructions import Instruction

COLUMNS = (
    "id",
    "subject",
    "scene",
    "quality",
    "relevance",
    "verified",
    "script",
    "objects",
    "descriptions",
    "actions",
    "length",
)
QUESTION = "What is the person doing in the video?"


class CharadesError(InputError):
    """Annotations that cannot be used, with the file and the line."""


@dataclass(frozen=True)
class Segment:
    """One action of a video; ends are in seconds, and may lie past the end of the video."""

    label: int
    start: float
    end: float


@dataclass(frozen=True)
class CharadesVideo:
    """One annotated video.

    Attributes:
        id: Name of the video file without ending.
        subject: Who acted.
        scene: Room.
        quality: 1 to 7 as judged, None where nobody did.
        relevance: How well the video shows the script, 1 to 7, or None.
        verified: Whether the annotation was checked.
        script: What the actor was asked to do.
        objects: Things in the script.
        descriptions: What others wrote about the video.
        actions: In the order of the file.
        length: Seconds.
    """

    id: str
    subject: str
    scene: str
    quality: int | None
    relevance: int | None
    verified: bool
    script: str
    objects: tuple[str, ...]
    descriptions: tuple[str, ...]
    actions: tuple[Segment, ...]
    length: float


def read_charades_classes(path: Path | str) -> ClassSet:
    """The classes file: a line is an id, a blank, and the action (``c000 Holding some clothes``).

    Raises:
        MissingFileError: There is no such file.
        CharadesError: A line of another form; the text names it.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        id_, _, name = line.strip().partition(" ")
        if not name.strip():
            raise CharadesError(
                f"{path}, line {number}: expected 'c000 Name of the action', found {line[:60]!r}"
            )
        rows.append((id_, name.strip()))
    if not rows:
        raise CharadesError(f"{path}: no classes")
    return ClassSet(tuple(id_ for id_, _ in rows), tuple(name for _, name in rows))


def read_charades(path: Path | str, classes: ClassSet) -> list[CharadesVideo]:
    """Read an annotation CSV (``Charades_v1_train.csv``).

    Raises:
        MissingFileError: There is no such file.
        CharadesError: A missing column, an unknown class, times that are no numbers or run
            backwards, a video that stands twice; the text names file and line.
    """
    path = Path(path)
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise CharadesError(
                f"{path}, line 1: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}"
            )
        videos: list[CharadesVideo] = []
        lines: dict[str, int] = {}
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            video = _video(row, where, classes)
            if video.id in lines:
                raise CharadesError(
                    f"{where}: video {video.id} stands already in line {lines[video.id]}; "
                    "remove one"
                )
            lines[video.id] = reader.line_num
            videos.append(video)
    except csv.Error as error:
        raise CharadesError(f"{path}, line {reader.line_num}: {error}") from error
    if not videos:
        raise CharadesError(f"{path}: no videos")
    return videos


def multi_hot(videos: Sequence[CharadesVideo], classes: ClassSet) -> np.ndarray:
    """Which actions each video holds, uint8 (N, K), for the classification protocol."""
    labels = np.zeros((len(videos), len(classes)), np.uint8)
    for row, video in zip(labels, videos, strict=True):
        row[[segment.label for segment in video.actions]] = 1
    return labels


def labels_at(video: CharadesVideo, times: np.ndarray, classes: ClassSet) -> np.ndarray:
    """Which actions go on at each time, ends included, uint8 (T, K); ``times`` (T,) in seconds."""
    times = np.asarray(times, np.float64)
    labels = np.zeros((len(times), len(classes)), np.uint8)
    for segment in video.actions:
        labels[(segment.start <= times) & (times <= segment.end), segment.label] = 1
    return labels


def caption_pairs(videos: Sequence[CharadesVideo], question: str = QUESTION) -> list[Instruction]:
    """One question and answer per description of each video; the script where there is none."""
    return [
        Instruction(f"{video.id}_{number}", video.id, question, text)
        for video in videos
        for number, text in enumerate(video.descriptions or (video.script,))
        if text
    ]


def _text(path: Path) -> str:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CharadesError(f"{path}: not UTF-8 text ({error.reason})") from error


def _video(row: dict[str | None, str | None], where: str, classes: ClassSet) -> CharadesVideo:
    if None in row or None in row.values():
        raise CharadesError(f"{where}: not as many fields as the first line names")
    text = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if not text["id"]:
        raise CharadesError(f"{where}: no video id")
    length = _number(text["length"], where, "length")
    return CharadesVideo(
        id=text["id"],
        subject=text["subject"],
        scene=text["scene"],
        quality=_grade(text["quality"], where, "quality"),
        relevance=_grade(text["relevance"], where, "relevance"),
        verified=_yes(text["verified"], where),
        script=text["script"],
        objects=_parts(text["objects"]),
        descriptions=_parts(text["descriptions"]),
        actions=tuple(_segment(part, where, classes) for part in _parts(text["actions"])),
        length=length,
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _segment(text: str, where: str, classes: ClassSet) -> Segment:
    fields = text.split()
    if len(fields) != 3:
        raise CharadesError(f"{where}: action {text!r} is not 'class start end'")
    try:
        label = classes.label(fields[0])
    except InputError as error:
        raise CharadesError(f"{where}: {error}") from error
    start, end = (_number(field, where, "time of an action") for field in fields[1:])
    if end < start:
        raise CharadesError(f"{where}: action {text!r} ends before it starts")
    return Segment(label, start, end)


def _number(text: str, where: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise CharadesError(f"{where}: {what} is {text!r}, not a number of seconds from 0")
    return value


def _grade(text: str, where: str, what: str) -> int | None:
    if not text:
        return None
    if text not in "1234567" or len(text) != 1:
        raise CharadesError(f"{where}: {what} is {text!r}, not 1 to 7 or empty")
    return int(text)


def _yes(text: str, where: str) -> bool:
    if text not in ("Yes", "No"):
        raise CharadesError(f"{where}: verified is {text!r}, not Yes or No")
    return text == "Yes"
