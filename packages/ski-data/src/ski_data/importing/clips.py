"""From what a file holds to a clip of the store: joints, units, axes, validity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ski_data.errors import InputError
from ski_data.importing import arrays, tables
from ski_data.importing.bvh import joint_positions, read_bvh
from ski_data.importing.coordinates import Coordinates
from ski_data.importing.mapping import ImportMapping, SourceJoint, check_units
from ski_data.layouts import KINECT25, UNITS, Layout, Validity, convert, get_layout, joint_validity
from ski_data.ntu.skeleton_file import read_skeleton

BODY = (0.25, 4.0)
"""Metres that a body measures along its longest axis, from half of one to arms and poles."""
_USUAL = 1.5
_FARTHEST = 1e5
_SHOWN = 12

Reader = Callable[[Path, ImportMapping, str], Coordinates]


@dataclass(frozen=True)
class Clip:
    """A clip as the store takes it.

    Attributes:
        joints: float32 (3, T, V, M) in metres, y up; 0 where nothing is.
        validity: uint8 (T, V, M) of :class:`ski_data.layouts.Validity`.
        dropped: Frames without a body, which were left out.
        frozen: Whether nothing moves.
    """

    joints: np.ndarray
    validity: np.ndarray
    dropped: int
    frozen: bool


def read_clip(path: Path, mapping: ImportMapping, values: Mapping[str, Any]) -> Coordinates:
    """Coordinates from one file, by its ending.

    Args:
        path: The file.
        mapping: How it is laid out.
        values: What names of arrays may be filled in with.

    Raises:
        MissingFileError: There is no such file.
        InputError: A file of another kind, or one that cannot be used.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: files are read that end in {', '.join(READERS)}")
    if reader is _read_arrays:
        confidence = mapping.confidence
        if confidence is not None and confidence.name is not None:
            filled = fill_in(confidence.name, values, "confidence")
            mapping = replace(mapping, confidence=replace(confidence, name=filled))
        return reader(path, mapping, fill_in(mapping.array, values, "array"))
    return reader(path, mapping, "")


def fill_in(pattern: str, values: Mapping[str, Any], what: str) -> str:
    """``pattern`` with the values whose names stand in it in braces.

    Raises:
        InputError: A name that has no value, or broken braces.
    """
    try:
        return pattern.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise InputError(
            f"{what} {pattern!r} cannot be filled in ({error!r}); known: "
            f"{', '.join(sorted(values))}"
        ) from None


def _read_arrays(path: Path, mapping: ImportMapping, array: str) -> Coordinates:
    return arrays.read_arrays(path, mapping, array)


def _read_table(path: Path, mapping: ImportMapping, _: str) -> Coordinates:
    return tables.read_coordinates(
        path, mapping.table, mapping.confidence, missing=mapping.missing == "nan"
    )


def _read_bvh(path: Path, mapping: ImportMapping, _: str) -> Coordinates:
    _without_confidence(path, mapping)
    bvh = read_bvh(path)
    return Coordinates(joint_positions(bvh)[None], None, tuple(joint.name for joint in bvh.joints))


def _read_ntu(path: Path, mapping: ImportMapping, _: str) -> Coordinates:
    _without_confidence(path, mapping)
    raw = read_skeleton(path)
    ids = list(dict.fromkeys(raw.body_id.tolist()))
    if len(ids) > mapping.bodies:
        raise InputError(
            f"{path}: {len(ids)} bodies, the mapping allows bodies: {mapping.bodies}; raise it, or "
            "make the store with `ski-data prepare`, which tells people from tracking errors"
        )
    slots = np.array([ids.index(body) for body in raw.body_id.tolist()])
    joints = np.zeros((len(ids), raw.frames, *raw.joints.shape[1:]), np.float32)
    present = np.zeros(joints.shape[:3], bool)
    joints[slots, raw.frame] = raw.joints
    present[slots, raw.frame] = raw.tracking > 0
    return Coordinates(joints, present, KINECT25.joints)


def _without_confidence(path: Path, mapping: ImportMapping) -> None:
    if mapping.confidence is not None:
        raise InputError(f"{path}: such a file holds no confidence; take it out of the mapping")


READERS: dict[str, Reader] = {
    **dict.fromkeys(arrays.SUFFIXES, _read_arrays),
    **dict.fromkeys(tables.SUFFIXES, _read_table),
    ".bvh": _read_bvh,
    ".skeleton": _read_ntu,
}
"""Reader by the ending of a file's name."""


