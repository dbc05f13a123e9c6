"""What can be imported: one file with all clips, a manifest, a folder."""

from __future__ import annotations

import csv
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ski_data.classes import ClassSet, read_classes
from ski_data.errors import InputError
from ski_data.importing.arrays import arrange, load_arrays
from ski_data.importing.clips import READERS, fill_in, read_clip
from ski_data.importing.mapping import ImportMapping
from ski_data.importing.order import parse_order
from ski_data.importing.rows import Listing, Rejected, Row, check_columns, make_row, with_stems
from ski_data.manifest import ManifestError
from ski_data.store import NUMBERS
from ski_data.store_format import JOINTS, META
from ski_data.text import read_text

log = logging.getLogger(__name__)

MANIFESTS = (".csv", ".jsonl", ".json", ".parquet")


def given_classes(mapping: ImportMapping, folder: Path) -> ClassSet | None:
    """The classes that the mapping lists or whose label file it names.

    Raises:
        MissingFileError, InputError: No such label file in ``folder``, or a bad one.
    """
    if isinstance(mapping.classes, str):
        return read_classes(folder / mapping.classes)
    return None if mapping.classes is None else ClassSet.from_names(mapping.classes)


def list_arrays(path: Path, mapping: ImportMapping) -> Listing:
    """Rows of one .npz (or .npy) that holds all clips.

    Raises:
        InputError: Arrays are missing or do not fit together.
    """
    loaded = load_arrays(path)
    arrays = {mapping.array: loaded} if isinstance(loaded, np.ndarray) else loaded

    def get(name: str) -> np.ndarray:
        if name not in arrays:
            raise InputError(
                f"{path}: no array {name!r}, found {', '.join(sorted(arrays))}; say in a mapping "
                "file what the arrays are called"
            )
        return arrays[name]

    joints = get(mapping.array)
    axes = [] if mapping.order is None else parse_order(mapping.order)
    if axes[:1] == ["N"]:
        count, starts = len(joints), None
    else:
        if axes[:1] not in ([], ["T"]):
            raise InputError(
                f"{path}: with offsets, clips follow each other along T, so order begins with T, "
                f"or with N if there are no offsets; it is {mapping.order}"
            )
        starts = _offsets(path, get(mapping.offsets), joints, mapping)
        count = len(starts) - 1
    columns: dict[str, list[Any]] = {}
    for key, name in ({key: getattr(mapping, key) for key in NUMBERS} | mapping.fields).items():
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
        if values.dtype.kind not in "biufUS":
            raise InputError(f"{path}: {name} must be numbers or texts, not {values.dtype}")
        columns[name] = np.broadcast_to(values, count).tolist()
    classes = given_classes(mapping, path.parent)
    if mapping.class_names is not None:
        names = np.atleast_1d(get(mapping.class_names))
        classes = ClassSet.from_names([str(name) for name in names])
    listing = Listing([], [], classes)
    for i in range(count):
        clip = joints[i] if starts is None else joints[starts[i] : starts[i + 1]]
        part = slice(None) if starts is None else slice(starts[i], starts[i + 1])
        beside = _of_clip(arrays, mapping, i if starts is None else part)
        listing.attempt(
            i + 1,
            f"row {i + 1}",
            path.name,
            partial(
                make_row,
                i + 1,
                f"row {i + 1}",
                path.name,
                {name: values[i] for name, values in columns.items()},
                mapping,
                classes,
                partial(arrange, clip, beside, mapping, f"array {mapping.array!r}"),
                name=None,
            ),
        )
    return listing


def _offsets(
    path: Path, offsets: np.ndarray, joints: np.ndarray, mapping: ImportMapping
) -> np.ndarray:
    if joints.ndim < 2:
        raise InputError(f"{path}: {mapping.array} must be (R, V, 3), not {joints.shape}")
    if offsets.ndim != 1 or len(offsets) < 2 or not np.issubdtype(offsets.dtype, np.integer):
        raise InputError(f"{path}: {mapping.offsets} must be whole numbers (N + 1,), N > 0")
    if offsets[0] != 0 or offsets[-1] != len(joints) or (np.diff(offsets) < 0).any():
        raise InputError(
            f"{path}: {mapping.offsets} must rise from 0 to {len(joints)}, the rows of "
            f"{mapping.array}"
        )
    return offsets


