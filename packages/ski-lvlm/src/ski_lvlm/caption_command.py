"""Answers about many videos into a file, going on where a stopped run ended."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ski_data.errors import ExistingOutputError, InputError, SkiDataError
from ski_data.folders import missing_parents, remove_empty, whole_file
from ski_data.manifest import read_manifest
from ski_data.progress import Progress
from ski_data.text import read_text
from ski_lvlm.caption import Answer
from ski_lvlm.feature_store import FeatureStore

log = logging.getLogger(__name__)

_MANIFESTS = (".csv", ".jsonl", ".parquet")


def named_videos(given: Sequence[str], store: FeatureStore | None) -> list[str]:
    """Videos as the command line names them: files or clips, or manifests of them; each once.

    Raises:
        InputError: A manifest that cannot be read, or a record without a video.
        FeatureError: Clips that the store lacks.
    """
    found: list[str] = []
    for name in given:
        if not name.endswith(_MANIFESTS):
            found.append(name)
            continue
        for record in read_manifest(name):
            if store is None and record.video is None:
                raise InputError(f"{name}: clip {record.name} has no video")
            found.append(record.name if store is not None else str(record.video))
    if store is not None:
        for name in found:
            store.check(name)
    return list(dict.fromkeys(found))


class AnswerFile:
    """JSON lines of answers; settings beside them; a run that was stopped goes on.

    Until all are there, answers stand in ``.NAME.part`` in the order in which they were done; then
    in ``NAME`` in the order of the videos. ``NAME.settings.json`` says how they were made.

    Args:
        path: The file.
        settings: Everything that the answers depend on, as plain values.

    Attributes:
        done: Answers of a stopped run, by video.

    Raises:
        ExistingOutputError: The file is there, or a stopped run with other settings.
        SkiDataError: It cannot be written.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(f".{self.path.name}.part")
        self.notes = self.path.with_name(f"{self.path.name}.settings.json")
        if self.path.exists():
            raise ExistingOutputError(f"{self.path}: is there already; name another file")
        text = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
        self.done: dict[str, Answer] = {}
        if self.notes.exists() and read_text(self.notes) != text:
            raise ExistingOutputError(
                f"{self.notes}: a run with other settings was stopped here; name another file, or "
                f"remove it and {self.part.name}"
            )
        if self.notes.exists() and self.part.exists():
            self.done = {answer.video: answer for answer in _lines(self.part)}
        made = missing_parents(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.notes.exists():
                self.part.unlink(missing_ok=True)
                _replace(self.notes, text)
            # Whole lines only: a kill may have left half of one.
            _replace(self.part, "".join(_line(answer) for answer in self.done.values()))
            self._file = self.part.open("a", encoding="utf-8")
        except OSError as error:
            remove_empty(made)
            raise SkiDataError(
                f"{self.path}: cannot be written ({error.strerror}); check path and permissions"
            ) from error

    def add(self, answer: Answer) -> None:
        """Keep an answer, on disk when this returns."""
        try:
            self._file.write(_line(answer))
            self._file.flush()
        except OSError as error:
            raise SkiDataError(
                f"{self.path}: cannot be written ({error.strerror}); free space, then run the same "
                "command again"
            ) from error
        self.done[answer.video] = answer

    def finish(self, videos: Sequence[str]) -> None:
        """Write the answers in the order of ``videos``."""
        self._file.close()
        with whole_file(self.path) as partial:
            text = "".join(_line(self.done[video]) for video in videos)
            partial.write_text(text, encoding="utf-8")
        self.part.unlink()


def write_answers(
    answers: Iterator[Answer], file: AnswerFile, videos: Sequence[str], limit: int
) -> None:
    """All answers into the file, with progress; says how many the limit cut."""
    with Progress("caption", len(videos)) as progress:
        for answer in answers:
            file.add(answer)
            progress.update(len(file.done), answer.video)
    file.finish(videos)
    report_cut([file.done[video] for video in videos], limit)


def report_cut(answers: Sequence[Answer], limit: int) -> None:
    """Say how many answers the limit cut."""
    cut = sum(not answer.finished for answer in answers)
    if cut:
        log.warning(
            "%d of %d answers were cut at the limit of %d tokens or at the end of the context; "
            "raise --max_new_tokens",
            cut, len(answers), limit,
        )  # fmt: skip


def in_order(answers: Iterator[Answer], videos: Sequence[str]) -> Iterator[Answer]:
    """Answers in the order of ``videos``, each as soon as those before it are there."""
    waiting: dict[str, Answer] = {}
    place = 0
    for answer in answers:
        waiting[answer.video] = answer
        while place < len(videos) and videos[place] in waiting:
            yield waiting.pop(videos[place])
            place += 1


def _lines(path: Path) -> Iterator[Answer]:
    names = {field.name for field in fields(Answer)}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:  # the line that a kill cut
            return
        if not isinstance(found, dict) or set(found) != names:
            raise InputError(f"{path}: a line of another form; remove it to start again")
        yield Answer(**found)


def _line(answer: Answer) -> str:
    return json.dumps(asdict(answer), ensure_ascii=False) + "\n"


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
