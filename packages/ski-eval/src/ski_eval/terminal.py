"""What the commands share: random generator, errors that name files, results on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.results import plain
from ski_eval.tables import markdown_table


def generator(seed: int) -> np.random.Generator:
    """Source of resamples of ``--seed``.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    return np.random.default_rng(seed)


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Say in errors which files they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def print_json(value: object) -> None:
    """Print dataclasses, lists and plain values as indented JSON."""
    print(json.dumps(plain(value), indent=1))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(markdown_table(headers, rows), end="")


def print_missing_intervals(figures: Sequence[tuple[float | None, Interval | None]]) -> None:
    """Say why figures stand without an interval: (value, interval) of each."""
    if any(value is not None and interval is None for value, interval in figures):
        print("\nWithout brackets: no resample changes the figure, so its spread is not known.")


def headline(text: str, level: float) -> str:
    """Heading of a column of values with their intervals."""
    return f"{text} [{100 * level:g} % interval]"
