"""Moving a recording to its first performer: the published CTR-GCN translation."""

from __future__ import annotations

import numpy as np

from ski_data.errors import InputError

ORIGIN_JOINT = 1
"""Middle of the spine (joint 2 of the data set's numbering)."""


def align(rows: np.ndarray, name: str = "recording") -> np.ndarray:
    """Put the origin at the spine of slot 1 in its first frame; no scaling, no rotation.

    Args:
        rows: (n, 75) or (n, 150) float32 as :func:`ski_data.ntu.denoise.denoise` gives them.
        name: Stands in the error text.

    Returns:
        The same shape; in (n, 150) a slot's rows that summed to zero before stay zero.

    Raises:
        InputError: Slot 1 is empty in every frame.

    Source: CTR-GCN ``data/ntu/seq_transformation.py``.
    """
    if rows.ndim != 2 or rows.shape[1] not in (75, 150):
        raise InputError(f"{name}: rows must be (n, 75) or (n, 150), not {rows.shape}")
    present = np.flatnonzero((rows[:, :75] != 0).any(axis=1))
    if len(present) == 0:
        raise InputError(f"{name}: no frame holds a first body")
    slots = rows.reshape(len(rows), -1, 25, 3)
    moved = slots - slots[present[0], 0, ORIGIN_JOINT]
    if slots.shape[1] == 2:
        moved[slots.reshape(len(rows), 2, 75).sum(axis=2) == 0] = 0
    return moved.reshape(rows.shape)
