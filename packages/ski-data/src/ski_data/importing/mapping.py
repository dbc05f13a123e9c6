"""The mapping file of ``ski-data import``: what a source holds and what it is called there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml

from ski_data.classes import ClassSet
from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError, MissingFileError
from ski_data.importing.order import parse_order
from ski_data.layouts import UNITS, axes_matrix, get_layout
from ski_data.store import NUMBERS

_RESOURCES = files("ski_data") / "resources" / "imports"

_OF_STORES = {"name", "clip", "validity", "source", "frames", "bodies", "offset"}

SourceJoint = int | str | tuple[int | str, ...] | None
"""A joint of the source by number from 0 or name, several whose mean is meant, or none."""


@dataclass(frozen=True)
class TableColumns:
    """Columns of .csv, .tsv and .txt files with one frame (of one body) per line.

    Attributes:
        coordinates: Pattern of the columns' names with {joint} and {axis} (x, y or z), for example
            "{joint}_{axis}"; other columns are left alone. By default all columns, in order.
        header: Whether the first line names the columns; by default it does if it is not numbers.
        frame: Column with the number of the frame, by name or by number from 0.
        body: Column that tells bodies apart, alike.
    """

    coordinates: str | None = None
    header: bool | None = None
    frame: str | int | None = None
    body: str | int | None = None

    def __post_init__(self) -> None:
        if self.coordinates is not None:
            column_pattern(self.coordinates, "joint", "axis")
            if self.header is False:
                raise InputError("table: coordinates names columns, so there must be a header")


@dataclass(frozen=True)
class Confidence:
    """How sure the source is of each joint; joints below the threshold become absent.

    Attributes:
        name: Array beside the coordinates, or a pattern of columns with {joint}; by default the
            coordinates' own array, whose ``channel`` 3 is meant. May be filled in like ``name``.
        channel: Which channel of the array, from 0; by default the array has none.
        threshold: Least value of a joint that counts as seen.
    """

    name: str | None = None
    channel: int | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.name is None and self.channel != 3:
            raise InputError(
                "confidence: give the name of an array or of columns, or channel: 3 if it stands "
                "behind x, y and z in the coordinates' own array"
            )
        if self.channel is not None and self.channel < 0:
            raise InputError(f"confidence: channel must be 0 or more, not {self.channel}")


@dataclass(frozen=True)
class ImportMapping:
    """How a source is laid out; what is null or left out is not there.

    Attributes:
        layout: Joint layout of the source, or of what ``joints`` makes of it.
        target: ``kinect25`` to convert, ``keep`` to store the layout's own joints.
        units: Of the coordinates: metres, centimetres or millimetres.
        axes: Where x (right), y (up) and z come from, for example [x, z, -y] for z-up data; by
            default as the layout is published.
        order: Axes of the arrays: T frames, V joints, C coordinates, M bodies, N clips; brackets
            hold axes that are one in the array, as in T(VC). By default T(VC), TVC or MTVC by the
            number of dimensions.
        bodies: M of the store's clips; a clip with more bodies is refused.
        frames: First frame and the one behind the last, [10, 50] or [10, null].
        missing: How the source writes a joint that it does not have: ``nan`` or ``zeros``.
        confidence: See :class:`Confidence`.
        joint_names: Names of the source's joints in order, or the array that holds them.
        joints: For each joint of the layout the source's: a name, a number from 0, a list whose
            mean is meant, or null. Not needed where the names are those of the layout.
        table: See :class:`TableColumns`.
        array: Coordinates in .npz and .mat files; may be filled in like ``name``.
        offsets: (N + 1,) first row of each clip, where one .npz has all clips end to end.
        files: Which files of a folder, for example "**/*.bvh"; by default all of known kinds.
        pattern: Regular expression that a file's path below the folder must match; its named
            groups become columns. By default the file's folder is its ``class_name``.
        file: The file of a manifest's row, with columns in braces.
        video: Its video, alike; rows with videos are listed in a manifest beside the store.
        label: Array or column with the class of each clip, a number or in manifests a name.
        class_name: Column with the name of the class.
        first_label: Number of the first class in the source.
        class_names: (K,) array with the names of the classes.
        classes: Names of the classes, or a label file (id,name) beside the source; by default the
            names that occur, sorted.
        subject: Array or column with the person of each clip; ``camera``, ``setup`` and
            ``replication`` alike. Columns of these names need not be mentioned.
        camera: See ``subject``.
        setup: See ``subject``.
        replication: See ``subject``.
        fields: Further columns of the store and their arrays (one value per clip or for all) or
            columns.
        constants: Columns of the store with one value for all clips.
        name: Names of the clips, with {row}, {label}, {class_name}, {subject} ..., the columns and
            the fields; by default the row of an .npz, and elsewhere the column ``name`` or else
            the file.
    """

    layout: str = "kinect25"
    target: Literal["kinect25", "keep"] = "kinect25"
    units: str = "metres"
    axes: tuple[str, str, str] | None = None
    order: str | None = None
    bodies: int = 1
    frames: tuple[int, int | None] | None = None
    missing: Literal["nan", "zeros"] | None = None
    confidence: Confidence | None = None
    joint_names: str | tuple[str, ...] | None = None
    joints: dict[str, SourceJoint] | None = None
    table: TableColumns = field(default_factory=TableColumns)
    array: str = "joints"
    offsets: str = "offsets"
    files: str | None = None
    pattern: str | None = None
    file: str = "{skeleton}"
    video: str = "{video}"
    label: str | None = "label"
    class_name: str | None = None
    first_label: int = 0
    class_names: str | None = None
    classes: str | tuple[str, ...] | None = None
    subject: str | None = None
    camera: str | None = None
    setup: str | None = None
    replication: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    constants: dict[str, int | float | str] = field(default_factory=dict)
    name: str | None = None

    def __post_init__(self) -> None:
        problems = [*self._joint_problems(), *self._row_problems()]
        if self.bodies < 1:
            problems.append(f"bodies must be at least 1, not {self.bodies}")
        if self.frames is not None:
            first, end = self.frames
            if first < 0 or (end is not None and end <= first):
                problems.append(
                    f"frames must be [first, end] with 0 <= first < end, not {list(self.frames)}"
                )
        if problems:
            raise InputError("; ".join(problems))
        get_layout(self.layout)
        check_units(self.units)
        if self.axes is not None:
            axes_matrix(self.axes)
        if self.order is not None:
            parse_order(self.order)
        if isinstance(self.classes, tuple):
            ClassSet.from_names(self.classes)

    def _joint_problems(self) -> list[str]:
        if self.joints is None:
            return []
        known = get_layout(self.layout).joints
        unknown = [name for name in self.joints if name not in known]
        lacking = [name for name in known if name not in self.joints]
        problems = []
        if unknown:
            problems.append(
                f"joints: {', '.join(unknown)} not in layout {self.layout}, which has "
                f"{', '.join(known)}"
            )
        if lacking:
            problems.append(
                f"joints: {', '.join(lacking)} of layout {self.layout} not mentioned; write null "
                "for a joint that the source does not have"
            )
        if any(theirs == () for theirs in self.joints.values()):
            problems.append("joints: a list names at least one joint; null means none")
        return problems

    def _row_problems(self) -> list[str]:
        problems = []
        if self.class_names is not None and self.classes is not None:
            problems.append("give class_names (an array's name) or classes (the names), not both")
        doubled = sorted(set(self.fields) & set(self.constants))
        if doubled:
            problems.append(f"{', '.join(doubled)} in fields and in constants; keep one")
        taken = sorted({*self.fields, *self.constants} & _OF_STORES)
        taken += sorted(set(self.fields) & set(NUMBERS))
        if taken:
            problems.append(f"fields and constants cannot be named {', '.join(taken)}")
        for key in NUMBERS:
            if not isinstance(self.constants.get(key, 0), int):
                problems.append(f"constants: {key} must be a whole number")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except (re.error, RecursionError, OverflowError) as error:
                problems.append(f"pattern {self.pattern!r} is no regular expression ({error})")
        return problems


def check_units(units: str) -> float:
    """Metres in one of ``units``.

    Raises:
        InputError: Pixels, or an unknown unit.
    """
    lengths = [name for name, metres in UNITS.items() if metres is not None]
    if units in ("pixels", "pixel", "px"):
        raise InputError(
            "units: pixels are no length, and joints in an image have no depth; lift them to 3D "
            f"with a pose lifter first and give its unit: {', '.join(lengths)}"
        )
    metres = UNITS.get(units)
    if metres is None:
        raise InputError(
            f"units: unknown unit {units!r}; known: {', '.join(lengths)}. Scale joints in other "
            "units, or without one, to one of these first"
        )
    return metres


def column_pattern(pattern: str, *placeholders: str) -> re.Pattern[str]:
    """A pattern of column names such as ``{joint}_{axis}`` as a regular expression.

    Raises:
        InputError: Other placeholders than these, each once.
    """
    found = re.findall(r"{(.*?)}", pattern)
    if sorted(found) != sorted(placeholders):
        wanted = " and ".join(f"{{{name}}}" for name in placeholders)
        raise InputError(f"pattern of columns {pattern!r} must have {wanted} once and no others")
    text = re.escape(pattern)
    for name in placeholders:
        inside = "[xyzXYZ]" if name == "axis" else ".+?"
        text = text.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{inside})")
    return re.compile(text)


def import_names() -> list[str]:
    """The mappings that come with the package."""
    return sorted(Path(entry.name).stem for entry in _RESOURCES.iterdir())


def read_mapping(mapping: str | None) -> ImportMapping:
    """A mapping by the path of a YAML file or by the name of a shipped one; None is the default.

    Raises:
        MissingFileError: Neither.
        InputError: Unknown keys or values in it.
    """
    if mapping is None:
        return ImportMapping()
    if mapping in import_names():
        content = yaml.safe_load((_RESOURCES / f"{mapping}.yaml").read_text(encoding="utf-8"))
    elif Path(mapping).is_file():
        content = read_yaml(mapping)
    else:
        raise MissingFileError(
            f"{mapping}: neither a mapping file nor one of {', '.join(import_names())}"
        )
    try:
        return from_plain(ImportMapping, content or {}, mapping)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(mapping) else f"{mapping}: {text}") from None
