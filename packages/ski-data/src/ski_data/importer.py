"""Your own joints into a skeleton store.

A source is one ``.npz`` with all clips end to end, a manifest whose rows name ``.npy`` or ``.npz``
files, or a community NTU archive (``x_train``, ``y_train``, ...). A mapping, YAML of
:class:`ImportMapping`, says what its arrays are called and how its joints are laid out.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from ski_data.classes import ClassSet
from ski_data.config import from_plain, read_yaml
from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import KINECT25, axes_matrix, convert, get_layout, joint_validity
from ski_data.manifest import FORMATS, read_manifest
from ski_data.ntu.archive import archive_rows, read_archive
from ski_data.ntu.names import parse_name
from ski_data.progress import Progress
from ski_data.skeleton import row_to_clip, valid_frames
from ski_data.splits import dataset_classes
from ski_data.store import NUMBERS, StoreWriter

log = logging.getLogger(__name__)

Units = Literal["metres", "centimetres", "millimetres"]
_METRES = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001}
_SHOWN = 20
_RESOURCES = files("ski_data") / "resources" / "imports"


@dataclass(frozen=True)
class ImportMapping:
    """How a source is laid out. Array names are those of the ``.npz``; null means there is none.

    Attributes:
        layout: Joint layout of the source.
        target: ``kinect25`` to convert, ``keep`` to store the source's own joints.
        units: Of the coordinates.
        axes: Where x (right), y (up) and z come from, for example [x, z, -y] for z-up data; by
            default as the layout is published.
        bodies: M of the store's clips.
        joints: Coordinates: (R, V, 3) for all clips end to end, or in a file per clip (T, V, 3) or
            (M, T, V, 3).
        offsets: (N + 1,) first row of each clip, and the number of rows.
        label: (N,) class of each clip, from 0.
        class_names: (K,) names of the classes.
        classes: Names of the classes where the source has no such array.
        subject: (N,) person of each clip; ``camera``, ``setup`` and ``replication`` alike.
        camera: See ``subject``.
        setup: See ``subject``.
        replication: See ``subject``.
        fields: Further columns of the store and their arrays, (N,) or one value for all.
        name: Names of the clips, with {row}, {label}, {class_name}, {subject} ... and the fields.
    """

    layout: str = "kinect25"
    target: Literal["kinect25", "keep"] = "kinect25"
    units: Units = "metres"
    axes: tuple[str, str, str] | None = None
    bodies: int = 1
    joints: str = "joints"
    offsets: str = "offsets"
    label: str | None = "label"
    class_names: str | None = None
    classes: tuple[str, ...] | None = None
    subject: str | None = None
    camera: str | None = None
    setup: str | None = None
    replication: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    name: str = "{row}"

    def __post_init__(self) -> None:
        get_layout(self.layout)
        if self.axes is not None:
            axes_matrix(self.axes)
        if self.bodies < 1:
            raise InputError(f"bodies must be at least 1, not {self.bodies}")
        if self.class_names is not None and self.classes is not None:
            raise InputError("give class_names (an array's name) or classes (the names), not both")
        if self.classes is not None:
            ClassSet.from_names(self.classes)


def import_names() -> list[str]:
    """The mappings that come with the package."""
    return sorted(Path(entry.name).stem for entry in _RESOURCES.iterdir())


def read_mapping(mapping: str | None) -> ImportMapping:
    """A mapping by the path of a YAML file or by the name of a shipped one; None is the default.

    Raises:
        InputError: Neither, or unknown keys or values in it.
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


def import_skeletons(source: str, out: str, mapping: str | None = None) -> None:
    """Import joints into a skeleton store.

    Coordinates become metres, y up; nothing else is moved. If rows cannot be used, all of them are
    listed with their numbers and nothing is written.

    Args:
        source: .npz with all clips, manifest (.csv, .jsonl, .parquet) that names .npy or .npz
            files, or a community NTU archive.
        out: Store to make; it must not be there yet.
        mapping: YAML file, or ui_prmd, hdm05, bandai_namco_1, bandai_namco_2.

    Raises:
        MissingFileError: The source or the mapping is not there.
        InputError: Arrays missing or of wrong shapes, or rows that cannot be used.
        ExistingOutputError: ``out`` is there already.
    """
    path = Path(source)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    if path.suffix.lower() in FORMATS:
        settings = read_mapping(mapping)
        _write(path, out, settings, *_from_manifest(path, settings))
        return
    if _is_archive(path):
        if mapping is not None:
            raise InputError(f"{path}: an NTU archive needs no mapping")
        _import_archive(path, out)
        return
    arrays = _load(path)
    if not isinstance(arrays, dict):
        raise InputError(f"{path}: an .npz or a manifest ({', '.join(FORMATS)}) expected")
    settings = read_mapping(mapping)
    _write(path, out, settings, *_from_arrays(path, arrays, settings))


