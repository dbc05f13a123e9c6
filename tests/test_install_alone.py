"""Each package installs by itself, with the siblings it asks for and nothing else.

Every test makes a new virtual environment and installs the package's folder and those of its local
siblings there; all else comes from the configured index. With uv this takes seconds, since files
are linked from its cache; without uv it falls to pip, which takes minutes for torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="reading pyproject.toml needs Python 3.11")

PACKAGES = Path(__file__).resolve().parents[1] / "packages"
NAMES = sorted(p.parent.name for p in PACKAGES.glob("*/pyproject.toml"))
WITHOUT_TORCH = {"ski-data", "ski-eval"}
CASES = [n if n in WITHOUT_TORCH else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
BIN = "Scripts" if os.name == "nt" else "bin"

IMPORT = """
import importlib, importlib.util, json, sys
names = sys.argv[2:]
found = [n for n in names if importlib.util.find_spec(n)]
module = importlib.import_module(sys.argv[1])
print(json.dumps({"file": module.__file__, "version": module.__version__, "found": found}))
"""


def project(name: str) -> dict:
    return tomllib.loads((PACKAGES / name / "pyproject.toml").read_text("utf-8"))["project"]


def siblings(name: str) -> set[str]:
    """The local packages that ``name`` asks for, and what these ask for."""
    wanted = {re.match(r"[A-Za-z0-9._-]+", r)[0] for r in project(name)["dependencies"]}
    return {one for other in wanted & set(NAMES) for one in {other} | siblings(other)}


def find_uv() -> str | None:
    """The uv of hatch, of the search path, or none."""
    return os.environ.get("HATCH_UV") or shutil.which("uv")


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command; what it said is in the failure if it fails."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def install(name: str, folder: Path) -> Path:
    """A new environment in ``folder`` with ``name`` and its siblings; the folder of its programs.

    The folders are given by name and uv is kept from looking for siblings itself: a sibling that
    is not declared is then absent, and bounds that no local sibling meets fail.
    """
    sources = [PACKAGES / other for other in sorted({name} | siblings(name))]
    programs = folder / BIN
    if uv := find_uv():
        run(uv, "venv", "--python", sys.executable, folder, cwd=folder.parent)
        options = ("--no-sources", "--python", programs / "python")
        run(uv, "pip", "install", *options, *sources, cwd=folder.parent)
    else:
        venv.create(folder, with_pip=True)
        run(programs / "python", "-m", "pip", "install", *sources, cwd=folder.parent)
    return programs


@pytest.fixture
def environment(tmp_path):
    """A folder for a virtual environment, removed at once: with torch it is large."""
    yield tmp_path / "environment"
    shutil.rmtree(tmp_path / "environment", ignore_errors=True)


@pytest.mark.parametrize("name", CASES)
def test_installs_alone(name, environment):
    programs = install(name, environment)
    elsewhere = environment.parent
    module, version = name.replace("-", "_"), project(name)["version"]

    absent = {n.replace("-", "_") for n in NAMES} - {module}
    absent -= {n.replace("-", "_") for n in siblings(name)}
    absent |= {"torch", "open_clip", "transformers"} if name in WITHOUT_TORCH else set()
    answer = json.loads(
        run(programs / "python", "-c", IMPORT, module, *sorted(absent), cwd=elsewhere)
    )
    assert answer["version"] == version
    assert Path(answer["file"]).is_relative_to(environment)
    assert answer["found"] == []

    assert run(programs / name, "--version", cwd=elsewhere) == f"{name} {version}\n"
    assert name in run(programs / name, "--help", cwd=elsewhere)


def test_siblings_follow_the_packages_settings():
    assert siblings("ski-data") == siblings("ski-eval") == set()
    assert siblings("ski-vlm") == {"ski-data", "ski-eval", "ski-skeleton"}
