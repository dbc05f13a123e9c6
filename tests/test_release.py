"""What `tools/release.py` finds: in two small packages with one fault each, and in our own."""

from __future__ import annotations

import subprocess
import zipfile

import pytest
import release
from release_archives import build_both, builder, sdist_problems, wheel_problems, write_index
from release_checks import (
    bound_problems,
    import_problems,
    imported,
    metadata_problems,
    version_problems,
)
from release_imports import absent_modules
from release_project import ROOT, chosen, entries, read_projects, siblings

from ski_data.errors import InputError, MissingFileError

SETTINGS = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.2.0"
description = "A package"
readme = "README.md"
requires-python = ">=3.10"
license = "Apache-2.0"
license-files = ["LICENSE"]
classifiers = ["Programming Language :: Python :: 3", "Typing :: Typed"]
dependencies = [{dependencies}]

[project.optional-dependencies]
more = ["absent-thing>=1"]

[project.scripts]
{name} = "{module}.cli:main"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]

[tool.hatch.build.targets.sdist]
include = ["src", "tests", "README.md", "CHANGELOG.md", "LICENSE"]
"""
FILES = {
    "README.md": "# A package\n",
    "CHANGELOG.md": "# Changelog\n\n## 0.2.0 (2026-01-31)\n\n- New.\n\n## 0.1.0 (x)\n\n- Old.\n",
    "LICENSE": "Apache\n",
    "src/{module}/__init__.py": "from importlib.metadata import version\n\n"
    '__version__ = version("{name}")\n',
    "src/{module}/cli.py": "def main():\n    import absent_thing\n    return absent_thing\n",
    "src/{module}/py.typed": "",
    "src/{module}/recipes/a.yaml": "a: 1\n",
    "tests/test_a.py": "",
}


def write_package(root, name, dependencies=""):
    module = name.replace("-", "_")
    folder = root / "packages" / name
    settings = SETTINGS.format(name=name, module=module, dependencies=dependencies)
    for file, text in {**FILES, "pyproject.toml": settings}.items():
        path = folder / file.format(module=module)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{name}", name).replace("{module}", module), encoding="utf-8")
    return folder


@pytest.fixture
def root(tmp_path):
    """A repository of ski-above, which needs ski-base."""
    (tmp_path / "LICENSE").write_text("Apache\n", encoding="utf-8")
    write_package(tmp_path, "ski-base")
    above = write_package(tmp_path, "ski-above", '"ski-base>=0.2,<0.3", "numpy>=1.26"')
    uses = above / "src" / "ski_above" / "uses.py"
    uses.write_text("import numpy\nfrom ski_base import __version__\n", encoding="utf-8")
    return tmp_path


def problems(root, name="ski-above"):
    projects = read_projects(root)
    project = projects[name]
    return [
        *version_problems(project),
        *metadata_problems(project, root / "LICENSE"),
        *bound_problems(project, projects),
        *import_problems(project),
    ]


def test_sound_packages_have_no_problems(root):
    assert problems(root) == problems(root, "ski-base") == []
    projects = read_projects(root)
    assert list(projects) == ["ski-base", "ski-above"]  # in the order of their release
    assert siblings(projects["ski-above"], projects) == ["ski-base"]
    assert absent_modules(projects["ski-base"], projects) == {"absent_thing", "ski_above"}
    assert absent_modules(projects["ski-above"], projects) == {"absent_thing"}


def test_what_a_sibling_needs_is_there_too(root):
    top = write_package(root, "ski-top", '"ski-above>=0.2,<0.3"') / "src" / "ski_top" / "uses.py"
    top.write_text("import ski_above\n", encoding="utf-8")
    projects = read_projects(root)
    assert siblings(projects["ski-top"], projects) == ["ski-base", "ski-above"]
    assert problems(root, "ski-top") == []
    assert absent_modules(projects["ski-top"], projects) == {"absent_thing"}


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("pyproject.toml", 'version = "0.2.0"', 'version = "0.2"', "starts with 0.2.0, the"),
        ("pyproject.toml", 'version = "0.2.0"', 'version = "next"', "'next' of pyproject.toml is"),
        ("pyproject.toml", 'version = "0.2.0"', 'version = "0.02.0"', "is written 0.2.0"),
        ("CHANGELOG.md", "## 0.2.0 (2026-01-31)", "## 0.3.0 (2026-02-01)", "starts with 0.3.0"),
        ("CHANGELOG.md", "2026-01-31", "soon", "0.2.0 needs a date"),
        ("CHANGELOG.md", " (2026-01-31)", "", "0.2.0 needs a date"),
        ("CHANGELOG.md", "- New.\n", "", "says nothing of 0.2.0"),
        ("CHANGELOG.md", "## 0.1.0 (x)", "## 0.2.0 (x)", "has a version twice"),
        ("CHANGELOG.md", "## ", "### ", "has no entry"),
        ("pyproject.toml", "<0.3", "<0.2", "ski-base<0.2,>=0.2 does not allow its present"),
        ("pyproject.toml", ",<0.3", "", "ski-base has no upper bound"),
        ("pyproject.toml", "ski-base>=0.2,<0.3", "ski-base<0.3", "ski-base has no lower bound"),
        ("pyproject.toml", "numpy>=1.26", "numpy", "numpy has no lower bound"),
        ("pyproject.toml", "absent-thing>=1", "absent-thing", "absent-thing has no lower bound"),
        ("pyproject.toml", "numpy>=1.26", "PyYAML>=6", "numpy is imported in ski_above/uses.py"),
        ("pyproject.toml", "numpy>=1.26", "PyYAML>=6", "PyYAML is declared, but nothing imports"),
        ("pyproject.toml", '"Apache-2.0"', '"MIT"', "license is 'MIT', not 'Apache-2.0'"),
        ("pyproject.toml", '">=3.10"', '">=3.9"', "requires-python is '>=3.9'"),
        ("pyproject.toml", "ski_above.cli:main", "ski_above.cli:run", "scripts is"),
        ("pyproject.toml", "Typing :: Typed", "Private :: No", "'Typing :: Typed' is missing"),
        ("pyproject.toml", "Typing :: Typed", "Private :: No", "'Private :: No' has no place"),
        ("pyproject.toml", '"A package"', '""', "description must be one line"),
        (
            "pyproject.toml",
            "[project.scripts]",
            '[project.urls]\nA = "a"\n[project.scripts]',
            "url A",
        ),
        ("LICENSE", "Apache", "Mine", "LICENSE differs"),
    ],
)
def test_each_fault_is_told(root, file, old, new, told):
    path = root / "packages" / "ski-above" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert any(told in problem for problem in problems(root)), problems(root)


@pytest.mark.parametrize("file", ["README.md", "LICENSE", "CHANGELOG.md", "src/ski_above/py.typed"])
def test_missing_files_are_told(root, file):
    (root / "packages" / "ski-above" / file).unlink()
    found = problems(root)
    assert len(found) == 1
    assert file.rpartition("/")[2] in found[0]


def test_imports_count_wherever_they_stand(tmp_path):
    source = tmp_path / "p"
    source.mkdir()
    lines = ["import a.b", "from c.d import e", "from . import f", "def g():\n    import h"]
    lines += ["importlib.import_module('i.j')", "find_spec('k')", "say('l')", "__import__(m)"]
    (source / "x.py").write_text("\n".join(lines), encoding="utf-8")
    assert sorted(imported(source)) == ["a", "c", "h", "i", "k"]


def test_what_only_serves_another_module_needs_that_one(root):
    settings = root / "packages" / "ski-above" / "pyproject.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("numpy>=1.26", 'numpy>=1.26", "gguf>=0.1'), encoding="utf-8")
    assert problems(root) == ["gguf is declared, but nothing imports gguf"]
    settings.write_text(
        text.replace("numpy>=1.26", 'numpy>=1.26", "gguf>=0.1", "transformers>=4'), "utf-8"
    )
    uses = root / "packages" / "ski-above" / "src" / "ski_above" / "uses.py"
    uses.write_text(uses.read_text("utf-8") + "import transformers\n", encoding="utf-8")
    assert problems(root) == []


def test_a_final_version_is_dated_and_committed(root):
    folder = root / "packages" / "ski-base"
    project = read_projects(root)["ski-base"]
    (told,) = version_problems(project, final=True)
    assert told.startswith("git cannot tell")

    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    assert version_problems(project, final=True) == []
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text("utf-8").replace("2026-01-31", "unreleased"), "utf-8")
    assert version_problems(project) == []
    dated, committed = version_problems(project, final=True)
    assert "put the date there" in dated
    assert committed == "not committed: packages/ski-base/CHANGELOG.md"


def test_entries_of_a_changelog():
    found = entries("# C\n\n## 0.2.0 (2026-01-31)\n\n- a\n  b\n\n## 0.1.0\n\n### Fixed\n- c\n")
    assert [(e.version, e.date) for e in found] == [("0.2.0", "2026-01-31"), ("0.1.0", None)]
    assert [e.text for e in found] == ["- a\n  b", "### Fixed\n- c"]
    assert entries("# C\n") == []


def test_notes(root, capsys):
    assert release.main(["--root", str(root), "notes", "ski-base"]) == 0
    assert capsys.readouterr().out == "- New.\n"
    (root / "packages" / "ski-base" / "CHANGELOG.md").write_text("", encoding="utf-8")
    assert release.main(["--root", str(root), "notes", "ski-base"]) == 2
    assert "says nothing of 0.2.0" in capsys.readouterr().err


def test_wrong_usage(root, tmp_path, capsys):
    projects = read_projects(root)
    assert [p.name for p in chosen(projects, [])] == ["ski-base", "ski-above"]
    with pytest.raises(InputError, match="no package ski-x; there are ski-base, ski-above"):
        chosen(projects, ["ski-x"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="has no packages"):
        read_projects(tmp_path / "empty")
    settings = root / "packages" / "ski-base" / "pyproject.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("dependencies = []", 'dependencies = ["ski-above"]'), "utf-8")
    with pytest.raises(InputError, match="need each other: ski-above, ski-base"):
        read_projects(root)
    settings.write_text("[", encoding="utf-8")
    assert release.main(["--root", str(root), "check"]) == 2
    assert "no TOML" in capsys.readouterr().err


def test_nothing_builds(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("release_archives.builder", lambda: None)
    monkeypatch.setattr("release.builder", lambda: None)
    assert release.main(["--root", str(root), "build", "--out", str(tmp_path / "dist")]) == 2
    assert "install uv or build" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
    assert release.main(["--root", str(root), "check", "ski-base"]) == 1
    assert capsys.readouterr().out.count("nothing here builds packages") == 3


def test_index(tmp_path):
    for name in ("ski_a-0.1.0-py3-none-any.whl", "ski_a-0.1.0.tar.gz", "ski_b-0.1.0.tar.gz"):
        (tmp_path / name).write_bytes(b"x")
    write_index(tmp_path)
    top = (tmp_path / "simple" / "index.html").read_text("utf-8")
    assert 'href="ski-a/index.html"' in top
    assert 'href="ski-b/index.html"' in top
    page = (tmp_path / "simple" / "ski-a" / "index.html").read_text("utf-8")
    assert page.count("<a href") == 2
    assert "../../ski_a-0.1.0-py3-none-any.whl#sha256=2d711642b726b04401627ca9" in page


@pytest.fixture
def building():
    if builder() is None:
        pytest.skip("neither uv nor build is here to build wheels")


@pytest.mark.slow
def test_small_packages_pass_and_their_index_is_whole(root, tmp_path, capsys, building):
    assert release.main(["--root", str(root), "check"]) == 0
    said = capsys.readouterr().out
    assert "no problems" in said
    assert said.count("ok") == 14
    dist = tmp_path / "new" / "dist"
    assert release.main(["--root", str(root), "build", "--out", str(dist)]) == 0
    names = sorted(path.name for path in dist.iterdir() if path.is_file())
    assert len(names) == 4
    assert release.main(["--root", str(root), "build", "--out", str(dist)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_wrong_with_archives_is_told(root, tmp_path, building):
    source = root / "packages" / "ski-above" / "src" / "ski_above"
    project = read_projects(root)["ski-above"]
    built = build_both(project, tmp_path / "built")
    with zipfile.ZipFile(built.wheel, "a") as archive:
        archive.writestr("ski_above/__pycache__/uses.cpython-311.pyc", b"")
        archive.writestr("tests/test_a.py", b"")
    (source / "recipes" / "b.yaml").write_text("b: 1\n", encoding="utf-8")
    assert wheel_problems(built.wheel, project) == [
        "the wheel lacks ski_above/recipes/b.yaml",
        "the wheel has ski_above/__pycache__/uses.cpython-311.pyc, which git does not",
        "the wheel has tests/test_a.py, which git does not",
    ]
    found = sdist_problems(built.sdist, built.wheel, project, tmp_path / "again")
    assert len(found) == 2
    assert found[0].endswith("lacks ski_above-0.2.0/src/ski_above/recipes/b.yaml")
    assert "builds another wheel" in found[1]
    assert "tests/test_a.py" in found[1]


@pytest.mark.slow
def test_a_module_that_needs_an_extra_and_a_failing_build_are_told(root, capsys, building):
    base = root / "packages" / "ski-base"
    (base / "src" / "ski_base" / "eager.py").write_text("import absent_thing\n", encoding="utf-8")
    assert release.main(["--root", str(root), "check", "ski-base"]) == 1
    said = capsys.readouterr().out
    assert "1 problem" in said
    assert "ski-base: modules: import ski_base.eager fails: ModuleNotFoundError" in said
    (base / "README.md").unlink()
    assert release.main(["--root", str(root), "check", "ski-base"]) == 1
    assert "its wheel cannot be built" in capsys.readouterr().out


def test_our_packages_files_are_sound():
    projects = read_projects()
    assert len(projects) == 5
    for project in projects.values():
        assert version_problems(project) == []
        assert metadata_problems(project, ROOT / "LICENSE") == []
        assert bound_problems(project, projects) == []
        assert import_problems(project) == []


@pytest.mark.slow
def test_our_packages_archives_are_sound(tmp_path, building):
    projects = read_projects()
    found = release.examine(projects, list(projects.values()), tmp_path)
    lines = [
        (name, told)
        for name, columns in found.items()
        for problems in columns.values()
        for told in problems
    ]
    assert lines == []