@dataclass(frozen=True)
class _Row:
    """One clip to import: its name, its fields and where its (M, T, V, 3) coordinates come from."""

    number: int
    name: str
    fields: dict[str, int | float | str]
    joints: np.ndarray | Path


def _write(
    path: Path, out: str, mapping: ImportMapping, classes: ClassSet | None, rows: list[_Row]
) -> None:
    source = get_layout(mapping.layout)
    target = source if mapping.target == "keep" else KINECT25
    problems: list[str] = []
    writer = StoreWriter(
        out,
        target,
        bodies=mapping.bodies,
        classes=classes,
        validity=joint_validity(source, target).tolist(),
    )
    with writer, Progress(f"import {path.name}", len(rows)) as progress:
        for done, row in enumerate(rows, 1):
            try:
                joints = _joints_of(row, mapping)
                bad = np.argwhere(~np.isfinite(joints))
                if len(bad):
                    body, frame, joint, _ = bad[0]
                    raise InputError(
                        f"{len(bad)} coordinates are not finite numbers, first: frame {frame}, "
                        f"joint {source.joints[joint]}, body {body}"
                    )
                scaled = joints.astype(np.float32) * np.float32(_METRES[mapping.units])
                converted, _ = convert(scaled, source, target, mapping.axes)
                clip = converted.transpose(3, 1, 2, 0)
                writer.add(row.name, clip, source=path.name, **row.fields)
            except (InputError, MissingFileError) as error:
                problems.append(f"row {row.number}: {error}")
            progress.update(done)
        if problems:
            more = len(problems) - _SHOWN
            if len(problems) == 1:
                raise InputError(f"{path}, {problems[0]}; nothing was written")
            text = "\n  ".join(problems[:_SHOWN]) + (f"\n  and {more} more" if more > 0 else "")
            raise InputError(
                f"{path}: {len(problems)} of {len(rows)} rows cannot be imported, nothing was "
                f"written\n  {text}"
            )
    log.info("%s: %d clips", out, len(rows))


def _joints_of(row: _Row, mapping: ImportMapping) -> np.ndarray:
    joints = row.joints
    if isinstance(joints, Path):
        loaded = _load(joints)
        if isinstance(loaded, dict):
            if mapping.joints not in loaded:
                raise InputError(f"{joints}: no array {mapping.joints!r}, found {sorted(loaded)}")
            loaded = loaded[mapping.joints]
        joints = loaded
    if joints.ndim == 3:
        joints = joints[None]
    count = len(get_layout(mapping.layout).joints)
    if joints.ndim != 4 or joints.shape[2:] != (count, 3) or not _is_number(joints):
        raise InputError(
            f"numbers (T, {count}, 3) or (M, T, {count}, 3) expected for layout {mapping.layout}, "
            f"found {joints.dtype} {joints.shape}"
        )
    return joints


