"""What is wrong with a package's files before anything is built: one text per problem."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from release_project import Project

MODULES = {
    "opencv-python-headless": "cv2",
    "open_clip_torch": "open_clip",
    "scikit-learn": "sklearn",
    "PyYAML": "yaml",
    "umap-learn": "umap",
    "decord2": "decord",
}
"""Modules whose name does not follow from that of their distribution."""
THROUGH = {
    "bitsandbytes": "transformers",
    "docstring-parser": "jsonargparse",
    "gguf": "transformers",
    "onnxscript": "torch",
    "tensorboard": "accelerate",
    "torch": "transformers",
    "wandb": "accelerate",
}
"""Distributions that nothing of ours need import, as they serve this module, which is imported."""
BY_FILE = {"pycocoevalcap"}
"""Distributions of which files are used, not modules."""
ELSEWHERE = {"ski_data/poses/worker.py"}
"""Scripts that run with another Python, which has what they need."""
LICENCE = "Apache-2.0"
PYTHON = ">=3.10"
CLASSIFIERS = {"Programming Language :: Python :: 3", "Typing :: Typed"}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def module_of(distribution: str) -> str:
    """Name under which a distribution is imported."""
    return MODULES.get(distribution, distribution.replace("-", "_"))


def version_problems(project: Project, final: bool = False) -> list[str]:
    """Version and changelog: the top entry is of this version and says something.

    Args:
        project: the package.
        final: The entry must have a date, and git must know the package's files as they are.
    """
    try:
        if str(Version(project.version)) != project.version:
            return [f"version {project.version!r} is written {Version(project.version)}"]
    except InvalidVersion:
        return [f"version {project.version!r} of pyproject.toml is none, such as 0.2.0"]
    entries = project.changelog()
    if not entries:
        return ["CHANGELOG.md has no entry such as '## 0.2.0 (2026-01-31)'"]
    top = entries[0]
    found = []
    if top.version != project.version:
        found.append(f"CHANGELOG.md starts with {top.version}, the version is {project.version}")
    if not top.text:
        found.append(f"CHANGELOG.md says nothing of {top.version}")
    if top.date != "unreleased" and not DATE.fullmatch(top.date or ""):
        found.append(f"CHANGELOG.md: {top.version} needs a date such as (2026-01-31)")
    if final and top.date == "unreleased":
        found.append(f"CHANGELOG.md calls {top.version} unreleased; put the date there")
    old = [entry.version for entry in entries]
    if len(set(old)) < len(old):
        found.append("CHANGELOG.md has a version twice")
    return found + (_uncommitted(project) if final else [])


def metadata_problems(project: Project, licence: Path) -> list[str]:
    """Licence, readme, Python, classifiers, addresses, console script.

    Args:
        project: the package.
        licence: The repository's licence, of which the package has a copy.
    """
    table = project.table
    wanted = {
        "name": project.name,
        "license": LICENCE,
        "license-files": ["LICENSE"],
        "readme": "README.md",
        "requires-python": PYTHON,
        "scripts": {project.name: f"{project.module}.cli:main"},
    }
    found = [
        f"{key} is {table.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if table.get(key) != value
    ]
    for name in ("README.md", "LICENSE"):
        if not (project.folder / name).is_file():
            found.append(f"{name} is missing")
    own = project.folder / "LICENSE"
    if own.is_file() and own.read_bytes() != licence.read_bytes():
        found.append("LICENSE differs from the repository's")
    description = table.get("description", "")
    if not description or "\n" in description or len(description) > 512:
        found.append("description must be one line of at most 512 letters")
    classifiers = set(table.get("classifiers", []))
    found += [f"classifier {name!r} is missing" for name in sorted(CLASSIFIERS - classifiers)]
    found += [
        f"classifier {name!r} has no place here"
        for name in sorted(classifiers)
        if name.startswith(("License ::", "Private ::"))
    ]
    for label, address in table.get("urls", {}).items():
        if not re.fullmatch(r"https://\S+", address):
            found.append(f"url {label}: {address!r} does not start with https://")
    if not (project.source / "py.typed").is_file():
        found.append("py.typed is missing, though the classifier says Typed")
    return found


def bound_problems(project: Project, projects: dict[str, Project]) -> list[str]:
    """Bounds of dependencies: siblings' allow the present versions, all others have a lower one."""
    found = []
    for requirement in [*project.dependencies, *project.extras]:
        bounds = requirement.specifier
        operators = {bound.operator for bound in bounds}
        if not operators & {">=", "==", "~=", ">"}:
            found.append(f"{requirement.name} has no lower bound")
        if requirement.name in projects:
            version = projects[requirement.name].version
            found += _sibling_bounds(requirement.name, bounds, operators, version)
    return found


def _sibling_bounds(
    name: str, bounds: SpecifierSet, operators: set[str], version: str
) -> Iterator[str]:
    if not bounds.contains(version, prereleases=True):
        yield f"{name}{bounds} does not allow its present version {version}"
    if not operators & {"<", "~="}:
        yield f"{name} has no upper bound; the next minor version may break"


def import_problems(project: Project) -> list[str]:
    """Modules that are imported and not declared, and distributions that are declared for nothing.

    Imports count wherever they stand: in functions, under ``TYPE_CHECKING``, by name.
    """
    places = imported(project.source)
    declared = {r.name: module_of(r.name) for r in [*project.dependencies, *project.extras]}
    known = {*declared.values(), project.module, *sys.stdlib_module_names}
    found = [
        f"{module} is imported in {', '.join(files[:3])} and not declared"
        for module, files in sorted(places.items())
        if module not in known
    ]
    for distribution, module in declared.items():
        through = THROUGH.get(distribution)
        if module not in places and through not in places and distribution not in BY_FILE:
            found.append(f"{distribution} is declared, but nothing imports {module}")
    return found


def imported(source: Path) -> dict[str, list[str]]:
    """Top-level modules that the files under ``source`` import, with the files."""
    places: dict[str, list[str]] = {}
    for path in sorted(source.rglob("*.py")):
        file = path.relative_to(source.parent).as_posix()
        if file in ELSEWHERE:
            continue
        for name in sorted(set(_imports(path.read_text("utf-8")))):
            places.setdefault(name, []).append(file)
    return places


def _imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            name = node.args[0]
            literal = isinstance(name, ast.Constant) and isinstance(name.value, str)
            if literal and called in ("import_module", "__import__", "find_spec"):
                yield name.value.split(".")[0]


def _uncommitted(project: Project) -> list[str]:
    done = subprocess.run(
        ["git", "status", "--porcelain", "--", "."],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return [f"git cannot tell what is committed: {' '.join(done.stderr.split())}"]
    files = [line[3:] for line in done.stdout.splitlines()]
    return [f"not committed: {', '.join(files)}"] if files else []
