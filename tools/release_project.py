"""What a package's files say about its release: settings, version, changelog, siblings."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from ski_data.errors import InputError, MissingFileError, SkiDataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^## (?P<version>\S+)(?: \((?P<date>[^)]*)\))?[ \t]*$", re.MULTILINE)
"""Heading of a version in a changelog: ``## 0.2.0 (2026-01-31)``, or ``(unreleased)``."""


class ReleaseError(SkiDataError):
    """A release that cannot be made here."""

    exit_code = 2


@dataclass(frozen=True)
class Entry:
    """What a changelog says of one version."""

    version: str
    date: str | None
    """As it stands behind the version, such as ``2026-01-31`` or ``unreleased``."""
    text: str


@dataclass(frozen=True)
class Project:
    """One package of the repository.

    Attributes:
        folder: Where its ``pyproject.toml`` lies.
        settings: That file's content.
    """

    folder: Path
    settings: dict[str, Any]

    @property
    def table(self) -> dict[str, Any]:
        """The table ``project``."""
        return self.settings.get("project", {})

    @property
    def name(self) -> str:
        """Name of the distribution: that of the folder."""
        return self.folder.name

    @property
    def module(self) -> str:
        """Name to import."""
        return self.name.replace("-", "_")

    @property
    def version(self) -> str:
        """Version of its settings; empty if there is none."""
        return str(self.table.get("version", ""))

    @property
    def source(self) -> Path:
        """Folder of the import package."""
        return self.folder / "src" / self.module

    @property
    def dependencies(self) -> list[Requirement]:
        """What is always installed with it."""
        return [Requirement(text) for text in self.table.get("dependencies", [])]

    @property
    def extras(self) -> list[Requirement]:
        """What any of its extras brings."""
        groups = self.table.get("optional-dependencies", {}).values()
        return [Requirement(text) for group in groups for text in group]

    def changelog(self) -> list[Entry]:
        """Entries of ``CHANGELOG.md``, the newest first; none without the file."""
        path = self.folder / "CHANGELOG.md"
        return entries(path.read_text("utf-8")) if path.is_file() else []


def entries(changelog: str) -> list[Entry]:
    """The versions of a changelog with their texts, in the order of the file."""
    found = list(HEADING.finditer(changelog))
    ends = [*(heading.start() for heading in found), len(changelog)][1:]
    return [
        Entry(heading["version"], heading["date"], changelog[heading.end() : end].strip())
        for heading, end in zip(found, ends, strict=True)
    ]


def read_projects(root: Path = ROOT) -> dict[str, Project]:
    """All packages by name, each behind those that it depends on.

    Raises:
        MissingFileError: no packages there.
        InputError: a ``pyproject.toml`` that is no TOML, or packages that need each other.
    """
    found = {}
    for path in sorted(root.glob("packages/*/pyproject.toml")):
        try:
            settings = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: no TOML ({error})") from error
        found[path.parent.name] = Project(path.parent, settings)
    if not found:
        raise MissingFileError(f"{root}: has no packages/*/pyproject.toml")
    return _in_order(found)


def siblings(project: Project, projects: dict[str, Project]) -> list[str]:
    """Names of the local packages that ``project`` needs, in their order of release.

    Those that it declares, and those that they declare; ``projects`` are in that order themselves.
    """
    wanted = {requirement.name for requirement in project.dependencies}
    for name in reversed(projects):
        if name in wanted:
            wanted |= {requirement.name for requirement in projects[name].dependencies}
    return [name for name in projects if name in wanted]


def chosen(projects: dict[str, Project], names: Sequence[str]) -> list[Project]:
    """The packages called ``names``, all of them if none is named.

    Raises:
        InputError: a name that no package has.
    """
    unknown = [name for name in names if name not in projects]
    if unknown:
        raise InputError(f"no package {', '.join(unknown)}; there are {', '.join(projects)}")
    return [project for name, project in projects.items() if not names or name in names]


def _in_order(found: dict[str, Project]) -> dict[str, Project]:
    ordered: dict[str, Project] = {}
    while len(ordered) < len(found):
        ready = [
            name
            for name, project in found.items()
            if name not in ordered and set(siblings(project, found)) <= set(ordered)
        ]
        if not ready:
            circle = sorted(set(found) - set(ordered))
            raise InputError(f"these packages need each other: {', '.join(circle)}")
        ordered |= {name: found[name] for name in ready}
    return ordered
