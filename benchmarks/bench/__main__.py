"""The paper's tables from one command: ``python -m benchmarks.bench list | run | report``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

from ski_data import command

OUT = "runs/bench"
"""Folder of all runs unless the user says."""


def list_tables() -> None:
    """List the tables and their rows."""
    from benchmarks.bench.paper import ORDER, read_table

    for name in ORDER:
        table = read_table(name)
        print(f"{name}: {table.title} ({', '.join(column.title for column in table.columns)})")
        for row in table.rows:
            print(f"  {row.id}: {row.title}" + ("" if row.method else " (published, not run)"))


def run(
    tables: list[str],
    *,
    out: str = OUT,
    data: tuple[str, ...] = (),
    seeds: int | None = None,
    only: str | None = None,
    scale: Literal["full", "tiny"] = "full",
    device: str = "cpu",
    launcher: str = "local",
    weights_folder: str | None = None,
    judge: str | None = None,
    dry_run: bool = False,
) -> int:
    """Run rows of tables on data; what is finished is kept and never done again.

    Args:
        tables: names as the command list says them, or all.
        out: folder of all runs; may be shared by several machines.
        data: adl-mini, ntu60=FOLDER, ntu120=FOLDER, charades=FOLDER, or a folder of one's own;
            several with spaces between them.
        seeds: of each row; by default 3, at the tiny scale 1.
        only: rows to run, commas between them.
        scale: full, or tiny to test that everything runs (adl-mini only).
        device: cpu, cuda or cuda:N; jobs find no other card than this one.
        launcher: local, torchrun:N, slurm:PARTITION or slurm:PARTITION:WORKERS.
        weights_folder: folder of weights that are not to be fetched.
        judge: language model of Table 3's metrics: a model of transformers, or URL=MODEL.
        dry_run: print the plan and do nothing.
    """
    from benchmarks.bench.harness import run_request

    return run_request(
        tables=tables,
        out=Path(out),
        data=data,
        seeds=seeds,
        only=only,
        scale=scale,
        device=device,
        launcher=launcher,
        weights=weights_folder,
        judge=judge,
        dry_run=dry_run,
    )


def report(*, out: str = OUT) -> None:
    """Write report.md and report.html of everything that was asked of a folder, and print the text.

    Args:
        out: folder of all runs.
    """
    from benchmarks.bench.report import write_report

    print(write_report(Path(out).resolve()), end="")


COMMANDS = {"list": list_tables, "run": run, "report": report}


def spread(argv: list[str]) -> list[str]:
    """The command line as the parser takes it: ``--all`` is a table, ``--data`` one list.

    ``--data ntu60=F ntu120=G`` and ``--data ntu60=F --data ntu120=G`` become one list.
    """
    given: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    taking = False
    for word in words:
        if word == "--data" or word.startswith("--data="):
            taking = True
            given += [] if word == "--data" else [word.removeprefix("--data=")]
        elif word.startswith("-"):
            taking = False
            rest.append("all" if word == "--all" else word)
        elif taking:
            given.append(word)
        else:
            rest.append(word)
    return [*rest, f"--data={json.dumps(given)}"] if given else rest


def main() -> int:
    """Entry point."""
    return command.run(
        COMMANDS,
        spread(sys.argv[1:]),
        prog="ski-bench",
        version="0",
        description="Make the paper's tables: from training to report.",
    )


if __name__ == "__main__":
    sys.exit(main())
