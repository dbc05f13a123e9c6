"""Coordinates as a file holds them, before a mapping makes a clip of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coordinates:
    """One clip of a source, in its own unit, axes and joints.

    Attributes:
        joints: (M, T, V, 3) numbers; not finite where nothing is, if the source writes it so.
        present: (M, T, V) bool, False where the source says that it has no point; None if it says
            nothing.
        names: Of the joints, where the file has them.
    """

    joints: np.ndarray
    present: np.ndarray | None = None
    names: tuple[str, ...] | None = None
