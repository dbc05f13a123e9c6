"""Programs that ``ski`` runs as they are, under its own name."""

from __future__ import annotations

from collections.abc import Sequence

from ski_data import command


def bench(argv: Sequence[str]) -> int:
    """``ski bench list | run | report``: the same as ``python -m benchmarks.bench``."""
    from benchmarks.bench import __main__ as program

    return command.run(
        program.COMMANDS,
        program.spread(list(argv)),
        prog="ski bench",
        version="0",
        description="Make the paper's tables: from training to report.",
    )