def _from_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], mapping: ImportMapping
) -> tuple[ClassSet | None, list[_Row]]:
    def get(name: str) -> np.ndarray:
        if name not in arrays:
            raise InputError(
                f"{path}: no array {name!r}, found {', '.join(sorted(arrays))}; say in a mapping "
                "file what the arrays are called"
            )
        return arrays[name]

    joints, offsets = get(mapping.joints), get(mapping.offsets)
    if joints.ndim < 3:
        raise InputError(f"{path}: {mapping.joints} must be (R, V, 3), not {joints.shape}")
    if offsets.ndim != 1 or len(offsets) < 2 or not np.issubdtype(offsets.dtype, np.integer):
        raise InputError(f"{path}: {mapping.offsets} must be whole numbers (N + 1,), N > 0")
    if offsets[0] != 0 or offsets[-1] != len(joints) or (np.diff(offsets) < 0).any():
        raise InputError(
            f"{path}: {mapping.offsets} must rise from 0 to {len(joints)}, the rows of "
            f"{mapping.joints}"
        )
    count = len(offsets) - 1
    sources = {key: getattr(mapping, key) for key in NUMBERS} | mapping.fields
    columns: dict[str, list[Any]] = {}
    for key, name in sources.items():
        if name is None:
            continue
        values = get(name)
        if values.ndim > 1 or (values.ndim == 1 and len(values) != count):
            raise InputError(
                f"{path}: {name} must hold one value for each of the {count} clips, not "
                f"{values.shape}"
            )
        if key in NUMBERS and not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"{path}: {name} must be whole numbers, not {values.dtype}")
        columns[key] = np.broadcast_to(values, count).tolist()
    names = mapping.classes
    if mapping.class_names is not None:
        names = tuple(str(name) for name in get(mapping.class_names))
    classes = None if names is None else ClassSet.from_names(names)
    rows = []
    for i in range(count):
        fields = {key: values[i] for key, values in columns.items()}
        rows.append(
            _Row(
                i + 1,
                _clip_name(mapping.name, i, fields, classes, f"{path}, row {i + 1}"),
                fields,
                joints[offsets[i] : offsets[i + 1]],
            )
        )
    return classes, rows


def _clip_name(
    pattern: str, i: int, fields: Mapping[str, Any], classes: ClassSet | None, where: str
) -> str:
    label = fields.get("label", -1)
    known = classes is not None and 0 <= label < len(classes)
    class_name = classes.names[label].replace(" ", "-") if classes and known else str(label)
    values = dict(fields) | {"row": i, "class_name": class_name}
    try:
        return pattern.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{where}: name {pattern!r} cannot be filled in ({error!r}); known: "
            f"{', '.join(sorted(values))}"
        ) from None


def _from_manifest(path: Path, mapping: ImportMapping) -> tuple[ClassSet | None, list[_Row]]:
    classes = None if mapping.classes is None else ClassSet.from_names(mapping.classes)
    rows = []
    for i, record in enumerate(read_manifest(path, classes), 1):
        if record.skeleton is None:
            raise InputError(f"{path}, row {i}: no skeleton file named")
        values = {key: getattr(record, key) for key in NUMBERS}
        fields = {key: -1 if value is None else value for key, value in values.items()}
        rows.append(_Row(i, record.name, fields, record.skeleton))
    return classes, rows


def _import_archive(path: Path, out: str) -> None:
    parts = read_archive(path)
    counts = sorted({part.classes for part in parts.values()})
    if counts not in ([60], [120]):
        raise InputError(f"{path}: {counts} classes, NTU archives have 60 or 120")
    total = sum(len(part.labels) for part in parts.values())
    known = dataset_classes("ntu60" if counts == [60] else "ntu120")
    writer = StoreWriter(out, KINECT25, bodies=2, classes=known)
    done = 0
    with writer, Progress(f"import {path.name}", total) as progress:
        for half, part in parts.items():
            for i, (row, label) in enumerate(
                zip(archive_rows(path, half, len(part.labels)), part.labels.tolist(), strict=True)
            ):
                name = f"{half}-{i:06d}" if part.names is None else part.names[i]
                clip = row_to_clip(row)
                clip = clip[:, : valid_frames(clip), :, : 2 if clip[..., 1].any() else 1]
                try:
                    writer.add(
                        name, clip, source=path.name, label=label, split=half, **_numbers(name)
                    )
                except InputError as error:
                    raise InputError(f"{path}, row {i + 1} of x_{half}: {error}") from None
                done += 1
                progress.update(done)


def _numbers(name: str) -> dict[str, int]:
    """Subject, camera, setup and replication in an NTU name; nothing from another name."""
    try:
        numbers = asdict(parse_name(name))
    except InputError:
        return {}
    return {key: numbers[key] for key in NUMBERS if key in numbers}


def _is_archive(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "x_train.npy" in archive.namelist()


def _is_number(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"{path}: not a readable .npy or .npz file of numbers (damaged, of another kind, or "
            "with Python objects, which are never loaded)"
        ) from None
