"""BVH motion capture files: the tree of joints, the motion, and where the joints are.

``HIERARCHY`` gives each joint an OFFSET from its parent and CHANNELS, ``MOTION`` one line of
channel values per frame. A joint's rotation is the product of its rotation channels in the order in
which they are listed (degrees), and the joint stands at its parent's position plus the parent's
global rotation times its translation. Position channels of a root give its whole translation, so
that its OFFSET does not count. Below the root some files write the whole translation too, others
what is added to OFFSET; the one that is nearer to the file's offsets is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.errors import InputError
from ski_data.text import read_text

CHANNELS = ("xposition", "yposition", "zposition", "xrotation", "yrotation", "zrotation")


class BvhError(InputError):
    """A BVH file that cannot be used, with the file and the line."""


@dataclass(frozen=True)
class Joint:
    """One joint: its parent's number (-1 for a root), its offset and its channels in order."""

    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Bvh:
    """A BVH file.

    Attributes:
        joints: Parents before children; end sites are called ``NAME_end`` after their parent.
        frame_time: Seconds between frames.
        motion: (T, channels of all joints) float64, lengths in the file's unit and degrees.
    """

    joints: tuple[Joint, ...]
    frame_time: float
    motion: np.ndarray


def read_bvh(path: Path | str) -> Bvh:
    """Read one BVH file.

    Raises:
        MissingFileError: There is no such file.
        BvhError: Not such a file, counts that do not fit, values that are not finite numbers.
    """
    return parse_bvh(read_text(path, "BVH file"), path)


def parse_bvh(text: str, path: Path | str) -> Bvh:
    """What :func:`read_bvh` does, on the file's text; ``path`` is only for messages."""
    lines = text.split("\n")
    head = next((i for i, line in enumerate(lines) if line.strip().upper() == "MOTION"), None)
    if head is None:
        raise BvhError(f"{path}: no line MOTION; this is no whole BVH file")
    joints = _hierarchy(lines[:head], path)
    rows = [(i + 1, lines[i]) for i in range(head + 1, len(lines)) if lines[i].strip()]
    if len(rows) < 2:
        raise BvhError(f"{path}: ends after MOTION; it was cut off, get it again")
    frames = _setting(*rows[0], "Frames:", path)
    frame_time = _setting(*rows[1], "Frame Time:", path)
    rows = rows[2:]
    if frames != len(rows):
        raise BvhError(
            f"{path}, line {head + 2}: {frames:g} frames promised, {len(rows)} lines of motion "
            "found; the file was cut off or its count is wrong"
        )
    if not rows:
        raise BvhError(f"{path}: no frames")
    width = sum(len(joint.channels) for joint in joints)
    motion = np.empty((len(rows), width))
    for frame, (number, line) in enumerate(rows):
        cells = line.split()
        if len(cells) != width:
            raise BvhError(
                f"{path}, line {number}: {len(cells)} values, the joints have {width} channels"
            )
        motion[frame] = _numbers(cells, number, path)
    return Bvh(joints, frame_time, motion)


