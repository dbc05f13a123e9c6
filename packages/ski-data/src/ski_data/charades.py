"""Charades annotations: what happens when in a video, and what was written about it.

Source: the public annotation files of Charades (Sigurdsson et al., ECCV 2016): one CSV row per
video, actions as ``class start end`` in seconds joined by semicolons, 157 classes.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr

from ski_data.classes import ClassSet, write_classes
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import whole_folder
from ski_data.instructions import Instruction, write_instructions
from ski_data.manifest import Record, write_manifest
from ski_data.text import read_text
from ski_data.timed_labels import Segment, TimedLabels, write_timed_labels

log = logging.getLogger(__name__)

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
CLASSES_FILE = "Charades_v1_classes.txt"
PART_FILES = {"train": "Charades_v1_train.csv", "test": "Charades_v1_test.csv"}
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov")


class CharadesError(InputError):
    """Annotations that cannot be used, with the file and the line."""


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
        InputError: Not UTF-8, a line of another form, a class twice; the text names file and line.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(read_text(path, "class file").split("\n"), 1):
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
    try:
        return ClassSet(tuple(id_ for id_, _ in rows), tuple(name for _, name in rows))
    except InputError as error:
        raise CharadesError(f"{path}: {error}") from None


def read_charades(path: Path | str, classes: ClassSet) -> list[CharadesVideo]:
    """Read an annotation CSV (``Charades_v1_train.csv``).

    Raises:
        MissingFileError: There is no such file.
        InputError: Not UTF-8, a missing column, an unknown class, times that are no numbers or run
            backwards, a video that stands twice; the text names file and line.
    """
    path = Path(path)
    reader = csv.DictReader(
        io.StringIO(read_text(path, "annotation file"), newline=""), strict=True
    )
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


def caption_pairs(videos: Sequence[CharadesVideo], question: str = QUESTION) -> list[Instruction]:
    """One question and answer per description of each video; the script where there is none."""
    return [
        Instruction(f"{video.id}_{number}", video.id, question, text)
        for video in videos
        for number, text in enumerate(video.descriptions or (video.script,))
        if text
    ]


def timed_labels(videos: Sequence[CharadesVideo]) -> list[TimedLabels]:
    """The actions of each video, under the video's id."""
    return [TimedLabels(video.id, video.length, video.actions) for video in videos]


def prepare_charades(
    annotations: str, out: str, videos: str | None = None, question: str = QUESTION
) -> None:
    """Turn the Charades annotations into manifests, timed labels and question-answer pairs.

    For each part, train and test, the folder gets three files that speak of the same videos:
    PART.jsonl, a manifest (name, video, subject, the first description as caption) without
    labels, since a video has many; PART-actions.jsonl, all actions with times in seconds; and
    PART-pairs.jsonl, a question and answer per description. classes.csv lists the 157 classes.
    Subjects are numbered from 1 in alphabetical order over both parts.

    Args:
        annotations: Folder that holds Charades_v1_classes.txt and Charades_v1_train.csv or
            Charades_v1_test.csv, or both.
        out: Folder to make; it must not be there yet.
        videos: Folder with the video files, ID.mp4 at any depth; those that are not there are left
            out and listed in missing.txt, and a part without any is not written. If not given, the
            manifests name ID.mp4 and nothing is looked for.
        question: What the pairs ask.

    Raises:
        MissingFileError: A folder or the classes are not there, or no part is.
        InputError: Annotations that cannot be used, a video in both parts or in two folders, or no
            video there at all.
        ExistingOutputError: ``out`` is there already.
        SkiDataError: It cannot be written.
    """
    folder, target = Path(annotations), Path(out)
    if target.exists():
        raise ExistingOutputError(f"{target} is there already; name another folder or remove it")
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    if not question.strip():
        raise InputError("question must not be empty")
    classes = read_charades_classes(folder / CLASSES_FILE)
    parts = {
        part: read_charades(folder / file, classes)
        for part, file in PART_FILES.items()
        if (folder / file).is_file()
    }
    if not parts:
        raise MissingFileError(f"{folder}: neither {' nor '.join(PART_FILES.values())} in it")
    _check_apart(folder, parts)
    everyone = sorted({video.subject for part in parts.values() for video in part})
    people = {subject: number for number, subject in enumerate(everyone, 1)}
    files = None if videos is None else _video_files(Path(videos))
    missing = []
    if files is not None:
        named = [video.id for part in parts.values() for video in part]
        missing = [id_ for id_ in named if id_ not in files]
        if len(missing) == len(named):
            raise InputError(f"{videos}: none of the {len(named)} annotated videos is in it")
        parts = {part: [v for v in rows if v.id in files] for part, rows in parts.items()}
        parts = {part: rows for part, rows in parts.items() if rows}
    with whole_folder(target) as partial:
        write_classes(partial / "classes.csv", classes)
        for part, rows in parts.items():
            records = [_record(video, files, people, partial) for video in rows]
            write_manifest(partial / f"{part}.jsonl", records)
            write_timed_labels(partial / f"{part}-actions.jsonl", timed_labels(rows))
            write_instructions(partial / f"{part}-pairs.jsonl", caption_pairs(rows, question))
        if missing:
            text = "".join(f"{id_}\n" for id_ in missing)
            (partial / "missing.txt").write_text(text, encoding="utf-8", newline="\n")
    if missing:
        log.warning(
            "%s: %d annotated videos are not there and left out, see %s: %s",
            videos,
            len(missing),
            target / "missing.txt",
            ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else ""),
        )
    for part, rows in parts.items():
        actions = sum(len(video.actions) for video in rows)
        print(f"{target / part}.jsonl: {len(rows)} videos, {actions} actions")


def _check_apart(folder: Path, parts: dict[str, list[CharadesVideo]]) -> None:
    both = {video.id for video in parts.get("train", [])} & {v.id for v in parts.get("test", [])}
    if both:
        raise CharadesError(f"{folder}: in train and test: {', '.join(sorted(both)[:5])}")


def _video_files(folder: Path) -> dict[str, Path]:
    """The video files under ``folder`` by id."""
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
            continue
        if path.stem in files:
            raise InputError(f"{path}: the same video is at {files[path.stem]}; name one folder")
        files[path.stem] = path
    return files


def _record(
    video: CharadesVideo, files: dict[str, Path] | None, people: dict[str, int], folder: Path
) -> Record:
    return Record(
        name=video.id,
        video=folder / f"{video.id}.mp4" if files is None else files[video.id].resolve(),
        subject=people[video.subject],
        caption=next(iter(video.descriptions), video.script) or None,
        source="charades",
    )


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
        raise CharadesError(f"{where}: action {repr(text)} is not 'class start end'")
    try:
        label = classes.label(fields[0])
    except InputError as error:
        raise CharadesError(f"{where}: {error}") from error
    start, end = (_number(field, where, "time of an action") for field in fields[1:])
    if end < start:
        raise CharadesError(f"{where}: action {repr(text)} ends before it starts")
    return Segment(label, start, end)


def _number(text: str, where: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise CharadesError(f"{where}: {what} is {repr(text)}, not a number of seconds from 0")
    return value


def _grade(text: str, where: str, what: str) -> int | None:
    if not text:
        return None
    if text not in "1234567" or len(text) != 1:
        raise CharadesError(f"{where}: {what} is {repr(text)}, not 1 to 7 or empty")
    return int(text)


def _yes(text: str, where: str) -> bool:
    if text not in ("Yes", "No"):
        raise CharadesError(f"{where}: verified is {repr(text)}, not Yes or No")
    return text == "Yes"