def _of_clip(
    arrays: Mapping[str, np.ndarray], mapping: ImportMapping, part: slice | int
) -> dict[str, np.ndarray]:
    """Confidence of one clip and the names of the joints, by the names of their arrays."""
    beside = {}
    if isinstance(mapping.joint_names, str) and mapping.joint_names in arrays:
        beside[mapping.joint_names] = arrays[mapping.joint_names]
    name = None if mapping.confidence is None else mapping.confidence.name
    if name in arrays:
        beside[name] = arrays[name][part]
    return beside


def list_folder(path: Path, mapping: ImportMapping) -> Listing:
    """Rows of a folder's files, or of a single file.

    Raises:
        InputError: No files of known kinds.
    """
    if (path / META).is_file() and (path / JOINTS).is_file():
        raise InputError(f"{path}: is a skeleton store already; `ski-data merge` joins stores")
    root = path if path.is_dir() else path.parent
    found = sorted(root.glob(mapping.files or "**/*")) if path.is_dir() else [path]
    found = [
        file
        for file in found
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
        and (mapping.files is not None or file.suffix.lower() in READERS)
    ]
    if not found:
        what = mapping.files or f"of known kinds ({', '.join(READERS)})"
        raise InputError(f"{path}: no files {what} in it")
    groups = set() if mapping.pattern is None else set(re.compile(mapping.pattern).groupindex)
    check_columns(groups, mapping, f"{path}: pattern")
    listing = Listing([], [], given_classes(mapping, root))
    for number, file in enumerate(found, 1):
        inside = file.relative_to(root).as_posix()
        listing.attempt(
            number,
            f"row {number} ({inside})",
            inside,
            partial(_file_row, number, file, inside, mapping, listing.classes),
        )
    return listing


def _file_row(
    number: int, file: Path, inside: str, mapping: ImportMapping, classes: ClassSet | None
) -> Row:
    values: dict[str, Any] = {}
    if mapping.pattern is not None:
        match = re.search(mapping.pattern, inside)
        if match is None:
            raise InputError(
                f"the path does not match the mapping's pattern {mapping.pattern!r}; correct it, "
                "or leave the file out with files: '...'"
            )
        values = match.groupdict()
    elif "/" in inside:
        values = {"class_name": Path(inside).parent.name}
    filled = with_stems({"file": inside} | values)
    return make_row(
        number,
        f"row {number} ({inside})",
        inside,
        values,
        mapping,
        classes,
        partial(read_clip, file, mapping, filled),
        name=inside,
    )


