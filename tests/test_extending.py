"""The page on extensions works as it stands: its files and changes, in a copy of the packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from docs_blocks.pages import ROOT, Block
from docs_blocks.pages import blocks as page_blocks

DRIVER = """
import contextlib, importlib, io, json, runpy, sys
answers = []
for program, *words in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        if program == "python":
            code = runpy.run_path(words[0], run_name="__main__") and 0
        else:
            code = importlib.import_module(program.replace("-", "_") + ".cli").main(words)
    answers.append([code, out.getvalue()])
import ski_data, ski_eval, ski_skeleton, ski_vlm
files = [module.__file__ for module in (ski_data, ski_eval, ski_skeleton, ski_vlm)]
print(json.dumps({"answers": answers, "files": files}))
"""
"""Runs commands in one process, so that torch is loaded once."""


def blocks() -> Iterator[Block]:
    """Those of the page; a change has the file that was named last."""
    last = ""
    for block in page_blocks("docs/extending.md"):
        last = block.file or last
        yield replace(block, file=last) if block.language == "diff" else block


def changed(text: str, change: str) -> str:
    """``text`` after a change: lines with a space or - stand in it once, + and space follow."""
    lines = change.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert {line[0] for line in lines} <= set(" +-")
    assert text.count(old) == 1, f"stands {text.count(old)} times: {old}"
    return text.replace(old, new)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the packages' sources with the page's files and changes; a desk beside them."""
    root = tmp_path_factory.mktemp("extending")
    for source in sorted(ROOT.glob("packages/*/src")):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / source.relative_to(ROOT), ignore=ignore)
    (root / "desk").mkdir()
    for block in blocks():
        path = root / block.file if block.file.startswith("packages/") else root / "desk"
        if block.language == "diff":
            path.write_text(changed(path.read_text("utf-8"), block.text), encoding="utf-8")
        elif block.file:
            path = path if path.name != "desk" else path / block.file
            assert not path.exists()
            path.write_text(block.text, encoding="utf-8")
    return root


def test_the_page_shows_what_it_promises():
    files = [block.file for block in blocks() if block.language in ("python", "yaml")]
    modules = [file for file in files if file.startswith("packages/") and file.endswith(".py")]
    packages = [file.split("/")[1] for file in modules]
    assert packages == ["ski-data", "ski-skeleton", "ski-eval", "ski-vlm"]
    assert sum(file.endswith(".yaml") for file in files) == 3
    touched = {block.file for block in blocks() if block.language == "diff"}
    assert len(touched) == 4  # a registry each


def test_a_change_must_fit():
    assert changed("a\nb\nc\n", " b\n+d\n") == "a\nb\nd\nc\n"
    assert changed("a\nb\n", "-b\n+d\n") == "a\nd\n"
    with pytest.raises(AssertionError, match="stands 0 times"):
        changed("a\n", " b\n+d\n")
    with pytest.raises(AssertionError, match="stands 2 times"):
        changed("b\nb\n", " b\n+d\n")


def test_files_of_the_page_are_in_the_houses_style(checkout):
    written = [block.file for block in blocks() if block.file.startswith("packages/")]
    files = sorted({str(checkout / file) for file in written if file.endswith(".py")})
    for step in (["check"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *step, "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*line, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_every_command_of_the_page_runs(checkout):
    commands, wanted = [], []
    for block in blocks():
        if block.language in ("", "bash"):
            commands += [line.split() for line in block.text.splitlines()]
        elif block.language == "text":
            wanted.append((len(commands) - 1, block.text.strip()))
    commands = [[word.replace('"', "") for word in line] for line in commands]
    assert len(commands) == 11
    paths = [str(path) for path in sorted(checkout.glob("packages/*/src"))]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=checkout / "desk",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert all(Path(file).is_relative_to(checkout) for file in told["files"])
    answers = dict(zip(map(" ".join, commands), told["answers"], strict=True))
    assert [(line, answer) for line, answer in answers.items() if answer[0]] == []
    said = [text for _, text in told["answers"]]
    assert [text for number, text in wanted if text not in said[number]] == []
    measured = json.loads(said[commands.index(["ski-eval", "brier", "scores.npz", "--json"])])
    assert 0 <= measured["value"] <= 1
    assert measured["n"] == 6
    assert "Brier" in said[commands.index(["ski-eval", "brier", "scores.npz"])]
    assert "kick" in said[-1]