def joint_positions(bvh: Bvh) -> np.ndarray:
    """Where the joints are, by forward kinematics.

    Returns:
        float32 (T, V, 3) in the file's unit and axes, V as ``bvh.joints``.
    """
    frames = len(bvh.motion)
    whole = _positions_hold_offsets(bvh)
    positions = np.zeros((frames, len(bvh.joints), 3))
    rotations: list[np.ndarray] = []
    column = 0
    for number, joint in enumerate(bvh.joints):
        values = bvh.motion[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        moved, given = _translation(joint, values)
        offset = np.array(joint.offset)
        replaced = given & (whole or joint.parent < 0)
        local = np.where(replaced, 0.0, offset) + moved
        rotation = np.broadcast_to(np.eye(3), (frames, 3, 3))
        for channel, angles in zip(joint.channels, values.T, strict=True):
            if channel.endswith("rotation"):
                rotation = rotation @ _rotation("xyz".index(channel[0]), np.radians(angles))
        if joint.parent < 0:
            positions[:, number] = local
        else:
            parent = rotations[joint.parent]
            positions[:, number] = positions[:, joint.parent] + (parent @ local[..., None])[..., 0]
            rotation = parent @ rotation
        rotations.append(rotation)
    return positions.astype(np.float32)


def _translation(joint: Joint, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) of the position channels, 0 where there is none, and (3,) which there are."""
    moved, given = np.zeros((len(values), 3)), np.zeros(3, bool)
    for channel, column in zip(joint.channels, values.T, strict=True):
        if channel.endswith("position"):
            axis = "xyz".index(channel[0])
            moved[:, axis], given[axis] = column, True
    return moved, given


def _positions_hold_offsets(bvh: Bvh) -> bool:
    """Whether position channels of joints below a root are nearer to their OFFSET than to 0."""
    to_offset = to_zero = 0.0
    column = 0
    for joint in bvh.joints:
        values = bvh.motion[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        moved, given = _translation(joint, values)
        if joint.parent >= 0 and given.any():
            middle = np.median(moved[:, given], axis=0)
            to_offset += float(np.abs(middle - np.array(joint.offset)[given]).sum())
            to_zero += float(np.abs(middle).sum())
    return to_offset < to_zero


def _rotation(axis: int, angles: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations about one axis, for column vectors, counter-clockwise."""
    matrix = np.zeros((len(angles), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(angles), np.sin(angles)
    matrix[:, axis, axis] = 1
    matrix[:, a, a], matrix[:, b, b] = cosine, cosine
    matrix[:, a, b], matrix[:, b, a] = -sine, sine
    return matrix


def _hierarchy(lines: list[str], path: Path | str) -> tuple[Joint, ...]:
    words = _words(lines)
    joints: list[Joint] = []
    stack: list[int] = []
    line, first = next(words, (1, ""))
    if first.upper() != "HIERARCHY":
        raise BvhError(f"{path}, line {line}: HIERARCHY expected, found {first[:40]!r}")
    for line, word in words:
        kind = word.upper().split()[0]
        if kind in ("ROOT", "JOINT", "END"):
            if (kind == "ROOT") == bool(stack):
                raise BvhError(f"{path}, line {line}: a {kind} cannot stand here")
            parent = stack[-1] if stack else -1
            name = f"{joints[parent].name}_end" if kind == "END" else word[len(kind) :].strip()
            if not name or any(joint.name == name for joint in joints):
                raise BvhError(
                    f"{path}, line {line}: joint name {name!r} is empty or used twice; joints need "
                    "names of their own"
                )
            stack.append(len(joints))
            joints.append(_joint(name, parent, kind == "END", words, line, path))
        elif kind == "}" and stack:
            stack.pop()
        else:
            raise BvhError(
                f"{path}, line {line}: ROOT, JOINT, End Site or }} expected, found {word[:40]!r}"
            )
    if stack or not joints:
        raise BvhError(f"{path}: the joints end in the middle; the file was cut off")
    return tuple(joints)


def _words(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines without braces, and braces, each with its line's number."""
    for number, line in enumerate(lines, 1):
        for part in line.replace("{", "\n{\n").replace("}", "\n}\n").split("\n"):
            if part.strip():
                yield number, part.strip()


def _joint(
    name: str,
    parent: int,
    is_end: bool,
    words: Iterator[tuple[int, str]],
    line: int,
    path: Path | str,
) -> Joint:
    needed = ["{", "OFFSET"] if is_end else ["{", "OFFSET", "CHANNELS"]
    found: list[list[str]] = []
    for wanted in needed:
        line, word = next(words, (line, ""))
        cells = word.split()
        if not cells or cells[0].upper() != wanted:
            raise BvhError(
                f"{path}, line {line}: {wanted} of joint {name} expected, found {word[:40]!r}"
            )
        found.append(cells[1:])
        if wanted == "OFFSET":
            if len(cells) != 4:
                raise BvhError(f"{path}, line {line}: OFFSET needs 3 numbers, found {word[:60]!r}")
            x, y, z = _numbers(cells[1:], line, path)
    channels: tuple[str, ...] = ()
    if not is_end:
        count, *listed = found[2] or ["0"]
        channels = tuple(channel.lower() for channel in listed)
        known = len(set(channels)) == len(channels) and set(channels) <= set(CHANNELS)
        if not known or count != str(len(channels)):
            raise BvhError(
                f"{path}, line {line}: CHANNELS of joint {name} must be their number and as many "
                f"of {', '.join(CHANNELS)}, found {' '.join(found[2])[:80]!r}"
            )
    return Joint(name, parent, (x, y, z), channels)


def _setting(line: int, text: str, key: str, path: Path | str) -> float:
    words, wanted = text.split(), key.split()
    given = " ".join(words[:-1]).lower()
    if len(words) != len(wanted) + 1 or given != key.lower():
        raise BvhError(f"{path}, line {line}: '{key} NUMBER' expected, found {text.strip()[:60]!r}")
    return float(_numbers(words[-1:], line, path)[0])


def _numbers(cells: list[str], line: int, path: Path | str) -> np.ndarray:
    try:
        values = np.array(cells, np.float64)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or (np.abs(values) > 1e30).any():
        raise BvhError(
            f"{path}, line {line}: finite numbers expected, found {' '.join(cells)[:60]!r}"
        )
    return values
