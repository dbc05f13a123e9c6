"""The community's ``.npz`` archives of NTU RGB+D: official protocols, padding, one-hot labels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.folders import whole_file
from ski_data.ntu.names import parse_name

ROW = 150
FRAMES = 300
"""Frames of the longest sequence of the real data set, to which archives are padded."""

_SUBJECTS_60 = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
_SUBJECTS_120 = (
    *_SUBJECTS_60,
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86),
    *(89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
)


@dataclass(frozen=True)
class Protocol:
    """An official train/test rule.

    Attributes:
        name: ``ntu60/xsub``, ``ntu60/xview``, ``ntu120/xsub``, ``ntu120/xset``.
        archive: File name without ``.npz`` under which the community shares it.
        field: The field of :class:`~ski_data.ntu.names.NtuName` that decides.
        train: Values of that field whose recordings are for training.
        classes: Number of classes.
        setups: Setups 1 to this one belong to the data set.
        repeat_single: Whether a one-body sample holds its body twice (NTU120) or once.
    """

    name: str
    archive: str
    field: str
    train: tuple[int, ...]
    classes: int
    setups: int
    repeat_single: bool


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("ntu60/xsub", "NTU60_CS", "subject", _SUBJECTS_60, 60, 17, False),
        Protocol("ntu60/xview", "NTU60_CV", "camera", (2, 3), 60, 17, False),
        Protocol("ntu120/xsub", "NTU120_CSub", "subject", _SUBJECTS_120, 120, 32, True),
        Protocol("ntu120/xset", "NTU120_CSet", "setup", tuple(range(2, 33, 2)), 120, 32, True),
    )
}
_OTHER_NAMES = {"NTU120_CS": "NTU120_CSub"}


def get_protocol(name: str) -> Protocol:
    """A protocol by its name or by its archive's name (``NTU120_CS`` is ``NTU120_CSub``).

    Raises:
        InputError: Unknown name.
    """
    archive = _OTHER_NAMES.get(name, name)
    for protocol in PROTOCOLS.values():
        if name == protocol.name or archive == protocol.archive:
            return protocol
    known = ", ".join(f"{p.name} ({p.archive})" for p in PROTOCOLS.values())
    raise InputError(f"unknown protocol {name!r}; known: {known}")


def protocol_split(names: Sequence[str], protocol: Protocol) -> tuple[list[str], list[str]]:
    """Training and test names, each by ascending id of the deciding field, then by name.

    Names of setups beyond the protocol's data set are left out.
    """
    parsed = [(parse_name(name), name) for name in names]
    ordered = sorted(
        (getattr(fields, protocol.field), name)
        for fields, name in parsed
        if fields.setup <= protocol.setups
    )
    train = [name for value, name in ordered if value in protocol.train]
    test = [name for value, name in ordered if value not in protocol.train]
    return train, test


def pad(rows: Sequence[np.ndarray], frames: int, repeat_single: bool) -> np.ndarray:
    """Aligned (n, 75 | 150) rows as one float32 (N, frames, 150) array, zeros at the end.

    Args:
        rows: One array per recording, at most ``frames`` long.
        frames: Length of the result.
        repeat_single: Write a copy of the body of (n, 75) rows into the second slot.

    Raises:
        InputError: A recording is longer than ``frames``.
    """
    padded = np.zeros((len(rows), frames, ROW), np.float32)
    for i, row in enumerate(rows):
        if len(row) > frames:
            raise InputError(f"recording {i} has {len(row)} frames, more than {frames}")
        padded[i, : len(row), : row.shape[1]] = row
        if repeat_single and row.shape[1] == ROW // 2:
            padded[i, : len(row), ROW // 2 :] = row
    return padded


def build_archive(
    rows: Mapping[str, np.ndarray], protocol: Protocol, frames: int | None = None
) -> dict[str, np.ndarray]:
    """The arrays of one community archive.

    Args:
        rows: Aligned (n, 75 | 150) rows by recording name.
        protocol: The train/test rule; recordings outside its data set are left out.
        frames: Padded length; by default that of the longest of the rows used.

    Returns:
        ``x_train``, ``x_test`` float32 (N, frames, 150) = body x joint x xyz; ``y_train``,
        ``y_test`` one-hot float64 (N, classes), class = action - 1; ``files_train``,
        ``files_test`` 20-byte names, without which a row cannot be found by its video.

    Raises:
        InputError: No recording of the protocol's data set, an action beyond its classes, or a
            recording that is too long.
    """
    parts = _parts(rows, protocol)
    frames = _longest(rows, parts) if frames is None else frames
    arrays: dict[str, np.ndarray] = {}
    for part, names in parts.items():
        padded = pad([rows[name] for name in names], frames, protocol.repeat_single)
        arrays[f"x_{part}"] = padded
        arrays |= _labels(part, names, protocol)
    return arrays


def write_archive(
    path: Path | str, rows: Mapping[str, np.ndarray], protocol: Protocol, frames: int | None = None
) -> None:
    """Write the arrays of :func:`build_archive` row by row, whole or not at all.

    Args:
        path: The ``.npz`` to make.
        rows: Aligned (n, 75 | 150) rows by recording name; they are looked up one at a time.
        protocol: The train/test rule.
        frames: Padded length; by default that of the longest of the rows used.

    Raises:
        ExistingOutputError: The file is there already.
        InputError: As in :func:`build_archive`.
        SkiDataError: The file cannot be written.
    """
    parts = _parts(rows, protocol)
    frames = _longest(rows, parts) if frames is None else frames
    with (
        whole_file(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for part, names in parts.items():
            for key, array in _labels(part, names, protocol).items():
                with archive.open(f"{key}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
            shape = (len(names), frames, ROW)
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            with archive.open(f"x_{part}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for name in names:
                    file.write(pad([rows[name]], frames, protocol.repeat_single).tobytes())


def _parts(rows: Mapping[str, np.ndarray], protocol: Protocol) -> dict[str, list[str]]:
    parts = dict(zip(("train", "test"), protocol_split(list(rows), protocol), strict=True))
    if not any(parts.values()):
        raise InputError(f"none of the {len(rows)} recordings belongs to {protocol.name}")
    return parts


def _longest(rows: Mapping[str, np.ndarray], parts: Mapping[str, list[str]]) -> int:
    return max(len(rows[name]) for names in parts.values() for name in names)


def _labels(part: str, names: Sequence[str], protocol: Protocol) -> dict[str, np.ndarray]:
    labels = np.array([parse_name(name).action - 1 for name in names], np.int64)
    if len(labels) and labels.max() >= protocol.classes:
        wrong = names[int(labels.argmax())]
        raise InputError(
            f"{wrong}: action {labels.max() + 1} is none of the {protocol.classes} of "
            f"{protocol.name}"
        )
    return {
        f"y_{part}": np.eye(protocol.classes)[labels],
        f"files_{part}": np.array([name.encode("ascii") for name in names], "S20"),
    }


@dataclass(frozen=True)
class ArchivePart:
    """The training or test half of an archive, without its coordinates.

    Attributes:
        labels: (N,) int64, from 0.
        classes: Number of classes.
        names: Recording names, or None where the archive has none.
    """

    labels: np.ndarray
    classes: int
    names: list[str] | None


def read_archive(path: Path | str) -> dict[str, ArchivePart]:
    """Labels and names of an archive of ours or of the community's, by ``train`` and ``test``.

    The coordinates, gigabytes in the real archives, are read by :func:`archive_rows`.

    Raises:
        MissingFileError: There is no such file.
        InputError: Not a readable ``.npz``, or arrays missing or of other shapes.
    """
    path = Path(path)
    parts = {}
    with _readable(path), np.load(path, allow_pickle=False) as archive:
        for part in ("train", "test"):
            if not {f"x_{part}", f"y_{part}"} <= set(archive.files):
                raise InputError(
                    f"{path}: x_{part} or y_{part} is missing; found {', '.join(archive.files)}"
                )
            y = archive[f"y_{part}"]
            if y.ndim != 2 or not ((y == 1).sum(axis=1) == 1).all() or (y.sum(axis=1) != 1).any():
                raise InputError(f"{path}: y_{part} must be one-hot rows (N, K), found {y.shape}")
            names = None
            if f"files_{part}" in archive.files:
                names = np.char.decode(archive[f"files_{part}"].astype("S"), "ascii").tolist()
                if len(names) != len(y):
                    raise InputError(
                        f"{path}: {len(names)} names in files_{part} for {len(y)} rows"
                    )
            parts[part] = ArchivePart(y.argmax(axis=1), y.shape[1], names)
    return parts


def archive_rows(path: Path | str, part: str, rows: int) -> Iterator[np.ndarray]:
    """The rows (T, 150) float32 of ``x_train`` or ``x_test``, one after the other from the file.

    Args:
        path: The archive.
        part: ``train`` or ``test``.
        rows: How many there must be: the number of labels.

    Raises:
        InputError: Another number of rows, not (N, T, 150) floats in row order, or a damaged file.
    """
    path = Path(path)
    with _readable(path), zipfile.ZipFile(path) as archive:  # noqa: SIM117
        with archive.open(f"x_{part}.npy") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            if version not in read_header:
                raise InputError(f"{path}: x_{part} is of .npy version {version}")
            shape, column_order, dtype = read_header[version](file)
            if len(shape) != 3 or shape[2] != ROW or column_order or dtype.kind != "f":
                raise InputError(
                    f"{path}: x_{part} must be floats (N, T, {ROW}) in row order, not {dtype} "
                    f"{shape}"
                )
            if shape[0] != rows:
                raise InputError(f"{path}: {shape[0]} rows in x_{part} for {rows} in y_{part}")
            size = shape[1] * ROW * dtype.itemsize
            for _ in range(rows):
                data = file.read(size)
                if len(data) != size:
                    raise EOFError
                yield np.frombuffer(data, dtype).reshape(shape[1:]).astype(np.float32)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (InputError, MissingFileError):
        raise
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such archive") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(
            f"{path}: not a readable .npz archive (damaged, of another kind, or with Python "
            "objects, which are never loaded)"
        ) from None
