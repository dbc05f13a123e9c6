"""Build wheels and source archives, look into them, and lay them out as a package index."""

from __future__ import annotations

import hashlib
import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.requirements import Requirement
from release_project import Project, ReleaseError

Kind = Literal["wheel", "sdist"]
TOLD = 1500
ALWAYS = {"PKG-INFO", ".gitignore", "pyproject.toml"}
"""What a source archive has besides what its settings include."""


class Built(NamedTuple):
    """The archives of one package."""

    wheel: Path
    sdist: Path


def builder() -> list[str] | None:
    """Command that builds a package in an environment of its own; None where there is none.

    uv comes with hatch, ``build`` by ``pip install build``.
    """
    if uv := os.environ.get("HATCH_UV") or shutil.which("uv"):
        return [uv, "build", "--no-sources"]
    return [sys.executable, "-m", "build"] if importlib.util.find_spec("build") else None


def build(folder: Path, kind: Kind, out: Path) -> Path:
    """Build one archive of the package in ``folder`` into the new folder ``out``.

    Raises:
        ReleaseError: nothing here can build, or the build fails; the text has its last lines.
    """
    command = builder()
    if command is None:
        raise ReleaseError("nothing here builds packages; run it by hatch, or install uv or build")
    line = [*command, f"--{kind}", _option(command), str(out), str(folder)]
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    pattern = "*.whl" if kind == "wheel" else "*.tar.gz"
    made = list(out.glob(pattern)) if out.is_dir() else []
    if done.returncode != 0 or len(made) != 1:
        told = (done.stderr or done.stdout).strip()[-TOLD:]
        raise ReleaseError(f"{folder.name}: its {kind} cannot be built:\n{told}")
    return made[0]


def _option(command: Sequence[str]) -> str:
    return "--outdir" if command[-1] == "build" and "-m" in command else "--out-dir"


def build_both(project: Project, out: Path) -> Built:
    """Wheel and source archive of ``project`` under ``out``."""
    wheel = build(project.folder, "wheel", out / "wheel")
    return Built(wheel, build(project.folder, "sdist", out / "sdist"))


def wheel_problems(wheel: Path, project: Project) -> list[str]:
    """A wheel's name, files and metadata, against the package's sources and settings."""
    stem = f"{project.module}-{project.version}"
    found = []
    if wheel.name != f"{stem}-py3-none-any.whl":
        found.append(f"the wheel is called {wheel.name}, not {stem}-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        metadata = next((name for name in names if name.endswith(".dist-info/METADATA")), None)
        told = message_from_bytes(archive.read(metadata)) if metadata else None
    about = [f"{stem}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")]
    about += [f"{stem}.dist-info/entry_points.txt", f"{stem}.dist-info/licenses/LICENSE"]
    sources = {f"{project.module}/{name}" for name in source_files(project.source)}
    found += _differences("the wheel", names, sources | set(about))
    if told is None:
        return [*found, "the wheel has no METADATA"]
    table = project.table
    wanted = {
        "Name": project.name,
        "Version": project.version,
        "Summary": table.get("description"),
        "License-Expression": table.get("license"),
        "Requires-Python": table.get("requires-python"),
        "Description-Content-Type": "text/markdown",
    }
    found += [
        f"METADATA: {key} is {told[key]!r}, not {value!r}"
        for key, value in wanted.items()
        if told[key] != value
    ]
    if told.get_payload() != (project.folder / "README.md").read_text("utf-8"):
        found.append("METADATA: the description is not README.md")
    listed = [Requirement(text) for text in told.get_all("Requires-Dist", [])]
    plain = {(r.name, str(r.specifier)) for r in listed if "extra ==" not in str(r.marker)}
    declared = {(r.name, str(r.specifier)) for r in project.dependencies}
    folded = {(_folded(name), bounds) for name, bounds in plain}
    if folded != {(_folded(name), bounds) for name, bounds in declared}:
        found.append(f"METADATA: requires {sorted(plain)}, not {sorted(declared)}")
    extras, wanted_extras = set(told.get_all("Provides-Extra", [])), set(_extras(table))
    if extras != wanted_extras:
        found.append(f"METADATA: extras are {sorted(extras)}, not {sorted(wanted_extras)}")
    return found


def _extras(table: Mapping[str, Any]) -> list[str]:
    """Names of the extras that a project table declares."""
    return [_folded(name) for name in table.get("optional-dependencies", {})]


def sdist_problems(sdist: Path, wheel: Path, project: Project, work: Path) -> list[str]:
    """A source archive's files, and whether it builds the wheel once more, byte for byte.

    Args:
        sdist: the source archive.
        wheel: Built from the repository.
        project: the package.
        work: Empty folder to build in.
    """
    stem = f"{project.module}-{project.version}"
    with tarfile.open(sdist) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
        archive.extractall(work, filter="data")
    wanted = {f"{stem}/{name}" for name in (*ALWAYS, "README.md", "CHANGELOG.md", "LICENSE")}
    for part in ("src", "tests"):
        files = source_files(project.folder / part)
        wanted |= {f"{stem}/{part}/{name}" for name in files}
    found = _differences("the source archive", names, wanted, may_miss={f"{stem}/.gitignore"})
    again = build(work / stem, "wheel", work / "again")
    if again.read_bytes() != wheel.read_bytes():
        changed = sorted({name for name, _ in _contents(again) ^ _contents(wheel)})
        found.append(f"the source archive builds another wheel: {', '.join(changed) or 'order'}")
    return found


def source_files(folder: Path) -> set[str]:
    """Files under ``folder`` that belong to it: those that git has, all without git.

    Caches do not count; paths are relative, with slashes.
    """
    done = subprocess.run(
        ["git", "ls-files", "-z", "--", "."], cwd=folder, capture_output=True, check=False
    )
    if done.returncode == 0 and done.stdout:
        return {name for name in done.stdout.decode().split("\0") if name}
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix()
        for path in found
        if not any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    }


def write_index(folder: Path) -> None:
    """Index pages in ``folder/simple`` for the archives that lie in ``folder`` (PEP 503)."""
    by_project: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")]):
        by_project.setdefault(_folded(path.name.split("-")[0]), []).append(path)
    for name, paths in by_project.items():
        links = [
            (f"../../{path.name}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}", path.name)
            for path in paths
        ]
        _write_page(folder / "simple" / name / "index.html", name, links)
    links = [(f"{name}/index.html", name) for name in by_project]
    _write_page(folder / "simple" / "index.html", "Packages", links)


def _write_page(path: Path, title: str, links: Sequence[tuple[str, str]]) -> None:
    lines = [f'<a href="{html.escape(to)}">{html.escape(text)}</a><br>' for to, text in links]
    head = f'<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"><title>{html.escape(title)}'
    body = "\n".join([f"{head}</title></head>\n<body>", *lines, "</body>\n</html>\n"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="utf-8")


def _differences(
    what: str, names: set[str], wanted: set[str], may_miss: frozenset[str] | set[str] = frozenset()
) -> list[str]:
    missing, more = sorted(wanted - names - may_miss), sorted(names - wanted)
    found = [f"{what} lacks {name}" for name in missing]
    return found + [f"{what} has {name}, which git does not" for name in more]


def _contents(wheel: Path) -> set[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            (name, hashlib.sha256(archive.read(name)).hexdigest()) for name in archive.namelist()
        }


def _folded(name: str) -> str:
    """A distribution's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
