"""Zero-shot splits: which classes are seen in training and which are not, by name and hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from ski_data.classes import ClassSet, parse_classes
from ski_data.errors import InputError
from ski_data.folders import whole_file
from ski_data.text import read_text

_RESOURCES = files("ski_data") / "resources"
_OFFICIAL = {
    "ntu60/55-5": "zsl_55-5",
    "ntu60/48-12": "zsl_48-12",
    "ntu120/110-10": "zsl_110-10",
    "ntu120/96-24": "zsl_96-24",
}


class DataSet(NamedTuple):
    """A data set whose class names come with the package."""

    title: str
    file: str
    """Label file among the package's resources; its first classes are meant."""
    classes: int


DATASETS: Mapping[str, DataSet] = {
    "ntu60": DataSet("NTU RGB+D 60", "ntu120_actions.csv", 60),
    "ntu120": DataSet("NTU RGB+D 120", "ntu120_actions.csv", 120),
    "pku-mmd": DataSet("PKU-MMD", "pku_mmd_actions.csv", 51),
}
"""By the name that commands and recipes take."""


@dataclass(frozen=True)
class ZeroShotSplit:
    """A named partition of a data set's classes.

    Attributes:
        name: ``DATASET/SPLIT``, for example ``ntu60/55-5``.
        seen: Classes of training, in the order of their labels.
        unseen: Classes that training never sees.
        seen_actions: Per seen class its number, from 1, in the data set's whole class list.
        unseen_actions: The same for the unseen classes.
    """

    name: str
    seen: ClassSet
    unseen: ClassSet
    seen_actions: tuple[int, ...]
    unseen_actions: tuple[int, ...]

    def __post_init__(self) -> None:
        problems = []
        if len(self.seen) != len(self.seen_actions):
            problems.append("seen classes and seen actions differ in number")
        if len(self.unseen) != len(self.unseen_actions):
            problems.append("unseen classes and unseen actions differ in number")
        both = (*self.seen_actions, *self.unseen_actions)
        if len(set(both)) != len(both):
            problems.append("an action stands twice")
        if min(both, default=1) < 1:
            problems.append("actions are numbered from 1")
        shared = set(self.seen.ids) & set(self.unseen.ids)
        if shared:
            problems.append(f"both seen and unseen: {sorted(shared)}")
        if problems:
            raise InputError(f"split {self.name}: " + "; ".join(problems))

    @property
    def hash(self) -> str:
        """SHA-256 over which actions are seen and which unseen, in order, and their names.

        Of the ASCII text ``[[[action, name], ...], [[action, name], ...]]``, the seen and then the
        unseen, as JSON without blanks. Results carry it: two are comparable if it is the same. The
        split's own name does not count.
        """
        content = [
            [[action, name] for action, name in zip(actions, classes.names, strict=True)]
            for actions, classes in (
                (self.seen_actions, self.seen),
                (self.unseen_actions, self.unseen),
            )
        ]
        text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def split_names() -> list[str]:
    """The splits that :func:`zero_shot_split` knows."""
    return [f"{data}/{name}" for data, splits in _table().items() for name in splits]


def dataset_classes(dataset: str) -> ClassSet:
    """All classes of one of ``DATASETS``, in the data set's order.

    Raises:
        InputError: Unknown data set.
    """
    if dataset not in DATASETS:
        raise InputError(f"unknown data set {dataset!r}; known: {', '.join(DATASETS)}")
    known = DATASETS[dataset]
    return _read(known.file).subset(range(known.classes))


