"""``ski doctor``: what is missing on this machine, what for, and how to get it.

Imports nothing at its top but the standard library and checks that do the same, so that it runs
where anything else is missing.
"""

from __future__ import annotations

import argparse
import json as json_format
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NoReturn

from apps.cli import datasets, machine, software
from apps.cli.findings import Check, Finding, run_check

CHECKS: Mapping[str, Check] = {
    "Python": software.python,
    "packages": software.packages,
    "torch": software.torch,
    "torchvision": software.torchvision,
    "PyAV": software.pyav,
    "decord": software.decord,
    "OpenCV": software.opencv,
    "DeepSpeed": software.deepspeed,
    "Java": software.java,
    "Chromium": software.chromium,
    "disk": machine.disks,
    "memory": machine.memory,
    "model cache": machine.hub,
    "locale": machine.text_encoding,
}
WIDTH = 21
"""Of names."""
AT_ONCE = 2
"""Checks that run beside each other: torch's import takes a core and 1 GB."""


def doctor(*, json: bool = False, data: str | None = None) -> int:
    """Say what is missing on this machine, what it is for, and how to get it.

    Exit code 0 when all that is needed is there, 1 otherwise.

    Args:
        json: print one JSON object in place of a table.
        data: a folder with data that is checked too: NTU's archives, stores, manifests, Charades.
    """
    checks = dict(CHECKS)
    if data is not None:
        checks["data"] = partial(datasets.data, Path(data))
    found: list[Finding] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for findings in pool.map(lambda item: run_check(*item), checks.items()):
            found += findings
            if not json:
                _print("".join(f"{line}\n" for one in findings for line in lines(one)))
    lacking = [one for one in found if one.needed and one.status != "ok"]
    if json:
        told = {"healthy": not lacking, "findings": [asdict(one) for one in found]}
        _print(json_format.dumps(told, indent=1) + "\n")
    else:
        _print(f"\n{verdict(found, lacking)}\n")
    return 1 if lacking else 0


def lines(one: Finding) -> list[str]:
    """A finding for people; below it what to do where something is wrong."""
    made = [f"{one.status:<8} {one.name:<{WIDTH}} {one.detail}"]
    if one.status != "ok":
        made.append(f"{'':<9}{'needed for' if one.needed else 'only for'}: {one.use}")
    if one.fix is not None:
        made.append(f"{'':<9}to fix: {one.fix}")
    return made


def verdict(found: Sequence[Finding], lacking: Sequence[Finding]) -> str:
    """All findings in a sentence."""
    others = sum(not one.needed and one.status != "ok" for one in found)
    rest = f"; what only some commands need and is not: {others}" if others else ""
    if lacking:
        return f"Not all that is needed is there: {', '.join(one.name for one in lacking)}{rest}."
    return f"All that is needed is there{rest}."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as of all commands."""
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def main(argv: Sequence[str]) -> int:
    """Entry point; parsed by the standard library alone."""
    summary = str(doctor.__doc__).partition("\n")[0]
    parser = _Parser("ski doctor", description=summary, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--data", help="a folder that is checked too: NTU's archives, stores, manifests, Charades"
    )
    try:
        given = parser.parse_args(argv)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    if given.data is not None and not given.data.strip():
        print("ski doctor: --data is empty; name a folder", file=sys.stderr)
        return 2
    return doctor(json=given.json, data=given.data)


def _print(text: str) -> None:
    """On standard output; signs that it cannot show are written as escapes."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)
