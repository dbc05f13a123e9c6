"""Every package is complete by itself, and the README gives the two commands."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(p.parent for p in (ROOT / "packages").glob("*/pyproject.toml"))
MODULE_OF = {
    "PyYAML": "yaml",
    "av": "av",
    "decord2": "decord",
    "docstring-parser": "docstring_parser",
    "open_clip_torch": "open_clip",
    "opencv-python-headless": "cv2",
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
}
"""Distributions whose module has another name."""

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="reading pyproject.toml needs Python 3.11")


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def top_version(changelog: str) -> str | None:
    """The version that a changelog's first entry is about."""
    entry = re.search(r"^## (\S+)", changelog, flags=re.MULTILINE)
    return entry[1] if entry else None


def first_block(markdown: str) -> list[str]:
    """Lines of the first fenced code block that is not indented."""
    block = re.search(r"^```[^\n]*\n(.*?)^```\s*$", markdown, flags=re.MULTILINE | re.DOTALL)
    return block[1].splitlines() if block else []


def bounds_for(version: str) -> str:
    """The bounds under which a sibling depends on ``version``: 0.1.4 gives >=0.1,<0.2."""
    major, minor, *_ = (int(part) for part in version.split("."))
    return f">={major}.{minor},<{major}.{minor + 1}"


@pytest.fixture(params=PACKAGES, ids=lambda p: p.name)
def folder(request):
    return request.param


@pytest.fixture
def module(folder):
    return folder.name.replace("-", "_")


def test_five_packages():
    names = ["ski-data", "ski-eval", "ski-lvlm", "ski-skeleton", "ski-vlm"]
    assert [p.name for p in PACKAGES] == names


def test_files(folder, module):
    assert len((folder / "README.md").read_text(encoding="utf-8").split()) >= 50
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (folder / "src" / module / "py.typed").read_bytes() == b""
    assert list((folder / "tests").rglob("test_*.py"))


def test_licence_is_apache():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_pyproject(folder, module):
    settings = project(folder)
    table = settings["project"]
    assert settings["build-system"]["build-backend"] == "hatchling.build"
    assert table["name"] == folder.name
    assert re.fullmatch(r"\d+\.\d+\.\d+", table["version"])
    assert "dynamic" not in table
    assert table["readme"] == "README.md"
    assert table["license"] == "Apache-2.0"
    assert table["license-files"] == ["LICENSE"]
    assert "Typing :: Typed" in table["classifiers"]
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": [f"src/{module}"]}


def test_version(folder, module):
    wanted = project(folder)["project"]["version"]
    assert importlib.import_module(module).__version__ == wanted
    changelog = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    assert changelog.startswith(f"# Changelog of {folder.name}\n")
    assert top_version(changelog) == wanted


def test_console_script(folder, module, capsys):
    assert project(folder)["project"]["scripts"] == {folder.name: f"{module}.cli:main"}
    main = importlib.import_module(f"{module}.cli").main
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{folder.name} {project(folder)['project']['version']}\n"
    assert main(["--help"]) == 0
    assert folder.name in capsys.readouterr().out
    assert main(["no-such-command"]) == 2


def test_sibling_bounds(folder):
    versions = {p.name: project(p)["project"]["version"] for p in PACKAGES}
    for requirement in project(folder)["project"]["dependencies"]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        if name in versions:
            assert requirement == name + bounds_for(versions[name])


OTHER_ENVIRONMENTS = {"src/ski_data/poses/worker.py"}
"""Scripts that run with another Python, which has what they need."""


def test_imports_are_declared(folder, module):
    table = project(folder)["project"]
    extras = [r for group in table.get("optional-dependencies", {}).values() for r in group]
    names = [re.match(r"[A-Za-z0-9._-]+", r)[0] for r in [*table["dependencies"], *extras]]
    declared = {MODULE_OF.get(n, n.replace("-", "_")) for n in names} | {module}
    undeclared = {}
    for file in (folder / "src").rglob("*.py"):
        if file.relative_to(folder).as_posix() in OTHER_ENVIRONMENTS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module]
            for name in (n.split(".")[0] for n in found):
                if name not in declared | set(sys.stdlib_module_names):
                    undeclared.setdefault(name, []).append(str(file.relative_to(folder)))
    assert undeclared == {}


def test_readme_starts_with_the_two_commands():
    lines = first_block((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(lines) == 2
    assert all(line.startswith("python -m pip install hatch") for line in lines)
    assert "test" in lines[1]


def test_reading_of_markdown():
    assert first_block("a\n```sh\none\ntwo\n```\n```\nthree\n```\n") == ["one", "two"]
    assert first_block("    ```\n    indented\n    ```\n") == []
    assert top_version("# Changelog of x\n\n## 0.2.0 (unreleased)\n\n## 0.1.0\n") == "0.2.0"
    assert top_version("# Changelog of x\n") is None
    assert bounds_for("0.1.4") == ">=0.1,<0.2"