def to_clip(source: Coordinates, mapping: ImportMapping) -> Clip:
    """The clip that the mapping makes of coordinates.

    Raises:
        InputError: Other joints than the layout's, no frame with a body, more bodies than allowed,
            values that are not finite, or a body of a size that no body has in the unit.
    """
    layout = get_layout(mapping.layout)
    joints, present, states = _chosen(_cut(source, mapping), mapping, layout)
    present = _present(joints, present, mapping, layout)
    joints = np.where(present[..., None], joints, np.float32(0))
    slots, frames = present.any((1, 2)), present.any((0, 2))
    if not frames.any():
        raise InputError(f"no frame with a body in {present.shape[1]} frames")
    if slots.sum() > mapping.bodies:
        raise InputError(
            f"{int(slots.sum())} bodies, the mapping allows bodies: {mapping.bodies}; raise it or "
            "leave bodies out of the source"
        )
    joints, present = joints[slots][:, frames], present[slots][:, frames]
    scaled = joints * np.float32(check_units(mapping.units))
    check_size(scaled, present, mapping.units)
    target = layout if mapping.target == "keep" else KINECT25
    converted, _ = convert(scaled, layout, target, mapping.axes)
    parts = _parts(layout.name, target.name)
    whole = (present[..., None, :] | ~parts).all(-1) & parts.any(-1)
    least = np.where(parts, states, Validity.MEASURED).min(-1)
    codes = np.minimum(joint_validity(layout, target), least)
    validity = np.where(whole, codes, Validity.ABSENT).astype(np.uint8)
    clip = np.where(whole[..., None], converted, np.float32(0)).transpose(3, 1, 2, 0)
    frozen = clip.shape[1] > 1 and bool((clip == clip[:, :1]).all())
    dropped = len(frames) - int(frames.sum())
    return Clip(clip, validity.transpose(1, 2, 0), dropped, frozen)


def default_validity(mapping: ImportMapping) -> np.ndarray:
    """(V',) codes of the store's joints where everything in the source was seen."""
    layout = get_layout(mapping.layout)
    target = layout if mapping.target == "keep" else KINECT25
    states = np.array([state for state, _ in _wanted(mapping, layout)])
    parts = _parts(layout.name, target.name)
    least = np.where(parts, states, Validity.MEASURED).min(-1)
    return np.minimum(joint_validity(layout, target), least).astype(np.uint8)


def _cut(source: Coordinates, mapping: ImportMapping) -> Coordinates:
    total = source.joints.shape[1]
    if total == 0:
        raise InputError("the clip has no frames")
    if mapping.frames is None:
        return source
    first, end = mapping.frames
    if first >= total:
        raise InputError(f"frames {list(mapping.frames)} leave none of the {total} frames")
    present = source.present
    return replace(
        source,
        joints=source.joints[:, first:end],
        present=None if present is None else present[:, first:end],
    )


def _wanted(mapping: ImportMapping, layout: Layout) -> list[tuple[Validity, list[int | str]]]:
    """State and source joints, by number or name, of each of the layout's joints."""
    if mapping.joints is None:
        return [(Validity.MEASURED, [name]) for name in layout.joints]
    used: set[SourceJoint] = set()
    result: list[tuple[Validity, list[int | str]]] = []
    for ours in layout.joints:
        theirs = mapping.joints[ours]
        if theirs is None:
            result.append((Validity.ABSENT, []))
        elif isinstance(theirs, tuple) and len(theirs) > 1:
            result.append((Validity.INTERPOLATED, list(theirs)))
        else:
            single = theirs[0] if isinstance(theirs, tuple) else theirs
            result.append((Validity.COPIED if single in used else Validity.MEASURED, [single]))
            used.add(single)
    return result


