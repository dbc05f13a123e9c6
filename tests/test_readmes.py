"""What the READMEs tell a reader to type exists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
import tomllib

from apps.adl_mini.recipe import DEFAULT, read_recipe
from ski_data import command
from ski_data.synthetic.classes import UNSEEN

ROOT = Path(__file__).parents[1]
READMES = sorted(
    path
    for folder in ("", "packages/*/", "benchmarks/*/", "docs/")
    for path in ROOT.glob(f"{folder}*.md")
    if path.name != "CHANGELOG.md"
)
SETTINGS = r"(?:[A-Z_]+=\S* )*"
"""Environment variables ahead of a command."""
ALWAYS = {"config", "print_config", "help", "version"}
"""Options of every command."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [body for found, body in BLOCK.findall(text) if found == language]


def commands() -> list[tuple[str, list[str]]]:
    lines = [
        (str(path.relative_to(ROOT)), line)
        for path in READMES
        for block in [*blocks(path, ""), *blocks(path, "bash")]
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(rf"{SETTINGS}(hatch|python|pip|ski-\w+) ", line)
    ]
    return [
        (where, shlex.split(re.sub(f"^{SETTINGS}", "", part.strip()), comments=True))
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


def scripts() -> dict[str, dict[str, str]]:
    """Scripts of each environment."""
    environments = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["envs"]
    return {name: found.get("scripts", {}) for name, found in environments.items()}


def programs() -> dict[str, str]:
    """Modules by how a program is called; ``ski-bench`` has two names."""
    found = {f"ski-{p.name[4:]}": f"ski_{p.name[4:]}.cli" for p in ROOT.glob("packages/ski-*")}
    for path in (*ROOT.glob("apps/**/*.py"), *ROOT.glob("benchmarks/**/*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for prog in re.findall(r'prog="([^"]+)"', path.read_text(encoding="utf-8")):
            found[prog] = module
    for name, value in scripts()["default"].items():
        if name in found:
            found[value.removesuffix(" {args}")] = found[name]
    return found


def called(words: list[str]) -> list[str] | None:
    """The words behind ``hatch run``, scripts put in their place; None: there is no such script."""
    if words[:2] != ["hatch", "run"]:
        return words
    environment, _, script = words[2].rpartition(":")
    known = scripts()[environment or "default"]
    if script in known:
        return [*shlex.split(known[script].replace("{args}", "")), *words[3:]]
    return [script, *words[3:]] if script == "python" or script.startswith("ski-") else None


def wrong_with(words: list[str]) -> str | None:
    """What a program would refuse: a command or an option that there is not."""
    name, rest = words[0], words[1:]
    if words[:2] == ["python", "-m"]:
        name, rest = " ".join(words[:3]), words[3:]
    known = programs()
    if name not in known:
        ours = name.startswith(("ski-", "python -m benchmarks", "python -m apps"))
        return f"no program {name}" if ours else None
    module = importlib.import_module(known[name])
    if hasattr(module, "spread"):  # ski-bench words its command line more freely
        rest = module.spread(rest)
    if hasattr(module, "COMMANDS"):
        if rest[0] not in module.COMMANDS:
            return f"no command {rest[0]}"
        function = command.load(module.COMMANDS[rest[0]])
    else:
        source = Path(module.__file__).read_text(encoding="utf-8")
        function = getattr(module, re.search(r"run_one\((\w+)", source)[1])
    options = {*inspect.signature(function).parameters, *ALWAYS}
    for word in command.underscored(rest):
        option = re.match(r"--(?:no-)?(\w+)", word)
        if option and option[1] not in options:
            return f"no option {word}"
    return None


def test_commands_exist():
    wrong = []
    for where, words in commands():
        found = called(words)
        told = "no such script" if found is None else wrong_with(found)
        if told:
            wrong.append((where, words[:3], told))
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("hatch run ski-bench run --all --data adl-mini --out runs", None),
        ("hatch run python -m benchmarks.bench run table1 --data a=A b=B --dry-run --out R", None),
        ("hatch run ski-bench go --out runs", "no command go"),
        ("hatch run ski-bench run --all --outt runs", "no option --outt"),
        ("python -m benchmarks.bench report --data adl-mini", "no option --data="),
        ("hatch run bench:ui-prmd FILE --sentence MODEL --seed 3", "no option --seed"),
        ("python -m benchmarks.speed --quick --only data", None),
        ("python -m benchmarks.slow", "no program python -m benchmarks.slow"),
        ("hatch run main --out R --fast", "no option --fast"),
        ("ski-data check FILE --loud", "no option --loud"),
        ("python -m pip install hatch", None),
    ],
)
def test_what_is_wrong_with_a_command(line, told):
    found = wrong_with(called(shlex.split(line)))
    assert found is None if told is None else found.startswith(told)


def test_scripts_are_known():
    assert called(["hatch", "run", "bench:no-such", "x"]) is None
    assert called(["hatch", "run", "ski-bench", "list"])[2:] == ["benchmarks.bench", "list"]


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
