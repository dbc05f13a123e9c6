"""Manifests: lists of clips as CSV without header, JSON lines, or Parquet.

CSV rows are ``video, skeleton, label`` or ``video, label``, separated by commas or white space, as
in the SKI-Models lists; of two columns the first is a skeleton if its name ends like one.
JSON lines and Parquet name their columns, see :class:`Record`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from reprlib import repr
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import whole_file
from ski_data.ntu.names import parse_name
from ski_data.text import read_text

FORMATS = (".csv", ".jsonl", ".parquet")
SKELETONS = (".skeleton", ".npy", ".npz")


class ManifestError(InputError):
    """A manifest that cannot be used, with the file and the line."""


@dataclass(frozen=True)
class Record:
    """One clip.

    Attributes:
        name: Unique in a manifest; the key under which stores hold the skeleton. Where a manifest
            has none: the video's (or skeleton's) file name without ``_rgb`` and ending if that is
            an NTU name, else its path without ending.
        video: The video file, if any.
        skeleton: The skeleton file, if any.
        label: Position in the class set, if known.
        subject: Person, camera, setup and replication as numbers, if known; read from NTU names.
        camera: See ``subject``.
        setup: See ``subject``.
        replication: See ``subject``.
        caption: What is seen, in words, if known.
        source: Data set or origin.
    """

    name: str
    video: Path | None = None
    skeleton: Path | None = None
    label: int | None = None
    subject: int | None = None
    camera: int | None = None
    setup: int | None = None
    replication: int | None = None
    caption: str | None = None
    source: str | None = None


_KEYS = tuple(field.name for field in fields(Record))
_NUMBERS = ("subject", "camera", "setup", "replication")


def read_manifest(
    path: Path | str, classes: ClassSet | None = None, root: Path | str | None = None
) -> list[Record]:
    """Read a manifest.

    Args:
        path: ``.csv`` (or any other ending) without header, ``.jsonl``, or ``.parquet``.
        classes: If given, labels must be among them and may also be written as ids or names.
        root: Folder that relative paths start from; by default the manifest's.

    Returns:
        The rows; paths joined with ``root``. The files themselves are not looked at.

    Raises:
        MissingFileError: There is no such file.
        ManifestError: No rows, a missing or unknown column, a label out of range, an unknown class,
            a clip named twice; the text names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such manifest")
    base = path.parent if root is None else Path(root)
    read = {".jsonl": _json_rows, ".parquet": _parquet_rows}.get(path.suffix.lower(), _csv_rows)
    records: list[Record] = []
    lines: dict[str, int] = {}
    for line, row in read(path):
        record = _record(row, f"{path}, line {line}", classes, base)
        if record.name in lines:
            raise ManifestError(
                f"{path}, line {line}: clip {record.name} stands already in line "
                f"{lines[record.name]}; remove one"
            )
        lines[record.name] = line
        records.append(record)
    if not records:
        raise ManifestError(f"{path}: the manifest has no rows")
    return records