def _chosen(
    source: Coordinates, mapping: ImportMapping, layout: Layout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The layout's joints (M, T, V, 3), where they are (M, T, V), and their states (V,)."""
    names, given = source.names, source.joints.shape[2]
    with np.errstate(over="ignore"):  # infinities are found later
        joints = source.joints.astype(np.float32)
    if names is not None and (len(names) != given or len(set(names)) != len(names)):
        raise InputError(
            f"{len(names)} joint names ({len(set(names))} different) for {given} joints"
        )
    wanted = _wanted(mapping, layout)
    if mapping.joints is None and (names is None or all(name.isdecimal() for name in names)):
        if given != len(layout.joints):
            raise InputError(
                f"{given} joints, layout {layout.name} has {len(layout.joints)}; name the right "
                "layout, or say in the mapping which joint is which: joints: {ours: theirs}"
            )
        numbers = [[joint] for joint in range(given)]
    else:
        numbers = [[_number(joint, names, given, layout) for joint in part] for _, part in wanted]
    states = np.array([state for state, _ in wanted])
    seen = np.ones(joints.shape[:3], bool) if source.present is None else source.present
    if all(len(part) == 1 for part in numbers):
        order = [part[0] for part in numbers]
        return joints[:, :, order], seen[:, :, order], states
    chosen = np.zeros((*joints.shape[:2], len(numbers), 3), np.float32)
    present = np.zeros(chosen.shape[:3], bool)
    for joint, part in enumerate(numbers):
        if part:
            chosen[:, :, joint] = joints[:, :, part].mean(axis=2)
            present[:, :, joint] = seen[:, :, part].all(axis=2)
            if mapping.missing == "zeros" and len(part) > 1:
                present[:, :, joint] &= joints[:, :, part].any(axis=3).all(axis=2)
    return chosen, present, states


def _number(joint: int | str, names: tuple[str, ...] | None, given: int, layout: Layout) -> int:
    if isinstance(joint, int):
        if not 0 <= joint < given:
            raise InputError(f"no joint {joint}; the source's joints are 0..{given - 1}")
        return joint
    if names is None:
        raise InputError(
            f"the source has no joint names, so {joint!r} is not known; give numbers from 0, or "
            "its names in order: joint_names: [...]"
        )
    if joint not in names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise InputError(
            f"no joint {joint!r} in the source, which has {', '.join(names[:_SHOWN])}{more}; say "
            f"in the mapping which is which: joints: {{{layout.joints[0]}: {names[0]}, ...}}"
        )
    return names.index(joint)


def _present(
    joints: np.ndarray, present: np.ndarray, mapping: ImportMapping, layout: Layout
) -> np.ndarray:
    """(M, T, V): where there is a point. A body of zeros is none; NaN is an error if not said."""
    bad = ~np.isfinite(joints)
    if mapping.missing == "nan":
        nothing = np.isnan(joints).any(-1)
        present = present & ~nothing
        bad &= ~nothing[..., None]
    bad &= present[..., None]
    if bad.any():
        body, frame, joint, _ = np.argwhere(bad)[0]
        hint = "; if NaN means a joint that was not seen, say so in the mapping: missing: nan"
        raise InputError(
            f"{int(bad.sum())} coordinates are not finite numbers, first: frame {frame}, joint "
            f"{layout.joints[joint]}, body {body}"
            + (hint if np.isnan(joints[body, frame, joint]).any() else "")
        )
    nonzero = (joints != 0).any(-1)
    if mapping.missing == "zeros":
        return present & nonzero
    return present & nonzero.any(-1, keepdims=True)


def check_size(joints: np.ndarray, present: np.ndarray, units: str) -> None:
    """Refuse bodies that are none: far too large or small for the unit, or flat.

    Args:
        joints: (M, T, V, 3) in what are metres if ``units`` is right.
        present: (M, T, V).
        units: What the mapping says.

    Raises:
        InputError: The text says which unit would fit, if one does.
    """
    if np.abs(joints).max() > _FARTHEST:
        raise InputError(
            f"coordinates up to {np.abs(joints).max():.3g} m if the unit is {units}; check units"
        )
    there = present[..., None]
    sizes = np.where(there, joints, -np.inf).max(2) - np.where(there, joints, np.inf).min(2)
    share = present.mean(-1)
    counted = sizes[share >= min(0.5, float(share.max()))]
    middle = np.median(counted, axis=0)
    size = float(np.median(counted.max(-1)))
    if size > 0 and (counted.max(0) == 0).any():
        flat = "xyz"[int((counted.max(0) == 0).argmax())]
        raise InputError(
            f"{flat} is the same for all joints: these are joints in an image; lift them to 3D "
            "first"
        )
    if BODY[0] <= size <= BODY[1]:
        return
    metres = check_units(units)
    fitting = [
        name
        for name, factor in UNITS.items()
        if factor is not None and BODY[0] <= size / metres * factor <= BODY[1]
    ]
    fitting.sort(key=lambda name: abs(np.log(size / metres * (UNITS[name] or 1) / _USUAL)))
    if fitting:
        advice = f"they fit {' or '.join(fitting)}; write units: {fitting[0]} in the mapping"
    elif size == 0:
        advice = "all joints are at one point; check array, order and joints"
    else:
        advice = (
            "no known unit fits, so these may be pixels or scaled coordinates; scale them to metres"
        )
    extent = " x ".join(f"{value / metres:.3g}" for value in middle)
    raise InputError(
        f"the bodies measure {extent} {units} (x, y, z; median), which no body does: {advice}"
    )


@lru_cache
def _parts(source: str, target: str) -> np.ndarray:
    """(V', V) bool: which joints of ``source`` make each joint of ``target``."""
    count = len(get_layout(source).joints)
    single = np.repeat(np.eye(count, dtype=np.float32)[..., None], 3, axis=-1)
    made, _ = convert(single, source, target, ("x", "y", "z"))
    return made[..., 0].T > 0