def zero_shot_split(name: str) -> ZeroShotSplit:
    """A published split by name.

    ``ntu60/55-5``, ``ntu60/48-12``, ``ntu120/110-10`` and ``ntu120/96-24`` carry the class names of
    the SKI-Models label files (which differ in a few words from file to file); ``40-20``,
    ``30-30``, ``80-40``, ``60-60`` are those of PURLS, ``smie-1`` to ``smie-3`` the random ones of
    SMIE, the others of ``pku-mmd`` those of STAR.

    Raises:
        InputError: Unknown name; the text lists the known ones.
    """
    dataset, _, short = name.partition("/")
    actions = _table().get(dataset, {}).get(short)
    if actions is None:
        raise InputError(f"unknown split {name!r}; known: {', '.join(split_names())}")
    seen, unseen = actions["seen"], actions["unseen"]
    whole = dataset_classes(dataset)
    parts = []
    for part, numbers in (("base", seen), ("novel", unseen)):
        classes = whole.subset([number - 1 for number in numbers])
        if name in _OFFICIAL:
            official = _read(f"splits/{_OFFICIAL[name]}_{part}_class_labels.csv")
            classes = ClassSet(classes.ids, official.names)
        parts.append(classes)
    return ZeroShotSplit(name, parts[0], parts[1], tuple(seen), tuple(unseen))


def read_split(path: Path | str) -> ZeroShotSplit:
    """Read your own split, a JSON file.

    ``{"name": "adl/20-5", "classes": {"A001": "drink water", ...}, "seen": ["A001", ...],
    "unseen": [...]}``: ``classes`` in the order of the data set, ``seen`` and ``unseen`` in the
    order of their labels.

    Raises:
        MissingFileError: There is no such file.
        InputError: Not JSON, keys missing, an id that is not among the classes, or ids repeated.
    """
    path = Path(path)
    text = read_text(path, "split file")
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    shape = {"name": str, "classes": dict, "seen": list, "unseen": list}
    if (
        not isinstance(data, dict)
        or set(data) != set(shape)
        or not all(isinstance(data[key], kind) for key, kind in shape.items())
    ):
        raise InputError(
            f"{path}: a split has exactly the keys name (text), classes (id to name), seen and "
            "unseen (lists of ids)"
        )
    try:
        ids = list(data["classes"])
        whole = ClassSet(tuple(ids), tuple(str(name) for name in data["classes"].values()))
        numbers = {}
        for part in ("seen", "unseen"):
            unknown = [value for value in data[part] if value not in data["classes"]]
            if unknown:
                raise InputError(f"{part} names ids that are not among the classes: {unknown}")
            numbers[part] = tuple(ids.index(value) + 1 for value in data[part])
        parts = [whole.subset([n - 1 for n in numbers[part]]) for part in ("seen", "unseen")]
        return ZeroShotSplit(data["name"], *parts, numbers["seen"], numbers["unseen"])
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None


def write_split(path: Path | str, split: ZeroShotSplit) -> None:
    """Write a split that :func:`read_split` reads; it must cover actions 1 to K without gaps.

    Raises:
        ExistingOutputError: The file is there already.
        InputError: The split leaves out a class of its data set.
        SkiDataError: The file cannot be written.
    """
    rows = sorted(
        (action, id_, name)
        for actions, classes in (
            (split.seen_actions, split.seen),
            (split.unseen_actions, split.unseen),
        )
        for action, id_, name in zip(actions, classes.ids, classes.names, strict=True)
    )
    if [action for action, _, _ in rows] != list(range(1, len(rows) + 1)):
        raise InputError(f"split {split.name} does not cover its data set's classes")
    data = {
        "name": split.name,
        "classes": {id_: name for _, id_, name in rows},
        "seen": list(split.seen.ids),
        "unseen": list(split.unseen.ids),
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8", newline="\n")


@cache
def _table() -> dict[str, dict[str, dict[str, list[int]]]]:
    table = json.loads((_RESOURCES / "zsl_splits.json").read_text(encoding="utf-8"))
    return {
        data: {name.replace("/", "-"): split for name, split in splits.items()}
        for data, splits in table.items()
    }


@cache
def _read(file: str) -> ClassSet:
    return parse_classes(_RESOURCES.joinpath(file).read_text(encoding="utf-8-sig"), file)