def write_manifest(path: Path | str, records: Iterable[Record]) -> None:
    """Write a manifest; paths below its folder become relative to it.

    Args:
        path: ``.csv`` (video, skeleton, label only), ``.jsonl`` or ``.parquet``.
        records: The rows.

    Raises:
        ExistingOutputError: The file is there already.
        ManifestError: Another ending; for CSV, a row without video or label, or only some rows with
            a skeleton.
        SkiDataError: The file cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise ExistingOutputError(f"{path} is there already; name another file or remove it")
    rows = []
    for record in records:
        row = asdict(record)
        for key in ("video", "skeleton"):
            if row[key] is not None:
                row[key] = _relative(row[key], path.parent)
        rows.append(row)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        data = _csv_text(path, rows).encode("utf-8")
    elif suffix == ".jsonl":
        kept = ({k: v for k, v in row.items() if v is not None} for row in rows)
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept).encode("utf-8")
    elif suffix == ".parquet":
        kinds = {key: pa.int64() for key in ("label", *_NUMBERS)}
        schema = pa.schema([(key, kinds.get(key, pa.string())) for key in _KEYS])
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
        data = buffer.getvalue()
    else:
        raise ManifestError(f"{path}: a manifest's name ends in {', '.join(FORMATS)}")
    with whole_file(path) as partial:
        partial.write_bytes(data)


def _csv_text(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    columns = ["video", "label"]
    if any(row["skeleton"] is not None for row in rows):
        columns.insert(1, "skeleton")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows, 1):
        lacking = [key for key in columns if row[key] is None]
        if lacking:
            raise ManifestError(
                f"{path}, row {number}: a CSV manifest needs {', '.join(columns)} in every row; "
                f"{row['name']} has no {' and no '.join(lacking)}. Write .jsonl instead"
            )
        writer.writerow([row[key] for key in columns])
    return text.getvalue()


def _relative(file: Path, folder: Path) -> str:
    absolute, start = os.path.abspath(file), os.path.abspath(folder)
    inside = os.path.commonpath([absolute, start]) == start
    return Path(os.path.relpath(absolute, start) if inside else absolute).as_posix()


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except InputError as error:
        raise ManifestError(str(error)) from None


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_text(path).splitlines(), 1):
        if not text.strip():
            continue
        try:
            cells = next(csv.reader([text], strict=True)) if "," in text else text.split()
        except csv.Error as error:
            raise ManifestError(f"{path}, line {line}: {error}; check the quotes") from None
        cells = [cell.strip() for cell in cells]
        if len(cells) not in (2, 3) or not all(cells):
            raise ManifestError(
                f"{path}, line {line}: expected video, skeleton, label or video, label, found "
                f"{len([cell for cell in cells if cell])} values"
            )
        columns = ("video", "skeleton", "label")
        if len(cells) == 2:
            is_skeleton = cells[0].lower().endswith(SKELETONS)
            columns = ("skeleton" if is_skeleton else "video", "label")
        row: dict[str, Any] = dict(zip(columns, cells, strict=True))
        if row["label"] == "label":
            raise ManifestError(f"{path}, line {line}: a CSV manifest has no header; remove it")
        if re.fullmatch("-?[0-9]{1,18}", row["label"]):
            row["label"] = int(row["label"])
        yield line, row


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path}, line {line}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise ManifestError(f"{path}, line {line}: a JSON object expected")
        yield line, row


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:  # texts may be damaged as well
        reason = " ".join(str(error).split())
        raise ManifestError(f"{path}: not a readable Parquet file ({reason})") from None
    yield from enumerate(rows, 1)


def _record(row: dict[str, Any], where: str, classes: ClassSet | None, base: Path) -> Record:
    unknown = sorted(set(row) - set(_KEYS))
    if unknown:
        raise ManifestError(
            f"{where}: unknown column {', '.join(f'{name!r:.40}' for name in unknown[:5])}; "
            f"allowed: {', '.join(_KEYS)}"
        )
    row = {key: value for key, value in row.items() if value is not None}
    for key, value in row.items():
        wanted = (int,) if key in _NUMBERS else (int, str) if key == "label" else (str,)
        if not isinstance(value, wanted) or isinstance(value, bool) or value == "":
            kind = " or ".join("a whole number" if w is int else "text" for w in wanted)
            raise ManifestError(f"{where}: {key} must be {kind}, not {repr(value)}")
        if isinstance(value, int) and value >= 1 << 63:
            raise ManifestError(f"{where}: {key} {value} is out of range; it is far too large")
        if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
            raise ManifestError(
                f"{where}: {key} {repr(value)} holds a character that no text may have"
            )
    if "video" not in row and "skeleton" not in row:
        raise ManifestError(f"{where}: a row needs a video or a skeleton column")
    if "label" in row:
        row["label"] = _label(row["label"], where, classes)
    stem, ntu = _identity(row.get("video") or row["skeleton"])
    row.setdefault("name", stem)
    row = ntu | row
    for key in ("video", "skeleton"):
        if key in row:
            row[key] = base / row[key]
    return Record(**row)


def _label(label: int | str, where: str, classes: ClassSet | None) -> int:
    if isinstance(label, str):
        if classes is None:
            raise ManifestError(
                f"{where}: label {label[:40]!r} is no whole number; give the class list for names"
            )
        try:
            return classes.label(label)
        except InputError as error:
            raise ManifestError(f"{where}: {error}") from None
    if label < 0 or (classes is not None and label >= len(classes)):
        allowed = "0 or more" if classes is None else f"0..{len(classes) - 1}"
        raise ManifestError(f"{where}: label {label} is out of range; allowed: {allowed}")
    return label


def _identity(file: str) -> tuple[str, dict[str, int]]:
    path = Path(file)
    stem = path.stem.removesuffix("_rgb")
    try:
        numbers = asdict(parse_name(stem))
    except InputError:  # not an NTU file: the path tells clips apart
        return path.with_name(path.stem).as_posix(), {}
    return stem, {key: numbers[key] for key in _NUMBERS}