def list_manifest(path: Path, mapping: ImportMapping) -> Listing:
    """Rows of a .csv, .jsonl, .json or .parquet manifest.

    Raises:
        InputError: The whole is not readable, or has no rows.
    """
    listing = Listing([], [], given_classes(mapping, path.parent))
    lines = {".csv": _csv, ".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}
    found = list(lines[path.suffix.lower()](path, mapping))
    if not found:
        raise ManifestError(f"{path}: the manifest has no rows")
    columns = {key for _, values in found if not isinstance(values, str) for key in values}
    if columns:
        check_columns(columns, mapping, str(path))
    for number, (line, values) in enumerate(found, 1):
        where = f"row {number}" if line is None else f"row {number} (line {line})"
        if isinstance(values, str):
            listing.rejected.append(Rejected(number, where, path.name, values))
            continue
        listing.attempt(
            number,
            where,
            path.name,
            partial(_manifest_row, number, where, values, path, mapping, listing.classes),
        )
    if unused := columns - _used_columns(mapping):
        log.info(
            "columns that are not imported: %s (fields: in the mapping keeps them)",
            ", ".join(sorted(map(str, unused))),
        )
    return listing


def _manifest_row(
    number: int,
    where: str,
    values: Mapping[str, Any],
    path: Path,
    mapping: ImportMapping,
    classes: ClassSet | None,
) -> Row:
    values = {key: value for key, value in values.items() if not _is_nothing(value)}
    filled = with_stems(dict(values) | {"row": number - 1})
    file = fill_in(mapping.file, filled, "file")
    video = None
    if mapping.video != "{video}" or "video" in values:
        video = fill_in(mapping.video, filled, "video")
    for text in (file, video or ""):
        if re.search("[\0\ud800-\udfff]", text):
            raise InputError(f"{text!r} holds a character that no path may have")
    return make_row(
        number,
        where,
        file,
        values,
        mapping,
        classes,
        partial(read_clip, path.parent / file, mapping, filled),
        name=video or file,
        video=None if video is None else path.parent / video,
    )


def _is_nothing(value: Any) -> bool:
    """An empty cell, in CSV, in JSON, or in a column of numbers with gaps."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _used_columns(mapping: ImportMapping) -> set[str]:
    own = {"name", "source", "caption", "class_name", *NUMBERS}
    named = {mapping.class_name, *(getattr(mapping, key) for key in NUMBERS)}
    confidence = None if mapping.confidence is None else mapping.confidence.name
    patterns = (mapping.file, mapping.video, mapping.name, mapping.array, confidence)
    inside = re.findall(r"{(\w+)", " ".join(pattern or "" for pattern in patterns))
    stems = {name.removesuffix("_stem") for name in inside}
    return own | {name for name in named if name} | set(mapping.fields.values()) | {*inside} | stems


def _csv(path: Path, mapping: ImportMapping) -> Iterator[tuple[int, dict[str, Any] | str]]:
    header: list[str] | None = None
    wanted = re.findall(r"{(\w+)", mapping.file)
    first, mark = True, None
    for line, text in enumerate(read_text(path, "manifest").split("\n"), 1):
        if not text.strip():
            continue
        if first:
            mark = next((mark for mark in "\t;," if mark in text), None)
        try:
            cells = text.split()
            if mark is not None:
                cells = next(csv.reader([text], delimiter=mark, strict=True))
        except csv.Error as error:
            yield line, f"{error}; check the quotes"
            continue
        cells = [cell.strip() for cell in cells]
        if first:
            first = False
            bare = {name.removesuffix("_stem") for name in wanted}
            if bare and bare <= set(cells):
                if len(set(cells)) != len(cells):
                    raise ManifestError(f"{path}, line {line}: a column's name is there twice")
                header = cells
                continue
            if not any(Path(cell).suffix.lower() in READERS for cell in cells):
                raise ManifestError(
                    f"{path}, line {line}: neither a header with the column "
                    f"{' and '.join(sorted(bare))} nor a row with a file ({', '.join(READERS)}); "
                    f"found {', '.join(cells)[:80]!r}. A mapping names other columns: "
                    'file: "{COLUMN}"'
                )
        columns = header or ["video", "skeleton", "label"][-len(cells) :]
        if len(cells) != len(columns) or (header is None and len(cells) < 2):
            allowed = "skeleton, label or video, skeleton, label" if header is None else header
            yield line, f"{len(cells)} values, expected {len(columns)}: {allowed}"
            continue
        yield line, dict(zip(columns, cells, strict=True))


def _json_lines(path: Path, _: ImportMapping) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for line, text in enumerate(read_text(path, "manifest").split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield line, f"not JSON ({error})"
            continue
        yield line, row if isinstance(row, dict) else "a JSON object expected"


def _json(path: Path, _: ImportMapping) -> Iterator[tuple[None, dict[str, Any] | str]]:
    try:
        rows = json.loads(read_text(path, "manifest"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise ManifestError(f"{path}: not JSON ({error})") from None
    if not isinstance(rows, list):
        raise ManifestError(f"{path}: a JSON list of objects expected, one per clip")
    for row in rows:
        yield None, row if isinstance(row, dict) else "a JSON object expected"


def _parquet(path: Path, _: ImportMapping) -> Iterator[tuple[None, dict[str, Any] | str]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(f"{path}: not a readable Parquet file ({error})") from None
    for row in table.to_pylist():
        yield None, row
