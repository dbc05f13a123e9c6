"""Result cards: one JSON file per number, with all that is needed to trust and repeat it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ski_eval import files
from ski_eval.errors import InputError, MissingFileError
from ski_eval.intervals import Interval

VERSION = 1
_KIND = "ski-eval/result-card/"
SCHEMA = f"{_KIND}{VERSION}"
"""What a card's ``schema`` says; the JSON schema itself is ``result_card.schema.json``."""
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ResultCard:
    """One measured figure and where it comes from.

    ``unit`` "fraction" is for accuracies and other shares from 0 to 1 (shown as percent); "score"
    is for everything else and shown as it is. ``value`` None means undefined, e.g. top-5 of five.
    """

    name: str
    """What tells this figure from the others of its run; names the file."""
    method: str
    """Row of a table: the model, e.g. "SKI-ViFi-CLIP"."""
    dataset: str
    split: str
    protocol: str
    """E.g. "zero-shot, unseen classes" or "closed set, unseen subjects"."""
    metric: str
    """E.g. "top-1", "mean class accuracy", "H"."""
    value: float | None
    n: int
    """Samples that the figure was measured on."""
    interval: Interval | None = None
    unit: Literal["fraction", "score"] = "fraction"
    n_classes: int | None = None
    """Candidate classes; chance is one over it."""
    seeds: tuple[int, ...] = ()
    data_hash: str | None = None
    """SHA-256 of the data (e.g. of its manifest), 64 hexadecimal digits."""
    split_hash: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    """What `environment` collected."""
    wall_time_s: float | None = None
    paper_value: float | None = None
    """The published figure of the same method, in the same unit."""
    comparable_to_paper: bool = False
    """Whether data, split and protocol are those of ``paper_value``."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("seeds", "notes"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if isinstance(self.interval, Mapping):
            object.__setattr__(self, "interval", _interval(self.interval))
        problems = _problems(self)
        if problems:
            raise InputError(f"result card {self.name!r}: {'; '.join(problems)}")
        object.__setattr__(self, "config", plain(self.config))
        object.__setattr__(self, "environment", plain(self.environment))

    @property
    def config_hash(self) -> str:
        """SHA-256 of the configuration."""
        return content_hash(self.config)

    @property
    def file_name(self) -> str:
        """File name made from ``name``: lower case, words joined by hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") + ".json"


def content_hash(value: Any) -> str:
    """SHA-256 (hexadecimal) of plain values as canonical JSON: sorted keys, no spaces, UTF-8.

    Raises:
        InputError: a value that JSON cannot hold, NaN and infinity included.
    """
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def plain(value: Any, where: str = "value") -> Any:
    """Dataclasses, tuples, paths and numpy numbers as values that JSON can hold.

    Raises:
        InputError: anything else, keys that are not text, NaN and infinity.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} cannot be stored; use None for an undefined value")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise InputError(f"{where}: key {odd[0]!r} is not text")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return value.as_posix()
    raise InputError(f"{where}: {type(value).__name__} cannot be stored; give plain values")


def card_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a card's file, as shipped with the package."""
    text = resources.files("ski_eval").joinpath("result_card.schema.json").read_text("utf-8")
    return json.loads(text)


