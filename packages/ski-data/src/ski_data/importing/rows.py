"""Rows to import: one per clip, with its name, class, numbers and where its coordinates are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.importing.clips import fill_in
from ski_data.importing.coordinates import Coordinates
from ski_data.importing.mapping import ImportMapping
from ski_data.ntu.names import parse_name
from ski_data.store import NUMBERS

_UNTEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """One clip to import.

    Attributes:
        number: From 1, in the order of the source.
        where: What to call it in errors, such as ``row 3 (line 4)``.
        file: The file that holds it.
        name: Of the clip in the store.
        label: Its class, if the source says a number.
        class_name: The same, if it says a name.
        fields: Other columns of the store.
        load: Reads its coordinates.
        video: Its video, if the source names one.
        caption: What is seen, if the source says it.
        origin: Where the clip is from, if the source says it.
    """

    number: int
    where: str
    file: str
    name: str
    label: int | None
    class_name: str | None
    fields: dict[str, Any]
    load: Callable[[], Coordinates]
    video: Path | None = None
    caption: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be imported, and why."""

    row: int
    where: str
    file: str
    problem: str


@dataclass
class Listing:
    """Rows of a source, those that are rejected, and the classes where the source has them."""

    rows: list[Row]
    rejected: list[Rejected]
    classes: ClassSet | None = None

    def attempt(self, number: int, where: str, file: str, make: Callable[[], Row]) -> None:
        """Add the row that ``make`` gives, or its error."""
        try:
            self.rows.append(make())
        except InputError as error:
            self.rejected.append(Rejected(number, where, file, str(error)))


def make_row(
    number: int,
    where: str,
    file: str,
    values: Mapping[str, Any],
    mapping: ImportMapping,
    classes: ClassSet | None,
    load: Callable[[], Coordinates],
    *,
    name: str | None,
    video: Path | None = None,
) -> Row:
    """A row from the columns of a source.

    Args:
        number: See :class:`Row`, as the other arguments.
        where: See there.
        file: See there.
        values: Columns of the source by its own names; None is no value.
        mapping: Says which column is what.
        classes: For ``{class_name}`` in names.
        load: See :class:`Row`.
        name: Path of the clip below its folder, which gives the default name; None for its row.
        video: See :class:`Row`.

    Raises:
        InputError: A column is missing, or its value cannot be used.
    """
    label, class_name = _class_of(values, mapping)
    fields: dict[str, Any] = {}
    stem, ntu = (str(number - 1), {}) if name is None else _identity(name)
    for key in NUMBERS:
        if key != "label":
            value = values.get(getattr(mapping, key) or key)
            fields[key] = ntu.get(key, -1) if value is None else _whole(value, key)
    for key, column in mapping.fields.items():
        value = values.get(column)
        if not isinstance(value, (int, float, str)):
            told = "nothing" if value is None else repr(value)[:40]
            raise InputError(f"column {column!r} must hold a number or a text, it holds {told}")
        fields[key] = value
    fields |= mapping.constants
    if "label" in mapping.constants:
        label = int(fields.pop("label"))
    shown = class_name
    if shown is None and classes is not None and label is not None and 0 <= label < len(classes):
        shown = classes.names[label]
    known = dict(values) | fields | {"row": number - 1, "label": label}
    known["class_name"] = (str(label) if shown is None else shown).replace(" ", "-")
    named = _text(values, "name") or stem
    if mapping.name is not None:
        named = fill_in(mapping.name, with_stems(known), "name")
    if not named.strip() or _UNTEXT.search(named):
        raise InputError(f"name {named!r} is empty or holds a character that no text may have")
    return Row(
        number,
        where,
        file,
        named,
        label,
        class_name,
        fields,
        load,
        video,
        _text(values, "caption"),
        _text(values, "source"),
    )


def _text(values: Mapping[str, Any], column: str) -> str | None:
    value = values.get(column)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{column} must be a text, not {value!r}")
    return value


