"""Class sets: the ordered classes of a task, with the names that prompts are made of."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ski_data.errors import InputError
from ski_data.folders import whole_file
from ski_data.text import read_text


@dataclass(frozen=True)
class ClassSet:
    """Ordered classes; the label of a class is its position.

    Attributes:
        ids: What the data set calls each class (``A001``), or its label.
        names: Plain English, as it stands in prompts.
        descriptions: Longer texts, one per class, if there are any.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    descriptions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.ids:
            problems.append("there are no classes")
        if len(self.names) != len(self.ids):
            problems.append(f"{len(self.ids)} ids but {len(self.names)} names")
        if self.descriptions is not None and len(self.descriptions) != len(self.ids):
            problems.append(f"{len(self.ids)} ids but {len(self.descriptions)} descriptions")
        for what, values in (("id", self.ids), ("name", self.names)):
            seen: set[str] = set()
            for value in values:
                if not value.strip():
                    problems.append(f"an empty {what}")
                elif value in seen:
                    problems.append(f"{what} {value!r} twice")
                seen.add(value)
        if problems:
            raise InputError("class set: " + "; ".join(problems))

    @classmethod
    def from_names(cls, names: Sequence[str]) -> ClassSet:
        """Classes known by their names only; ids are the labels."""
        return cls(tuple(str(label) for label in range(len(names))), tuple(names))

    def __len__(self) -> int:
        return len(self.ids)

    def label(self, id_or_name: str) -> int:
        """The label of the class with this id or name.

        Raises:
            InputError: No such class.
        """
        for values in (self.ids, self.names):
            if id_or_name in values:
                return values.index(id_or_name)
        known = ", ".join(self.names[:12]) + (", ..." if len(self) > 12 else "")
        raise InputError(f"unknown class {id_or_name!r}; the {len(self)} known ones: {known}")

    def subset(self, labels: Sequence[int]) -> ClassSet:
        """The classes with these labels, in this order."""
        wrong = [label for label in labels if not 0 <= label < len(self)]
        if wrong:
            raise InputError(f"labels must be in 0..{len(self) - 1}, not {wrong}")
        return ClassSet(
            tuple(self.ids[label] for label in labels),
            tuple(self.names[label] for label in labels),
            None
            if self.descriptions is None
            else tuple(self.descriptions[label] for label in labels),
        )


def read_classes(path: Path | str) -> ClassSet:
    """Read a label file: CSV with the header ``id,name`` or ``id,name,description``.

    Raises:
        MissingFileError: There is no such file.
        InputError: Another header, a row of another length, ids that are numbers but not 0, 1, 2
            ..., repeated ids or names; the text names file and line.
    """
    return parse_classes(read_text(path, "class file"), str(path))


def parse_classes(text: str, path: str) -> ClassSet:
    """What :func:`read_classes` does, on the file's text; ``path`` is only for messages."""
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header, *content = [(reader.line_num, row) for row in reader] or [(1, [])]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; check the quotes") from None
    _, header = header
    if header not in (["id", "name"], ["id", "name", "description"]):
        raise InputError(
            f"{path}, line 1: the header must be id,name or id,name,description, not "
            f"{','.join(header)!r}"
        )
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, row in content:
        if not row:
            continue
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}: {len(header)} columns expected, found {len(row)}"
                " (put names with commas in double quotes)"
            )
        for key, value, earlier in zip(header[:2], row, zip(*rows, strict=True), strict=False):
            if value in earlier:
                raise InputError(
                    f"{path}, line {line}: {key} {value!r} stands already in line "
                    f"{lines[earlier.index(value)]}; remove one"
                )
        rows.append(row)
        lines.append(line)
    if rows and all(re.fullmatch("[0-9]+", row[0]) for row in rows):
        for label, (line, row) in enumerate(zip(lines, rows, strict=True)):
            if row[0] != str(label):
                raise InputError(
                    f"{path}, line {line}: id {row[0]} where {label} is due; labels are 0, 1, "
                    "2 ... in order"
                )
    columns = list(zip(*rows, strict=True)) or [(), ()]
    try:
        return ClassSet(columns[0], columns[1], columns[2] if len(columns) == 3 else None)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_classes(path: Path | str, classes: ClassSet) -> None:
    """Write a label file that :func:`read_classes` reads.

    Raises:
        ExistingOutputError: The file is there already.
        SkiDataError: It cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [classes.ids, classes.names]
    header = ["id", "name"]
    if classes.descriptions is not None:
        columns.append(classes.descriptions)
        header.append("description")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    with whole_file(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="\n")