def write_card(card: ResultCard, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write ``card`` as JSON to the file ``path``, or into the folder ``path`` under its own name.

    Raises:
        ExistingOutputError: the file holds another card and ``overwrite`` is not set.
    """
    path = Path(path)
    if path.suffix != ".json":
        path = path / card.file_name
    return files.write_bytes(path, card_json(card).encode("utf-8"), overwrite=overwrite)


def card_json(card: ResultCard) -> str:
    """``card`` as indented JSON text that `read_card` reads."""
    content = {"schema": SCHEMA, **plain(card), "config_hash": card.config_hash}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_card(path: str | Path) -> ResultCard:
    """Read a result card.

    Raises:
        MissingFileError: no such file.
        InputError: not a result card, unknown or missing fields, values out of range, or a
            configuration that does not match its hash.
    """
    return _from_plain(files.read_json(path), path)


def read_cards(folder: str | Path) -> list[tuple[Path, ResultCard]]:
    """All result cards under ``folder`` with their paths, in the order of the paths.

    JSON files that are not result cards (configurations, metadata) are passed over; a file that is
    no JSON at all, or a damaged card, is an error.

    Raises:
        MissingFileError: no such folder, or no card under it.
        InputError: as in `read_card`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    found: list[tuple[Path, ResultCard]] = []
    for path in sorted(path for path in folder.rglob("*.json") if path.is_file()):
        content = files.read_json(path)
        schema = content.get("schema") if isinstance(content, dict) else None
        if isinstance(schema, str) and schema.startswith(_KIND):
            found.append((path, _from_plain(content, path)))
    if not found:
        raise MissingFileError(f"{folder}: no result cards (JSON with schema {SCHEMA!r}) under it")
    return found


def _from_plain(content: Any, path: str | Path) -> ResultCard:
    told = content.get("schema") if isinstance(content, dict) else None
    if told != SCHEMA and isinstance(told, str) and told.startswith(_KIND):
        raise InputError(
            f"{path}: result card of version {told.removeprefix(_KIND)!r}, this ski-eval reads "
            f"version {VERSION} (the first); install a newer ski-eval, or make the card again"
        )
    if told != SCHEMA:
        got = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: not a result card (schema {got!r}); expected {SCHEMA!r}")
    fields = {f.name: f for f in dataclasses.fields(ResultCard)}
    unknown = sorted(set(content) - set(fields) - {"schema", "config_hash"})
    missing = sorted(({*fields, "config_hash"}) - set(content))
    if unknown or missing:
        raise InputError(f"{path}: unknown fields {unknown}, missing fields {missing}")
    try:
        card = ResultCard(**{name: content[name] for name in fields})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if card.config_hash != content["config_hash"]:
        raise InputError(
            f"{path}: config does not match config_hash; the file was edited, make it again"
        )
    return card


def _interval(values: Mapping[str, Any]) -> Interval:
    expected = {f.name for f in dataclasses.fields(Interval)}
    if set(values) != expected:
        raise InputError(f"interval: fields {sorted(values)}; expected {sorted(expected)}")
    if not all(_number(values[name]) for name in ("low", "high", "level")):
        raise InputError("interval: low, high and level must be numbers")
    if not isinstance(values["method"], str):
        raise InputError("interval: method must be text")
    return Interval(**values)


def _number(value: Any) -> bool:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _problems(card: ResultCard) -> list[str]:
    """Everything that is wrong with the fields of a card, as text."""
    found: list[str] = []
    for name in ("name", "method", "dataset", "split", "protocol", "metric"):
        value = getattr(card, name)
        if not isinstance(value, str) or not value.strip():
            found.append(f"{name} is {value!r}, expected text")
    if isinstance(card.name, str) and not re.search(r"[a-zA-Z0-9]", card.name):
        found.append("name needs at least one letter or digit")
    if card.unit not in ("fraction", "score"):
        found.append(f"unit is {card.unit!r}, allowed: fraction, score")
    for name in ("value", "paper_value", "wall_time_s"):
        value = getattr(card, name)
        if value is not None and not _number(value):
            found.append(f"{name} is {value!r}, expected a finite number or None")
        elif value is not None and name != "wall_time_s" and card.unit == "fraction":
            if not 0.0 <= value <= 1.0:
                found.append(f"{name} is {value}, a fraction lies in 0..1 (not percent)")
        elif name == "wall_time_s" and value is not None and value < 0.0:
            found.append(f"wall_time_s is {value}, expected seconds from 0")
    if not _whole(card.n) or card.n < 1:
        found.append(f"n is {card.n!r}, expected a whole number from 1")
    if card.n_classes is not None and (not _whole(card.n_classes) or card.n_classes < 2):
        found.append(f"n_classes is {card.n_classes!r}, expected a whole number from 2, or None")
    if not isinstance(card.seeds, Sequence) or not all(_whole(s) for s in card.seeds):
        found.append(f"seeds is {card.seeds!r}, expected whole numbers")
    if not isinstance(card.notes, tuple) or not all(isinstance(n, str) for n in card.notes):
        found.append(f"notes is {card.notes!r}, expected texts")
    for name in ("data_hash", "split_hash"):
        value = getattr(card, name)
        if value is not None and not (isinstance(value, str) and _HASH.fullmatch(value)):
            found.append(f"{name} is {value!r}, expected 64 hexadecimal digits (SHA-256) or None")
    for name in ("config", "environment"):
        if not isinstance(getattr(card, name), Mapping):
            found.append(f"{name} is not a mapping of settings by name")
    if not isinstance(card.comparable_to_paper, bool):
        found.append(f"comparable_to_paper is {card.comparable_to_paper!r}, expected true or false")
    elif card.comparable_to_paper and card.paper_value is None:
        found.append("comparable_to_paper is set without a paper_value")
    if card.interval is not None and not isinstance(card.interval, Interval):
        found.append(f"interval is {card.interval!r}, expected an Interval or None")
    elif card.interval is not None and _number(card.value):
        slack = 1e-9
        if not card.interval.low - slack <= card.value <= card.interval.high + slack:
            found.append(
                f"interval {card.interval.low} to {card.interval.high} does not hold the value "
                f"{card.value}"
            )
    return found
