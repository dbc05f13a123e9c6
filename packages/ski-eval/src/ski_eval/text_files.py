"""Texts by clip from JSON: captions, references, questions and answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ski_eval import files
from ski_eval.errors import InputError

NAMES = ("name", "video_name", "video_id", "id")
PREDICTED = ("pred", "prediction", "caption", "text")
REFERENCED = ("captions", "references", "caption", "reference", "text", "A", "a")


@dataclass(frozen=True)
class References:
    """Reference texts by clip, and what was drawn independently, where the file tells it."""

    texts: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, str] | None = None


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Records of a JSON list, of JSON lines, or of a JSON object by clip.

    An object gives one record per key: the key as ``name``, and the value's own fields if it is an
    object, else the value as ``text``.

    Raises:
        MissingFileError: no such file.
        InputError: no JSON, or something else than records; the text names the line.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        return _json_lines(path)
    content = files.read_json(path)
    if isinstance(content, dict):
        return [
            {"name": name, **value} if isinstance(value, dict) else {"name": name, "text": value}
            for name, value in content.items()
        ]
    if not isinstance(content, list) or not all(isinstance(r, dict) for r in content):
        raise InputError(f"{path}: expected a JSON object of texts by clip or a list of records")
    return content


def field_of(record: Mapping[str, Any], keys: Sequence[str], where: str) -> Any:
    """The value of the first of ``keys`` that ``record`` has.

    Raises:
        InputError: it has none of them.
    """
    for key in keys:
        if key in record:
            return record[key]
    raise InputError(f"{where}: none of the fields {', '.join(keys)} in {sorted(record)}")


def text_of(record: Mapping[str, Any], keys: Sequence[str], where: str) -> str:
    """As `field_of`, for a value that must be text."""
    value = field_of(record, keys, where)
    if not isinstance(value, str):
        raise InputError(f"{where}: {type(value).__name__} where text is expected ({keys[0]})")
    return value


def read_predictions(path: str | Path) -> dict[str, str]:
    """One text per clip: ``{clip: text}``, or records with a name and a ``pred`` or ``caption``.

    Raises:
        MissingFileError: no such file.
        InputError: a clip named twice, records of another form.
    """
    found: dict[str, str] = {}
    for i, record in enumerate(read_records(path)):
        where = f"{path}: record {i}"
        name = text_of(record, NAMES, where)
        if name in found:
            raise InputError(f"{where}: clip {name!r} is predicted twice; keep one")
        found[name] = text_of(record, PREDICTED, where)
    if not found:
        raise InputError(f"{path}: no predictions")
    return found


def read_references(path: str | Path) -> References:
    """One or more texts per clip: ``{clip: text or list}``, or records; a clip may come again.

    A record may hold ``group``: the person or performance that the clip belongs to. All or none do.

    Raises:
        MissingFileError: no such file.
        InputError: records of another form, clips without a text, groups for some clips only.
    """
    texts: dict[str, tuple[str, ...]] = {}
    groups: dict[str, str] = {}
    for i, record in enumerate(read_records(path)):
        where = f"{path}: record {i}"
        name = text_of(record, NAMES, where)
        value = field_of(record, REFERENCED, where)
        new = [value] if isinstance(value, str) else value
        if not isinstance(new, list) or not new or not all(isinstance(text, str) for text in new):
            raise InputError(f"{where}: clip {name!r} needs a text or a list of texts")
        texts[name] = (*texts.get(name, ()), *new)
        if "group" in record:
            groups[name] = str(record["group"])
    if not texts:
        raise InputError(f"{path}: no references")
    if groups and len(groups) != len(texts):
        raise InputError(f"{path}: {len(groups)} of {len(texts)} clips have a group; give all one")
    return References(texts, groups or None)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, for ``ResultCard.data_hash``."""
    return hashlib.sha256(files.read_bytes(path)).hexdigest()


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = files.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: expected a JSON object")
        found.append(record)
    return found
