"""Your own joints into a skeleton store: ``ski-data import``.

A source is one ``.npz`` with all clips, a manifest whose rows name a file per clip, a folder of
such files, or a community NTU archive (``x_train``, ``y_train``, ...). A mapping, YAML of
:class:`ImportMapping`, says what is in it and how its joints are laid out.
"""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import missing_parents, remove_empty
from ski_data.importing.archive import import_archive
from ski_data.importing.clips import READERS, default_validity, to_clip
from ski_data.importing.mapping import ImportMapping, import_names, read_mapping
from ski_data.importing.rows import Listing, Rejected, Row, settle
from ski_data.importing.sources import MANIFESTS, list_arrays, list_folder, list_manifest
from ski_data.layouts import KINECT25, get_layout
from ski_data.manifest import Record, write_manifest
from ski_data.progress import Progress
from ski_data.store import NUMBERS, StoreWriter

__all__ = [
    "ImportMapping",
    "RejectedRowsError",
    "import_names",
    "import_skeletons",
    "read_mapping",
]

log = logging.getLogger(__name__)

_SHOWN, _ALIKE = 20, 5


class RejectedRowsError(InputError):
    """Rows that cannot be imported; ``rejected`` holds all of them."""

    def __init__(self, text: str, rejected: Sequence[Rejected]) -> None:
        super().__init__(text)
        self.rejected = tuple(rejected)


def import_skeletons(
    source: str, out: str, mapping: str | None = None, *, skip_bad: bool = False
) -> int:
    """Import joints into a skeleton store.

    Coordinates become metres, y up; nothing else is moved. If rows cannot be used, they are listed
    with what is wrong and nothing is written, unless ``skip_bad`` is given. Rows that name videos
    are listed in OUT.jsonl, a manifest that pairs them with the store.

    Args:
        source: .npz with all clips, a manifest (.csv, .jsonl, .json, .parquet) that names a file
            per clip, a folder of such files (.npy, .npz, .mat, .csv, .tsv, .txt, .bvh, .skeleton),
            or a community NTU archive.
        out: Store to make; it must not be there yet.
        mapping: YAML file that says how the source is laid out, or ui_prmd, hdm05, bandai_namco_1,
            bandai_namco_2, rgb_pose_clips.
        skip_bad: Write the rows that can be used, list the others in OUT.rejected.jsonl, and exit
            with 1 if there are any.

    Returns:
        1 if rows were left out, else 0.

    Raises:
        MissingFileError: The source or the mapping is not there.
        InputError: The source as a whole cannot be used.
        RejectedRowsError: Rows that cannot be used.
        ExistingOutputError: ``out``, or a file that would be written beside it, is there already.
    """
    path = Path(source)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.is_file() and _is_archive(path):
        if mapping is not None:
            raise InputError(f"{path}: an NTU archive needs no mapping")
        import_archive(path, out)
        return 0
    settings = read_mapping(mapping)
    listing = _list(path, settings)
    settle(listing)
    store = Path(out)
    beside = _Beside(*(store.with_name(store.name + end) for end in (".jsonl", ".rejected.jsonl")))
    with_video = any(row.video is not None for row in listing.rows)
    for file, used in ((beside.pairs, with_video), (beside.rejected, skip_bad)):
        if used and file.exists():
            raise ExistingOutputError(f"{file} is there already; name another store or remove it")
    written: list[Path] = []
    made = missing_parents(store)
    try:
        _write(path, store, settings, listing, beside, written, skip_bad=skip_bad)
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        remove_empty(made)
        raise
    if beside.pairs in written:
        log.info("%s: pairs videos with the store", beside.pairs)
    if listing.rejected:
        log.warning("%d rows were left out; %s says why", len(listing.rejected), beside.rejected)
    return 1 if listing.rejected else 0


class _Beside(NamedTuple):
    """Files that may be written beside a store."""

    pairs: Path
    rejected: Path


def _list(path: Path, mapping: ImportMapping) -> Listing:
    suffix = path.suffix.lower()
    if path.is_dir():
        return list_folder(path, mapping)
    if suffix in MANIFESTS:
        return list_manifest(path, mapping)
    if suffix == ".npz" or (suffix == ".npy" and (mapping.order or "").startswith("N")):
        return list_arrays(path, mapping)
    if suffix in READERS:
        return list_folder(path, mapping)
    raise InputError(
        f"{path}: an .npz with all clips, a manifest ({', '.join(MANIFESTS)}), a folder, or one "
        f"clip ({', '.join(READERS)}) expected"
    )


