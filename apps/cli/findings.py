"""What the doctor tells: a finding per line, found by checks that may fail in any way."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "missing", "broken"]
SECONDS = 180
"""That a probe may take; DeepSpeed's import on a busy machine is slow."""


@dataclass(frozen=True)
class Finding:
    """One thing on this machine.

    Attributes:
        name: What it is.
        status: Whether it is there and works.
        detail: Version, size, or what is wrong.
        use: What needs it.
        needed: Whether ``ski`` is of little use without it; the others are for some commands.
        fix: Command, or what to do, that puts it right; None where all is well.
    """

    name: str
    status: Status
    detail: str
    use: str
    needed: bool = False
    fix: str | None = None


Check = Callable[[], Iterable[Finding]]


def run_check(name: str, check: Check) -> list[Finding]:
    """Findings of a check; if it fails itself, that is the last one."""
    found: list[Finding] = []
    try:
        for one in check():
            found.append(one)
    except Exception as error:  # a doctor that dies of the illness is of no use
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        told = f"cannot be checked: {told}"
        found.append(Finding(name, "broken", told, "this report", True, REINSTALL))
    return found


def probe(name: str) -> dict[str, Any]:
    """What a probe says; ``missing`` names a module that is not there, ``error`` what is wrong."""
    path = Path(__file__).with_name("probes.py")
    # not started as a script: its folder would come first where modules are looked for
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), name],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {SECONDS} s"}
    except OSError as error:
        return {"error": f"cannot start {sys.executable}: {error.strerror}"}
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (ValueError, IndexError):
        said = done.stderr.strip().splitlines()
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        return {"error": f"the process ended by {how}: {said[-1][:200] if said else 'no word'}"}
    return found


def pip_install(*what: str) -> str:
    """The command that installs packages beside this Python; without pip, by uv."""
    names = " ".join(f"'{name}'" if set(name) & set("<>;[ ") else name for name in what)
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return f"uv pip install --python {sys.executable} {names}"
    return f"{sys.executable} -m pip install {names}"


REINSTALL = "install this project again: python -m pip install hatch && hatch env prune"