def with_stems(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values and, for texts, ``KEY_stem``: a path without ending, ``__`` for its slashes."""
    stems = {
        f"{key}_stem": _without_ending(value).replace("/", "__")
        for key, value in values.items()
        if isinstance(value, str)
    }
    return stems | dict(values)


def check_columns(columns: Collection[str], mapping: ImportMapping, where: str) -> None:
    """The columns that the mapping names are there, if only in some rows.

    Raises:
        InputError: One that is not.
    """
    named = {key: getattr(mapping, key) for key in (*NUMBERS, "class_name")} | mapping.fields
    for key, column in named.items():
        if column is not None and column not in columns and (key, column) != ("label", "label"):
            raise InputError(
                f"{where}: no column {column!r} for {key}; there are "
                f"{', '.join(sorted(columns)) or 'none'}"
            )


def _class_of(values: Mapping[str, Any], mapping: ImportMapping) -> tuple[int | None, str | None]:
    """Number from 0 and name of the class, as far as the source says them."""
    label = None if mapping.label is None else values.get(mapping.label)
    class_name = values.get(mapping.class_name or "class_name")
    if class_name is not None and not isinstance(class_name, str):
        raise InputError(f"class name {class_name!r} must be a text")
    if isinstance(label, str) and not re.fullmatch(r"-?\d{1,18}", label, re.ASCII):
        if class_name is not None:
            raise InputError(f"label {label!r} and class name {class_name!r}: one must be a number")
        label, class_name = None, label
    if label is None:
        return None, class_name
    number = _whole(label, "label")
    if number < mapping.first_label:
        raise InputError(
            f"label {number} is out of range; labels start at {mapping.first_label} (first_label "
            "in the mapping)"
        )
    return number - mapping.first_label, class_name


def _whole(value: Any, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column with gaps, as tables of data frames have them
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise InputError(
            f"{what} must be a whole number, not {str(value)[:40]!r}; texts may be kept as fields"
        )
    return int(text)


def _identity(path: str) -> tuple[str, dict[str, int]]:
    """Name and numbers that a file's name gives, by the rule of manifests."""
    stem = PurePosixPath(path).stem.removesuffix("_rgb")
    try:
        numbers = asdict(parse_name(stem))
    except InputError:
        return _without_ending(path), {}
    return stem, {key: numbers[key] for key in NUMBERS if key in numbers}


def _without_ending(path: str) -> str:
    pure = PurePosixPath(path)
    return pure.with_suffix("").as_posix() if pure.name.strip(".") else path


def settle(listing: Listing) -> None:
    """Give each row its number in one class set, and fields one kind per column; in place.

    Classes are the listing's own, else those that the rows name: by their numbers where rows have
    both, sorted where they have names only. Rows that do not fit become rejected ones.
    """
    if listing.classes is None:
        listing.classes = _named_classes(listing.rows)
    classes, kept = listing.classes, []
    for row in listing.rows:
        try:
            kept.append(replace(row, label=_number(row, classes)))
        except InputError as error:
            listing.rejected.append(Rejected(row.number, row.where, row.file, str(error)))
    listing.rows[:] = kept
    for key in kept[0].fields if kept else ():
        values = _one_kind([row.fields[key] for row in kept])
        for row, value in zip(kept, values, strict=True):
            row.fields[key] = value


def _named_classes(rows: Sequence[Row]) -> ClassSet | None:
    names = sorted({row.class_name for row in rows if row.class_name is not None})
    if not names:
        return None
    if all(row.label is None for row in rows):
        return ClassSet.from_names(names)
    by_number: dict[int, str] = {}
    for row in rows:
        if row.label is not None and row.class_name is not None:
            by_number.setdefault(row.label, row.class_name)
    listed = [by_number[number] for number in sorted(by_number)]
    if sorted(by_number) != list(range(len(by_number))) or len(set(listed)) != len(listed):
        found = ", ".join(f"{number} {by_number[number]}" for number in sorted(by_number)[:12])
        raise InputError(
            f"labels and class names do not make classes 0, 1, 2 ... with one name each ({found}); "
            "list the names in the mapping: classes: [...]"
        )
    return ClassSet.from_names(listed)


def _number(row: Row, classes: ClassSet | None) -> int | None:
    label, name = row.label, row.class_name
    if name is not None:
        assert classes is not None  # made from the names if not given
        number = classes.label(name)
        if label is not None and label != number:
            raise InputError(f"label {label} is class {number}, {name!r}, by its name; correct one")
        return number
    if label is not None and classes is not None and label >= len(classes):
        raise InputError(f"label {label} is out of range; allowed: 0..{len(classes) - 1}")
    return label


def _one_kind(values: list[Any]) -> list[Any]:
    """All as whole numbers, else all as numbers, else all as texts; "007" stays a text."""
    texts = [str(value) for value in values]
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text, re.ASCII) for text in texts):
        return [int(text) for text in texts]
    number = r"-?(0|[1-9]\d*)(\.\d+)?"
    if all(
        isinstance(value, float) or re.fullmatch(number, text, re.ASCII)
        for value, text in zip(values, texts, strict=True)
    ):
        return [float(text) for text in texts]
    return texts
