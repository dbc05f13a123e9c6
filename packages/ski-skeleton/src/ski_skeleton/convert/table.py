"""Converters as data: which entries of a published checkpoint make up each of ours.

One table serves both directions, so that a round trip is exact, and an entry that the table does
not know is an error, never dropped silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ski_skeleton.errors import CheckpointError
from ski_skeleton.weights import coverage


class Part(NamedTuple):
    """An entry of the published checkpoint."""

    name: str
    shape: tuple[int, ...]


class Entry(NamedTuple):
    """One of our entries and the published ones that it is made of.

    The parts are laid one after the other along the first axis and viewed in ``shape``; ``copied``
    says that all parts hold the same value (step counters of norms that are one norm in ours).
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    copied: bool = False


Table = list[Entry]


def same(name: str, other: str, shape: Iterable[int]) -> Entry:
    """An entry that is only renamed."""
    shape = tuple(shape)
    return Entry(name, shape, (Part(other, shape),))


def norm_entries(
    name: str, others: Iterable[tuple[str, int]], *, statistics: bool = True
) -> Iterable[Entry]:
    """Entries of a norm layer made of one or more published norms (name, channels)."""
    others = list(others)
    width = sum(channels for _, channels in others)
    fields = ("weight", "bias", "running_mean", "running_var") if statistics else ("weight", "bias")
    for field in fields:
        parts = tuple(Part(f"{other}.{field}", (channels,)) for other, channels in others)
        yield Entry(f"{name}.{field}", (width,), parts)
    if statistics:
        counters = tuple(Part(f"{other}.num_batches_tracked", ()) for other, _ in others)
        yield Entry(f"{name}.num_batches_tracked", (), counters, copied=True)


def from_published(table: Table, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Our state dict from a published one.

    Raises:
        CheckpointError: missing, unknown or misshapen entries of ``state``.
    """
    wanted = {part.name: part.shape for entry in table for part in entry.parts}
    problems = coverage(wanted, {k: tuple(v.shape) for k, v in state.items()})
    if problems:
        raise CheckpointError(f"{source}: {problems}")
    ours = {}
    for entry in table:
        values = [state[part.name] for part in entry.parts]
        joined = values[0] if entry.copied or len(values) == 1 else torch.cat(values)
        ours[entry.name] = joined.reshape(entry.shape)
    return ours


def to_published(table: Table, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The published state dict from ours; the inverse of :func:`from_published`.

    Raises:
        CheckpointError: missing, unknown or misshapen entries of ``state``.
    """
    wanted = {entry.name: entry.shape for entry in table}
    problems = coverage(wanted, {k: tuple(v.shape) for k, v in state.items()})
    if problems:
        raise CheckpointError(f"{source}: {problems}")
    theirs = {}
    for entry in table:
        value = state[entry.name]
        if entry.copied:
            theirs.update({part.name: value.clone() for part in entry.parts})
        elif len(entry.parts) == 1:
            theirs[entry.parts[0].name] = value.reshape(entry.parts[0].shape)
        else:
            rows = [part.shape[0] for part in entry.parts]
            for part, piece in zip(entry.parts, value.split(rows), strict=True):
                theirs[part.name] = piece.reshape(part.shape)
    return theirs


def without_constants(
    state: Mapping[str, Tensor], constants: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """A published state dict without entries that no training changes.

    They may be absent. Floats may differ by 1e-6 from what they have to be.

    Raises:
        CheckpointError: one of another shape or value, which makes it another model.
    """
    for name, wanted in constants.items():
        if name not in state:
            continue
        found = state[name].to(wanted.dtype)
        if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=0, atol=1e-6):
            raise CheckpointError(
                f"{source}: {name} is not the constant of this model; it belongs to another graph, "
                "number of joints or width"
            )
    return {name: value for name, value in state.items() if name not in constants}


def with_prefix(table: Table, ours: str, theirs: str) -> Table:
    """The same table for a module that sits under a prefix on either side."""
    return [
        entry._replace(
            name=ours + entry.name,
            parts=tuple(part._replace(name=theirs + part.name) for part in entry.parts),
        )
        for entry in table
    ]
