"""What the READMEs tell a reader to type exists."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import tomllib

from apps.adl_mini.recipe import DEFAULT, read_recipe
from ski_data.synthetic.classes import UNSEEN

ROOT = Path(__file__).parents[1]
READMES = sorted(
    path
    for folder in ("", "packages/*/", "benchmarks/*/", "docs/")
    for path in ROOT.glob(f"{folder}*.md")
    if path.name != "CHANGELOG.md"
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [body for found, body in BLOCK.findall(text) if found == language]


def commands() -> list[tuple[str, list[str]]]:
    lines = [
        (str(path.relative_to(ROOT)), line)
        for path in READMES
        for block in blocks(path, "")
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(r"(hatch|python|pip|ski-\w+) ", line)
    ]
    return [
        (where, shlex.split(part, comments=True))
        for where, line in lines
        for part in line.split("&&")
    ]


def test_there_are_commands_to_check():
    assert len(READMES) >= 8
    assert len(commands()) >= 10


def test_links_lead_somewhere():
    broken = []
    for path in READMES:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_compiles_and_imports(path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_commands_exist():
    environments = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["envs"]
    wrong = []
    for where, words in commands():
        if words[:2] == ["hatch", "run"]:
            environment, _, script = words[2].rpartition(":")
            scripts = environments[environment or "default"].get("scripts", {})
            words = words[2:] if script.startswith("ski-") else []
            if not words and script not in {*scripts, "python"}:
                wrong.append((where, script))
        if words and words[0].startswith("ski-"):
            package = words[0].replace("-", "_")
            known = importlib.import_module(f"{package}.cli").COMMANDS
            if words[1] not in known:
                wrong.append((where, words[:2]))
    assert wrong == []


def test_the_clip_of_the_first_prediction_is_made_and_of_an_unseen_class():
    (words,) = [words for _, words in commands() if "ski-vlm" in words and "hatch" in words]
    video = Path(words[words.index("predict") + 1])
    setup, camera, subject, repetition, label = map(
        int, re.fullmatch(r"S(\d+)C(\d+)P(\d+)R(\d+)A(\d+)_rgb", video.stem).groups()
    )
    data = read_recipe(DEFAULT).data
    assert camera <= data.cameras
    assert subject in data.test_subjects
    assert repetition <= data.repetitions
    assert setup == (subject - 1) % 4 + 1
    names = words[words.index("--classes") + 1].split(",")
    assert names == [action.name for action in UNSEEN]
    assert label > 20
