"""Arrays in .npy, .npz and .mat files, read without running anything that is in them."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.importing.coordinates import Coordinates
from ski_data.importing.mapping import ImportMapping
from ski_data.importing.mat import read_mat
from ski_data.importing.order import to_mtv, to_mtvc
from ski_data.layouts import get_layout

SUFFIXES = (".npy", ".npz", ".mat")
_UNREADABLE = (
    *(ValueError, OSError, EOFError, MemoryError, OverflowError, TypeError, KeyError),
    *(zipfile.BadZipFile, zlib.error, SyntaxError, tokenize.TokenError),
    *(NotImplementedError, RuntimeError),  # zip members: unknown compression, a password
)


def load_arrays(
    path: Path | str, wanted: Collection[str] | None = None
) -> np.ndarray | dict[str, np.ndarray]:
    """The array of an .npy file, or those of an .npz or .mat file by name.

    Args:
        path: The file.
        wanted: Names to read of an .npz; None reads all.

    Raises:
        MissingFileError: There is no such file.
        InputError: Damaged, of another kind, or with Python objects.
    """
    path = Path(path)
    if path.suffix.lower() == ".mat":
        return read_mat(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        loaded = np.load(path, allow_pickle=False, mmap_mode="r" if _is_npy(path) else None)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = loaded.files if wanted is None else [n for n in loaded.files if n in wanted]
            return {name: loaded[name] for name in names}
    except _UNREADABLE:
        raise InputError(
            f"{path}: not a readable .npy or .npz file of numbers (damaged, of another kind, or "
            "with Python objects, which are never loaded)"
        ) from None


def _is_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY"


def read_arrays(path: Path | str, mapping: ImportMapping, array: str) -> Coordinates:
    """One clip from a file of arrays.

    Args:
        path: .npy, .npz or .mat.
        mapping: Says what the arrays are.
        array: Name of the coordinates, in .npz and .mat.

    Raises:
        MissingFileError: There is no such file.
        InputError: An array is missing or has another shape.
    """
    confidence = mapping.confidence
    names = {array, "" if confidence is None else confidence.name}
    if isinstance(mapping.joint_names, str):
        names.add(mapping.joint_names)
    loaded = load_arrays(path, {name for name in names if name})
    if isinstance(loaded, np.ndarray):
        return arrange(loaded, {}, mapping, Path(path).name)
    if array not in loaded:
        found = ", ".join(sorted(load_arrays(path))) or "none"
        raise InputError(f"{path}: no array {array!r}, found {found}; say in the mapping: array")
    return arrange(loaded[array], loaded, mapping, f"array {array!r}")


def arrange(
    joints: np.ndarray, beside: dict[str, np.ndarray], mapping: ImportMapping, what: str
) -> Coordinates:
    """Coordinates from an array in the mapping's order and from those beside it.

    Raises:
        InputError: Wrong shapes, no numbers, or no such array beside it.
    """
    _check_numbers(joints, what)
    names = joint_names(beside, mapping)
    count = len(names) if names is not None else None
    if count is None and mapping.joints is None:
        count = len(get_layout(mapping.layout).joints)
    order = None if mapping.order is None else mapping.order.replace("N", "")
    own = mapping.confidence is not None and mapping.confidence.name is None
    channels = 4 if own else 3
    clip = to_mtvc(joints, order, joints=count, bodies=mapping.bodies, channels=channels, what=what)
    if clip.shape[-1] != channels:
        extra = " and the confidence" if own else ""
        if clip.shape[-1] == 2:
            extra += "; two coordinates are 2D joints, which must be lifted to 3D first"
        raise InputError(
            f"{what} of shape {joints.shape} has {clip.shape[-1]} coordinates per joint, expected "
            f"x, y, z{extra}; is `order` right?"
        )
    present = None
    if mapping.confidence is not None:
        sure = clip[..., 3] if own else _sure(beside, mapping, clip.shape[:3], order)
        present = sure >= mapping.confidence.threshold
    return Coordinates(clip[..., :3], present, names)


def _sure(
    beside: dict[str, np.ndarray], mapping: ImportMapping, shape: Sequence[int], order: str | None
) -> np.ndarray:
    """(M, T, V) from the array of confidences."""
    settings = mapping.confidence
    name = None if settings is None else settings.name
    if settings is None or name is None or name not in beside:
        raise InputError(f"no array {name!r} for confidence beside the coordinates")
    values = beside[name]
    _check_numbers(values, f"array {name!r}")
    if settings.channel is None:
        return to_mtv(values, order, tuple(shape), f"array {name!r}")
    channels = to_mtvc(values, order, joints=shape[2], bodies=shape[0], what=f"array {name!r}")
    if channels.shape[:3] != tuple(shape) or settings.channel >= channels.shape[3]:
        raise InputError(
            f"array {name!r} {values.shape} has no channel {settings.channel} for (M, T, V) = "
            f"{tuple(shape)}"
        )
    return channels[..., settings.channel]


def joint_names(beside: dict[str, np.ndarray], mapping: ImportMapping) -> tuple[str, ...] | None:
    """Names of the source's joints, from the mapping or the array that it names.

    Raises:
        InputError: There is no such array, or it holds no names.
    """
    wanted = mapping.joint_names
    if not isinstance(wanted, str):
        return wanted
    if wanted not in beside:
        raise InputError(
            f"no array {wanted!r} with joint names; the mapping may list them: joint_names: [...]"
        )
    if beside[wanted].ndim != 1 or beside[wanted].dtype.kind not in "US":
        raise InputError(
            f"array {wanted!r} must hold names (V,), not {beside[wanted].dtype} "
            f"{beside[wanted].shape}"
        )
    return tuple(beside[wanted].astype(str).tolist())


def _check_numbers(array: np.ndarray, what: str) -> None:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{what}: numbers expected, found {array.dtype} {array.shape}")
