"""Import every module of a built wheel with nothing beside what the package declares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from release_checks import module_of
from release_project import Project, siblings

WALK = """
import importlib, json, pkgutil, sys
absent = json.loads(sys.argv[2])
sys.modules.update(dict.fromkeys(absent))  # importing one of these raises, as if it were not there
package = importlib.import_module(sys.argv[1])
found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
failed = {}
count = 0
for name in (module.name for module in found if not module.name.endswith("__main__")):
    count += 1
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
answer = {"file": package.__file__, "version": package.__version__, "count": count}
print("\\n" + json.dumps({**answer, "failed": failed}))
"""


def absent_modules(project: Project, projects: dict[str, Project]) -> set[str]:
    """Modules that must not be needed: of all extras, and of siblings that it does not need."""
    near = [project, *(projects[name] for name in siblings(project, projects))]
    there = {module_of(r.name) for one in near for r in one.dependencies}
    there |= {one.module for one in near}
    extras = {module_of(r.name) for one in projects.values() for r in one.extras}
    return (extras | {one.module for one in projects.values()}) - there


def module_problems(
    project: Project, projects: dict[str, Project], wheels: dict[str, Path], work: Path
) -> list[str]:
    """What goes wrong when each module of ``project`` is imported from its wheel.

    Other people's packages come from the running environment; modules of extras and of siblings
    that the package does not need are hidden.

    Args:
        project: the package.
        projects: all packages.
        wheels: Wheels by package: of this one and of the siblings that it needs.
        work: Empty folder to unpack them in.
    """
    paths = []
    for name in [*siblings(project, projects), project.name]:
        paths.append(work / name)
        with zipfile.ZipFile(wheels[name]) as archive:
            archive.extractall(paths[-1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, reversed(paths)))}
    absent = json.dumps(sorted(absent_modules(project, projects)))
    done = subprocess.run(
        [sys.executable, "-c", WALK, project.module, absent],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return [f"import {project.module} fails: {done.stderr.strip().splitlines()[-1]}"]
    answer = json.loads(done.stdout.splitlines()[-1])
    found = [f"import {name} fails: {why}" for name, why in answer["failed"].items()]
    if answer["version"] != project.version:
        told = answer["version"]
        found.append(f"{project.module}.__version__ is {told}, pyproject.toml: {project.version}")
    if not Path(answer["file"]).resolve().is_relative_to(work.resolve()):
        found.append(f"{project.module} was imported from {answer['file']}, not from its wheel")
    return found
