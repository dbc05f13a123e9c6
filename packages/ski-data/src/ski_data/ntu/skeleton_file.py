"""Reading and writing NTU RGB+D ``.skeleton`` text files.

The format is line based: the number of frames; then per frame the number of bodies and per body one
line of 10 values that starts with the body id, the number of joints, and per joint one line of 12
numbers (x y z in metres in the camera's frame, depth x y, colour x y, orientation w x y z, tracking
state). Lines end with LF or CRLF.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as pa_csv

from ski_data.errors import InputError, MissingFileError

JOINTS = 25
BODY_FIELDS = 10
JOINT_FIELDS = 12
TRACKING_STATES = (0, 1, 2)
"""Not tracked, inferred, tracked."""

_JOINTS_LINES = (b"25\r\n", b"25\n")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")
_COLUMNS = tuple("xyzabcdefghs")
_USED = ("x", "y", "z", "s")
_READ = pa_csv.ReadOptions(use_threads=False, column_names=list(_COLUMNS), block_size=1 << 30)
_PARSE = pa_csv.ParseOptions(
    delimiter=" ", quote_char=False, double_quote=False, ignore_empty_lines=False
)
_CONVERT = pa_csv.ConvertOptions(
    column_types={"x": pa.float64(), "y": pa.float64(), "z": pa.float64(), "s": pa.int8()},
    include_columns=list(_USED),
    null_values=[],
    check_utf8=False,
)


class SkeletonFileError(InputError):
    """A ``.skeleton`` file that is not what its counts promise, with the file and the line."""


@dataclass(frozen=True)
class RawSkeleton:
    """One recording, body appearance by body appearance, in the order of the file.

    Attributes:
        path: The file.
        frames: Number of frames in the file, those without a body included.
        frame: (A,) int64, the file's frame (from 0) of each appearance, not descending.
        body_id: (A,) int64, the tracker's id; ids exceed 2**53 and must not pass through floats.
        joints: (A, 25, 3) float32, metres, camera frame (x to the sensor's left, y up, z away).
        tracking: (A, 25) int8, 0 not tracked, 1 inferred, 2 tracked.
    """

    path: Path
    frames: int
    frame: np.ndarray
    body_id: np.ndarray
    joints: np.ndarray
    tracking: np.ndarray


def read_skeleton(path: Path | str) -> RawSkeleton:
    """Read one ``.skeleton`` file.

    Raises:
        MissingFileError: There is no such file.
        SkeletonFileError: Wrong counts, an early end, something left over, no body in any frame, a
            coordinate that is not a finite number; the text names the file and the line.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(f"{path}: no such .skeleton file") from None
    return parse_skeleton(data, path)


def parse_skeleton(data: bytes, path: Path | str) -> RawSkeleton:
    """What :func:`read_skeleton` does, on the file's bytes; ``path`` is only for messages."""
    path = Path(path)
    frames, frame, ids, first_lines, blocks = _structure(data, path)
    if not ids:
        raise SkeletonFileError(
            f"{path}, line 1: no body in any of the {frames} frames; leave this recording out "
            "(NTU publishes a list of recordings with missing skeletons)"
        )
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(b"".join(blocks)),
            read_options=_READ,
            parse_options=_PARSE,
            convert_options=_CONVERT,
        )
        columns = [table.column(name).to_numpy() for name in _USED]
        if len(columns[0]) != len(ids) * JOINTS:  # a blank line would be skipped silently
            raise pa.ArrowInvalid("rows lost")
    except pa.ArrowInvalid:  # unusual spacing, or an error whose place must be found
        columns = _joint_columns(blocks, first_lines, path)
    xyz = np.empty((len(ids) * JOINTS, 3), np.float32)
    with np.errstate(over="ignore"):  # infinities are found below
        for axis in range(3):
            xyz[:, axis] = columns[axis]
    tracking = np.asarray(columns[3], np.int8)
    if not np.isfinite(xyz).all():
        row, axis = np.argwhere(~np.isfinite(xyz))[0]
        line = first_lines[row // JOINTS] + row % JOINTS + 1
        raise SkeletonFileError(
            f"{path}, line {line}: coordinate {'xyz'[axis]} of joint {row % JOINTS + 1} is not a "
            "finite number"
        )
    if tracking.min() < 0 or tracking.max() > 2:
        row = int(np.flatnonzero((tracking < 0) | (tracking > 2))[0])
        line = first_lines[row // JOINTS] + row % JOINTS + 1
        raise SkeletonFileError(
            f"{path}, line {line}: tracking state {tracking[row]}; allowed: 0, 1, 2"
        )
    return RawSkeleton(
        path=path,
        frames=frames,
        frame=np.array(frame, np.int64),
        body_id=np.array(ids, np.int64),
        joints=xyz.reshape(-1, JOINTS, 3),
        tracking=tracking.reshape(-1, JOINTS),
    )


def read_colour(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Where the joints are in the colour image.

    Returns:
        int64 (A,), the frame of each appearance of a body, and float64 (A, 25, 2), pixels x, y.

    Raises:
        MissingFileError, SkeletonFileError: As :func:`read_skeleton`.
    """
    path = Path(path)
    raw = read_skeleton(path)  # says what is wrong with the file, if anything
    blocks = _structure(path.read_bytes(), path)[-1]
    try:
        fields = np.array(b"".join(blocks).split(), np.float64).reshape(-1, JOINTS, JOINT_FIELDS)
    except ValueError:
        raise SkeletonFileError(
            f"{path}: the colour coordinates of some joint are no numbers; get it again"
        ) from None
    return raw.frame, fields[..., 5:7]


def write_skeleton(
    path: Path | str,
    joints: np.ndarray,
    *,
    body_id: int = 72057594037944738,
    colour: np.ndarray | None = None,
    depth: np.ndarray | None = None,
) -> None:
    """Write a one-body recording in the format that :func:`read_skeleton` reads.

    Coordinates are written with 7 significant digits, as the Kinect recorder does. Orientations are
    written as 0 and every joint as tracked.

    Args:
        path: File to write; it appears whole or not at all.
        joints: (T, 25, 3) metres, camera frame.
        body_id: The tracker's id.
        colour: (T, 25, 2) pixels in the 1920x1080 colour image, 0 where not given.
        depth: (T, 25, 2) pixels in the 512x424 depth image, 0 where not given.

    Raises:
        InputError: Wrong shapes, no frames, or values that are not finite.
    """
    path = Path(path)
    joints = np.asarray(joints, np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (JOINTS, 3) or len(joints) == 0:
        raise InputError(f"{path}: joints must be (T, 25, 3) with T > 0, not {joints.shape}")
    rows = np.zeros((len(joints), JOINTS, JOINT_FIELDS))
    rows[..., :3] = joints
    for name, value, start in (("depth", depth, 3), ("colour", colour, 5)):
        if value is None:
            continue
        if np.shape(value) != (len(joints), JOINTS, 2):
            raise InputError(
                f"{path}: {name} must be {(len(joints), JOINTS, 2)}, not {np.shape(value)}"
            )
        rows[..., start : start + 2] = value
    if not np.isfinite(rows).all():
        raise InputError(f"{path}: joints, colour and depth must be finite numbers")
    rows[..., -1] = TRACKING_STATES[-1]
    joint_line = " ".join(["%.7g"] * (JOINT_FIELDS - 1)) + " %d\n"
    frame_text = f"1\n{int(body_id)} 0 1 1 1 1 0 0 0 2\n{JOINTS}\n" + joint_line * JOINTS
    text = f"{len(joints)}\n" + (frame_text * len(joints)) % tuple(rows.ravel().tolist())
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="ascii", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _structure(
    data: bytes, path: Path
) -> tuple[int, list[int], list[int], list[int], list[memoryview]]:
    """Walk the counts: frames, and per appearance its frame, body id, line before joint 1, text."""
    if not data.endswith(b"\n"):
        data += b"\n"
    starts = (np.flatnonzero(np.frombuffer(data, np.uint8) == 10) + 1).tolist()
    starts.insert(0, 0)
    lines = len(starts) - 1
    if not data.strip():
        raise SkeletonFileError(f"{path}, line 1: the file is empty")
    frame: list[int] = []
    ids: list[int] = []
    first_lines: list[int] = []
    blocks: list[memoryview] = []
    view = memoryview(data)

    def line_text(index: int, what: str) -> bytes:
        if index >= lines:
            raise SkeletonFileError(
                f"{path}, line {lines}: the file ends where {what} should follow; it was cut off "
                "or its counts are wrong, get it again"
            )
        return data[starts[index] : starts[index + 1]]

    def count(index: int, what: str) -> int:
        token = line_text(index, what).strip()
        if not token.isdigit() or len(token) > 9:
            raise SkeletonFileError(
                f"{path}, line {index + 1}: {what} expected (a whole number), found {_show(token)}"
            )
        return int(token)

    def check_body(index: int, t: int) -> None:
        """Say what is wrong with a body's two lines, if anything is, or that joints are missing."""
        fields = line_text(index, f"a body line of frame {t + 1}").split()
        if len(fields) != BODY_FIELDS:
            raise SkeletonFileError(
                f"{path}, line {index + 1}: a body line has {BODY_FIELDS} values, found "
                f"{len(fields)}"
            )
        if _INTEGER.fullmatch(fields[0]) is None or abs(int(fields[0])) >= 1 << 63:
            raise SkeletonFileError(
                f"{path}, line {index + 1}: {_show(fields[0])} is no body id (a whole number)"
            )
        if (joints := count(index + 1, "the number of joints")) != JOINTS:
            raise SkeletonFileError(
                f"{path}, line {index + 2}: {joints} joints, only bodies of {JOINTS} are read"
            )
        if (missing := index + 2 + JOINTS - lines) > 0:
            line_text(lines, f"{missing} more joint lines of frame {t + 1}")

    frames = count(0, "the number of frames")
    at = 1
    for t in range(frames):
        bodies = count(at, f"the number of bodies of frame {t + 1} of {frames}")
        at += 1
        for _ in range(bodies):
            if (
                at + 2 + JOINTS > lines
                or data[starts[at + 1] : starts[at + 2]] not in _JOINTS_LINES
            ):
                check_body(at, t)
            fields = data[starts[at] : starts[at + 1]].split()
            if len(fields) != BODY_FIELDS or not fields[0].isdigit() or len(fields[0]) > 18:
                check_body(at, t)
            at += 2
            frame.append(t)
            ids.append(int(fields[0]))
            first_lines.append(at)
            blocks.append(view[starts[at] : starts[at + JOINTS]])
            at += JOINTS
    if at < lines and (rest := data[starts[at] :].strip()):
        extra = at + data[starts[at] :].split(rest[:1])[0].count(b"\n")
        raise SkeletonFileError(
            f"{path}, line {extra + 1}: text after the last of the {frames} frames that line 1 "
            "promises; the counts are wrong"
        )
    return frames, frame, ids, first_lines, blocks


def _joint_columns(
    blocks: list[memoryview], first_lines: list[int], path: Path
) -> list[np.ndarray]:
    """Line by line: x, y, z, tracking state; says which line is wrong."""
    rows: list[tuple[float, float, float, int]] = []
    for block, first in zip(blocks, first_lines, strict=True):
        for j, text in enumerate(bytes(block).split(b"\n")[:JOINTS]):
            fields = text.split()
            where = f"{path}, line {first + j + 1}"
            if len(fields) != JOINT_FIELDS:
                raise SkeletonFileError(
                    f"{where}: a joint line has {JOINT_FIELDS} numbers, found {len(fields)}"
                )
            try:
                if b"_" in text:
                    raise ValueError
                x, y, z = (float(value) for value in fields[:3])
            except ValueError:
                raise SkeletonFileError(
                    f"{where}: x, y and z must be numbers, found {_show(b' '.join(fields[:3]))}"
                ) from None
            if fields[-1] not in (b"0", b"1", b"2"):
                raise SkeletonFileError(
                    f"{where}: tracking state {_show(fields[-1])}; allowed: 0, 1, 2"
                )
            rows.append((x, y, z, int(fields[-1])))
    return [np.array(column) for column in zip(*rows, strict=True)]


def _show(token: bytes) -> str:
    return repr(token[:40].decode("ascii", "backslashreplace"))
