"""The order of an array's axes by letters: N clip, M body, T frame, V joint, C coordinate."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from ski_data.errors import InputError

DEFAULT = {2: "T(VC)", 3: "TVC", 4: "MTVC"}
"""Order by the number of dimensions, where a mapping says nothing."""


def parse_order(order: str) -> list[str]:
    """The array's axes, each with the letters that it holds: ``T(VC)`` is ``["T", "VC"]``.

    Raises:
        InputError: Other letters, a letter twice, T, V or C missing, or N not in front.
    """
    axes = re.findall(r"\([A-Z]+\)|[A-Z]", order)
    letters = re.sub("[()]", "", order)
    whole = "".join(axes) == order and set(letters) <= set("NMTVC")
    if not whole or len(set(letters)) != len(letters) or not set("TVC") <= set(letters):
        raise InputError(
            f"order {order!r} must name T (frames), V (joints) and C (coordinates) once each, and "
            "may name M (bodies) and, first, N (clips); for example TVC, CTVM, T(VC), NCTVM"
        )
    if "N" in letters and axes[0] != "N":
        raise InputError(f"order {order!r}: N, the clips, must come first")
    return [axis.strip("()") for axis in axes]


def to_mtvc(
    array: np.ndarray,
    order: str | None,
    *,
    joints: int | None,
    bodies: int,
    channels: int = 3,
    what: str,
) -> np.ndarray:
    """Coordinates of one clip, in any order, as (M, T, V, C); a view where that is possible.

    Args:
        array: Numbers in ``order``.
        order: See :func:`parse_order`, without N; None goes by the number of dimensions.
        joints: V, or None if it may be any; needed only to take axes apart, as the next two.
        bodies: M.
        channels: C.
        what: The array, for errors.

    Raises:
        InputError: Another number of dimensions, or an axis that cannot be taken apart.
    """
    chosen = DEFAULT.get(array.ndim) if order is None else order
    axes = [] if chosen is None else parse_order(chosen)
    if len(axes) != array.ndim:
        allowed = " or ".join(DEFAULT.values()) if order is None else order
        raise InputError(
            f"{what} has {array.ndim} dimensions {array.shape}, expected {allowed}; the mapping's "
            "`order` says which axis is which (T frames, V joints, C coordinates, M bodies)"
        )
    sizes = {"C": channels, "V": joints, "M": bodies}
    array, letters = _taken_apart(array, axes, sizes, what)
    if "M" not in letters:
        letters, array = "M" + letters, array[None]
    return array.transpose([letters.index(letter) for letter in "MTVC"])


def to_mtv(array: np.ndarray, order: str | None, shape: tuple[int, ...], what: str) -> np.ndarray:
    """One value per joint, in the order of the coordinates without C, as (M, T, V).

    Args:
        array: (T,), or as the coordinates without C, with or without M.
        order: Of the coordinates.
        shape: (M, T, V) of the coordinates.
        what: The array, for errors.

    Raises:
        InputError: Another shape.
    """
    chosen = DEFAULT.get(array.ndim + 1, "") if order is None else order
    axes = [axis.replace("C", "") for axis in parse_order(chosen)] if chosen else []
    axes = ["T"] if array.ndim == 1 else [axis for axis in axes if axis]
    if len(axes) == array.ndim:
        sizes = {"V": shape[2], "M": shape[0]}
        array, letters = _taken_apart(array, axes, sizes, what)
        for letter in set("MTV") - set(letters):
            letters, array = letter + letters, array[None]
        turned = array.transpose([letters.index(letter) for letter in "MTV"])
        if all(size in (1, wanted) for size, wanted in zip(turned.shape, shape, strict=True)):
            return np.broadcast_to(turned, shape)
    raise InputError(
        f"{what} is {array.shape}, expected one value per frame, or per joint in the order of the "
        f"coordinates, which are (M, T, V) = {shape}"
    )


def _taken_apart(
    array: np.ndarray, axes: list[str], known: Mapping[str, int | None], what: str
) -> tuple[np.ndarray, str]:
    """The array with one axis per letter, and the letters."""
    sizes: list[int] = []
    for letters, size in zip(axes, array.shape, strict=True):
        if len(letters) == 1:
            sizes.append(size)
            continue
        parts = [known.get(letter) for letter in letters]
        fixed = math.prod(part for part in parts if part is not None)
        open_ = parts.count(None)
        if open_ > 1 or size % fixed or (open_ == 0 and size != fixed):
            meant = " x ".join(
                letter if part is None else f"{letter}={part}"
                for letter, part in zip(letters, parts, strict=True)
            )
            raise InputError(
                f"{what}: an axis of {size} values is not {meant}; check layout, bodies and order"
            )
        sizes += [size // fixed if part is None else part for part in parts]
    return array.reshape(sizes), "".join(axes)
