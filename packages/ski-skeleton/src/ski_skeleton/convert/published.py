"""Published encoder classes that checkpoints are converted from and to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from ski_skeleton.convert.hyperformer import OFFICIAL_HEAD, SKI_HEAD, hyperformer_table
from ski_skeleton.convert.shift_gcn import shift_gcn_constants, shift_gcn_table
from ski_skeleton.convert.stgcn import stgcn_constants, stgcn_table
from ski_skeleton.convert.table import Table, from_published, to_published, without_constants
from ski_skeleton.encoders import EncoderConfig
from ski_skeleton.errors import CheckpointError
from ski_skeleton.weights import shorten


class Published(NamedTuple):
    """How a published class is read and written."""

    kind: str
    """Of our encoder."""
    head: str
    """Name of its last layer."""
    table: Callable[[Any], Table]
    constants: Callable[[Any], Mapping[str, Tensor]] = lambda _: {}
    """Entries of its state dict that no training changes."""


PUBLISHED: Mapping[str, Published] = {
    "official": Published(
        "hyperformer", OFFICIAL_HEAD, lambda config: hyperformer_table(config, OFFICIAL_HEAD)
    ),
    "ski": Published("hyperformer", SKI_HEAD, lambda config: hyperformer_table(config, SKI_HEAD)),
    "stgcn": Published("stgcn", "fc", stgcn_table, stgcn_constants),
    "shift_gcn": Published("shift_gcn", "fc", shift_gcn_table, shift_gcn_constants),
}
"""By the name that users write."""


def encoder_from_published(
    published: Published, config: EncoderConfig, state: Mapping[str, Tensor], source: str
) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Our settings, with the width of the state's head, and our state dict.

    Args:
        published: the class that the state is of.
        config: sizes; its output is taken from the state.
        state: a published state dict.
        source: names it in errors.

    Raises:
        CheckpointError: missing, unknown or misshapen entries, or another graph.
    """
    rows = state.get(f"{published.head}.weight")
    classes = None if rows is None or rows.ndim != 2 else int(rows.shape[0])
    built = replace(config, output=classes)
    own = without_constants(state, published.constants(built), source)
    return built, from_published(published.table(built), own, source)


def encoder_to_published(
    published: Published, config: EncoderConfig, state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """A published state dict, whole: constants included.

    Raises:
        CheckpointError: missing, unknown or misshapen entries.
    """
    theirs = to_published(published.table(config), state, source)
    return {**theirs, **published.constants(config)}


def entries_under(prefix: str, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it; all for an empty one.

    Raises:
        CheckpointError: no such entries.
    """
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if not found:
        raise CheckpointError(
            f"{source}: no entry begins with {prefix!r}; there are {shorten(list(state))}"
        )
    return found
