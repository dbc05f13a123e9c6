"""What stands around the code: citation, promises, hooks, and commands of the page on releases."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import release
import yaml
from release_project import ROOT, read_projects

SOURCES = sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/**/*.py")])
PAGES = [
    *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")),
    *sorted((ROOT / "docs" / "templates").glob("*.md")),
    ROOT / "docs" / "release.md",
]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]


def test_citation():
    card = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert card["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license", "preferred-citation"} <= set(card)
    assert {project.table["license"] for project in read_projects().values()} == {card["license"]}
    paper = card["preferred-citation"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["title"] in " ".join((ROOT / "README.md").read_text("utf-8").split())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = path.read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert [target for target in targets if not (path.parent / target).exists()] == []
    assert text.startswith("# ")


def test_commands_of_the_page_on_releases_exist():
    text = (ROOT / "docs" / "release.md").read_text("utf-8")
    lines = re.findall(r"hatch run python tools/release\.py (.+)$", text, re.MULTILINE)
    assert len(lines) == 6
    assert {release._parser().parse_args(shlex.split(line)).command for line in lines} == {
        *("check", "build", "notes")
    }
    order = re.search(r"\*\*(ski-data, .+?)\*\*", text, re.DOTALL)[1]
    assert order.replace("\n", " ").split(", ") == list(read_projects())
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(release.COLUMNS)


def broken_promises(text: str) -> list[str]:
    """Calls in a source that SECURITY.md says there are none of."""
    found = []
    if not re.search(r"pickle|torch\.load|strict=False|trust_remote_code|\b(eval|exec)\(", text):
        return found
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec"):
            found.append(called)
        if called == "torch.load" and given.get("weights_only") != "True":
            found.append("torch.load")
        found += [
            f"{called}({name}={value})"
            for name, value in given.items()
            if (name, value) in {("allow_pickle", "True"), ("trust_remote_code", "True")}
            or (name == "strict" and value == "False" and "load_state_dict" in called)
        ]
    return found


def test_promises_of_reading_files_are_kept():
    broken = {
        str(path.relative_to(ROOT)): broken_promises(path.read_text("utf-8")) for path in SOURCES
    }
    assert len(broken) > 100
    assert {path: found for path, found in broken.items() if found} == {}


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "pickle.loads(b)",
        "np.load(p, allow_pickle=True)",
        "m.load_state_dict(s, strict=False)",
        "A.from_pretrained(n, trust_remote_code=True)",
        "eval(t)",
    ],
)
def test_a_broken_promise_is_found(line):
    assert len(broken_promises(f"def f():\n    return {line}\n")) == 1
    assert broken_promises("torch.load(p, weights_only=True); zip(a, b, strict=False)") == []


def git(*words, cwd):
    subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True)


def run_hook(name, files, cwd):
    """Exit code of a hook as pre-commit calls it, with this Python's ruff in the place of hatch."""
    (hook,) = [hook for repo in HOOKS for hook in repo["hooks"] if hook["id"] == name]
    words = shlex.split(hook["entry"])
    if words[:2] == ["hatch", "run"]:
        words = [sys.executable, "-m", *words[2:]]
    names = files if hook.get("pass_filenames", True) else []
    done = subprocess.run([*words, *names], cwd=cwd, capture_output=True, check=False)
    return done.returncode


def test_hooks_are_local_and_ruff_is_the_projects():
    assert {repo["repo"] for repo in HOOKS} == {"local"}
    assert {hook["language"] for repo in HOOKS for hook in repo["hooks"]} == {"system"}
    assert re.search(r'"ruff==\d', (ROOT / "pyproject.toml").read_text("utf-8"))


def test_hooks_find_what_they_are_for(tmp_path):
    git("init", "-q", cwd=tmp_path)
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('x = "a"\n')
    bad.write_text("x = (\n1)\nprint(y)\n")
    git("add", ".", cwd=tmp_path)
    assert [run_hook("ruff-check", [name], tmp_path) for name in ("good.py", "bad.py")] == [0, 1]
    assert run_hook("ruff-format", ["bad.py"], tmp_path) == 0
    assert bad.read_text() == "x = 1\nprint(y)\n"
    assert run_hook("white-space", [], tmp_path) == 0
    (tmp_path / "loose.txt").write_text("a  \n")
    git("add", ".", cwd=tmp_path)
    assert run_hook("white-space", [], tmp_path) != 0
    assert run_hook("large-files", ["good.py", "bad.py"], tmp_path) == 0
    (tmp_path / "large.bin").write_bytes(bytes(1 << 21))
    assert run_hook("large-files", ["good.py", "large.bin"], tmp_path) == 1


def test_pages_name_no_address_that_is_made_up():
    for path in PAGES:
        text = Path(path).read_text("utf-8")
        assert not re.search(r"[\w.]+@[\w-]+\.\w+", text)