def _write(
    path: Path,
    out: Path,
    mapping: ImportMapping,
    listing: Listing,
    beside: _Beside,
    written: list[Path],
    *,
    skip_bad: bool,
) -> None:
    """Write the store and what goes beside it, which is added to ``written``.

    Rows that cannot be used join ``listing.rejected``.
    """
    target = get_layout(mapping.layout) if mapping.target == "keep" else KINECT25
    writer = StoreWriter(
        out,
        target,
        bodies=mapping.bodies,
        classes=listing.classes,
        validity=default_validity(mapping).tolist(),
    )
    total = len(listing.rows) + len(listing.rejected)
    records: list[Record] = []
    taken: dict[str, str] = {}
    frozen: list[str] = []
    frames = dropped = 0
    with writer, Progress(f"import {path.name}", len(listing.rows)) as progress:
        for done, row in enumerate(listing.rows, 1):
            try:
                if row.name in taken:
                    raise InputError(
                        f"the name {row.name!r} is that of {taken[row.name]} already; name says "
                        "in the mapping what clips are called"
                    )
                clip = to_clip(row.load(), mapping)
                fields = dict(row.fields) | {"label": -1 if row.label is None else row.label}
                writer.add(
                    row.name,
                    clip.joints,
                    validity=clip.validity,
                    source=row.origin or path.name,
                    **fields,
                )
            except (InputError, MissingFileError) as error:
                listing.rejected.append(Rejected(row.number, row.where, row.file, str(error)))
                continue
            taken[row.name] = row.where
            records.append(_record(row, path.name))
            frames, dropped = frames + clip.joints.shape[1], dropped + clip.dropped
            if clip.frozen:
                frozen.append(row.name)
            progress.update(done)
        listing.rejected.sort(key=lambda rejected: rejected.row)
        if listing.rejected and not (skip_bad and records):
            raise _rejection(path, listing.rejected, total)
        if any(record.video is not None for record in records):
            write_manifest(beside.pairs, records)
            written.append(beside.pairs)
        if listing.rejected:
            _write_rejected(beside.rejected, listing.rejected)
            written.append(beside.rejected)
    _tell(out, listing.classes, records, frames, dropped, frozen)


def _tell(
    out: Path,
    classes: ClassSet | None,
    records: Sequence[Record],
    frames: int,
    dropped: int,
    frozen: Sequence[str],
) -> None:
    of = "" if classes is None else f" of {len(classes)} classes"
    log.info("%s: %d clips%s, %d frames", out, len(records), of, frames)
    if dropped:
        log.info("%d frames without a body were left out", dropped)
    if frozen:
        more = ", ..." if len(frozen) > 5 else ""
        log.warning(
            "%d clips in which nothing moves: %s%s", len(frozen), ", ".join(frozen[:5]), more
        )


def _record(row: Row, source: str) -> Record:
    known = {key: row.fields[key] for key in NUMBERS if row.fields.get(key, -1) >= 0}
    return Record(
        row.name,
        video=row.video,
        label=row.label,
        caption=row.caption,
        source=row.origin or source,
        **known,
    )


def _rejection(path: Path, rejected: Sequence[Rejected], total: int) -> RejectedRowsError:
    """The error that tells rows with the same problem together, up to some problems."""
    alike: dict[str, list[str]] = {}
    for entry in rejected:
        alike.setdefault(entry.problem, []).append(entry.where)
    lines = []
    for problem, places in list(alike.items())[:_SHOWN]:
        more = f" and {len(places) - _ALIKE} more" if len(places) > _ALIKE else ""
        lines.append(f"{', '.join(places[:_ALIKE])}{more}: {problem}")
    if len(alike) > _SHOWN:
        lines.append(
            f"and {len(alike) - _SHOWN} more problems; --skip_bad writes the other rows and lists "
            "each of these in a file"
        )
    if path.is_dir() and len(rejected) < total:
        lines.append("files that are no clips stay out with files: '**/*.ENDING' in the mapping")
    if len(rejected) == len(lines) == 1:
        return RejectedRowsError(f"{path}, {lines[0]}; nothing was written", rejected)
    first = f"{path}: {len(rejected)} of {total} rows cannot be imported, nothing was written"
    return RejectedRowsError("\n  ".join([first, *lines]), rejected)


def _write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    lines = (json.dumps(asdict(entry), ensure_ascii=False) for entry in rejected)
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(partial, path)


def _is_archive(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "x_train.npy" in archive.namelist()
