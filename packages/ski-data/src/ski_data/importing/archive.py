"""Community NTU archives (NTU60_CS.npz ...) into stores."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ski_data.errors import InputError
from ski_data.layouts import KINECT25
from ski_data.ntu.archive import archive_rows, read_archive
from ski_data.ntu.names import parse_name
from ski_data.progress import Progress
from ski_data.skeleton import row_to_clip, valid_frames
from ski_data.splits import dataset_classes
from ski_data.store import NUMBERS, StoreWriter


def import_archive(path: Path, out: str) -> None:
    """A community NTU archive into a store; clips keep their names and their half.

    Raises:
        InputError: Neither 60 nor 120 classes, or rows that cannot be used.
        ExistingOutputError: ``out`` is there already.
    """
    parts = read_archive(path)
    counts = sorted({part.classes for part in parts.values()})
    if counts not in ([60], [120]):
        raise InputError(f"{path}: {counts} classes, NTU archives have 60 or 120")
    total = sum(len(part.labels) for part in parts.values())
    known = dataset_classes("ntu60" if counts == [60] else "ntu120")
    repeated = counts == [120]  # where an only body stands twice, zeros are a second body
    writer = StoreWriter(out, KINECT25, bodies=2, classes=known)
    done = 0
    with writer, Progress(f"import {path.name}", total) as progress:
        for half, part in parts.items():
            for i, (row, label) in enumerate(
                zip(archive_rows(path, half, len(part.labels)), part.labels.tolist(), strict=True)
            ):
                name = f"{half}-{i:06d}" if part.names is None else part.names[i]
                clip = row_to_clip(row)
                two = repeated or clip[..., 1].any()
                clip = clip[:, : valid_frames(clip), :, : 2 if two else 1]
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
