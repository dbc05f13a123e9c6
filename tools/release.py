"""Check, build and describe releases of the packages.

    python tools/release.py check [PACKAGE...] [--final]
    python tools/release.py build --out DIST [PACKAGE...]
    python tools/release.py notes PACKAGE

`docs/release.md` says how a release is made.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from release_archives import (
    Built,
    build_both,
    builder,
    sdist_problems,
    wheel_problems,
    write_index,
)
from release_checks import bound_problems, import_problems, metadata_problems, version_problems
from release_imports import module_problems
from release_project import (
    Project,
    ReleaseError,
    chosen,
    read_projects,
    siblings,
)

from ski_data.errors import InputError, SkiDataError
from ski_data.folders import whole_folder

COLUMNS = ("version", "metadata", "bounds", "imports", "wheel", "sdist", "modules")
Findings = dict[str, list[str]]
"""Problems by column."""


def check(root: Path | None, names: Sequence[str], final: bool = False) -> int:
    """Print one table of all checks and every problem; 1 if there is one."""
    projects = read_projects(root) if root else read_projects()
    wanted = chosen(projects, names)
    with tempfile.TemporaryDirectory(prefix="ski-release-") as folder:
        found = examine(projects, wanted, Path(folder), final)
    rows = [("package", "", *COLUMNS)]
    for project in wanted:
        problems = found[project.name]
        cells = [_cell(problems[column]) for column in COLUMNS]
        rows.append((project.name, project.version, *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    lines = [
        f"{name}: {column}: {problem}"
        for name, problems in found.items()
        for column in COLUMNS
        for problem in problems[column]
    ]
    print("\n" + "\n".join(lines) if lines else "\nno problems")
    return int(bool(lines))


def examine(
    projects: dict[str, Project], wanted: Sequence[Project], work: Path, final: bool = False
) -> dict[str, Findings]:
    """Every check of the ``wanted`` packages, by package and column.

    Args:
        projects: all packages.
        wanted: those to check.
        work: Empty folder for what is built.
        final: Ask for what a version needs before it gets its tag.
    """
    found = {}
    built: dict[str, Built | ReleaseError] = {}

    def archives(name: str) -> Built:
        if name not in built:
            try:
                built[name] = build_both(projects[name], work / name)
            except ReleaseError as error:
                built[name] = error
        result = built[name]
        if isinstance(result, ReleaseError):
            raise result
        return result

    for project in wanted:
        licence = project.folder.parents[1] / "LICENSE"
        made: Findings = {
            "version": version_problems(project, final),
            "metadata": metadata_problems(project, licence),
            "bounds": bound_problems(project, projects),
            "imports": import_problems(project),
        }

        def wheel(project: Project = project) -> list[str]:
            return wheel_problems(archives(project.name).wheel, project)

        def sdist(project: Project = project) -> list[str]:
            own = archives(project.name)
            return sdist_problems(own.sdist, own.wheel, project, work / f"{project.name}-again")

        def modules(project: Project = project) -> list[str]:
            near = [*siblings(project, projects), project.name]
            wheels = {name: archives(name).wheel for name in near}
            return module_problems(project, projects, wheels, work / f"{project.name}-alone")

        made |= {
            "wheel": _tried(wheel),
            "sdist": _tried(sdist),
            "modules": _tried(modules),
        }
        found[project.name] = made
    return found


def build(root: Path | None, names: Sequence[str], out: Path) -> int:
    """Wheels and source archives in the new folder ``out``, with an index in ``out/simple``."""
    projects = read_projects(root) if root else read_projects()
    wanted = chosen(projects, names)
    if builder() is None:
        raise ReleaseError("nothing here builds packages; run it by hatch, or install uv or build")
    with whole_folder(out) as partial, tempfile.TemporaryDirectory() as work:
        made = []
        for project in wanted:
            for path in build_both(project, Path(work) / project.name):
                shutil.copy(path, partial / path.name)
                made.append(path.name)
        write_index(partial)
    print("\n".join(str(out / name) for name in made))
    return 0


def notes(root: Path | None, name: str) -> int:
    """Print what the changelog says of the package's present version."""
    projects = read_projects(root) if root else read_projects()
    (project,) = chosen(projects, [name])
    for entry in project.changelog():
        if entry.version == project.version:
            print(entry.text)
            return 0
    raise InputError(f"{project.folder / 'CHANGELOG.md'}: says nothing of {project.version}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0 done, 1 problems found, 2 wrong usage or input."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "check":
            return check(options.root, options.packages, options.final)
        if options.command == "build":
            return build(options.root, options.packages, options.out)
        return notes(options.root, options.package)
    except SkiDataError as error:
        print(f"release.py: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="release.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, help="a repository other than this one")
    commands = parser.add_subparsers(dest="command", required=True)
    every = {"nargs": "*", "metavar": "PACKAGE", "help": "such as ski-data; all if none is named"}
    sub = commands.add_parser("check", help="say what keeps the packages from a release")
    sub.add_argument("packages", **every)
    sub.add_argument("--final", action="store_true", help="changelog dated, everything committed")
    sub = commands.add_parser("build", help="wheels and source archives with a local index")
    sub.add_argument("packages", **every)
    sub.add_argument("--out", type=Path, required=True, help="new folder")
    sub = commands.add_parser("notes", help="print the changelog of the present version")
    sub.add_argument("package", metavar="PACKAGE")
    return parser


def _tried(step: Callable[[], list[str]]) -> list[str]:
    """What ``step`` finds; a build that fails is a finding."""
    try:
        return step()
    except ReleaseError as error:
        return [str(error)]


def _cell(problems: Sequence[str]) -> str:
    if not problems:
        return "ok"
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"


if __name__ == "__main__":
    sys.exit(main())
