from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ski_eval
from ski_eval.cli import main

README = Path(__file__).parents[1] / "README.md"


def test_import_is_light():
    heavy = "{'torch', 'sklearn', 'matplotlib', 'scipy', 'pandas'}"
    code = f"import sys, ski_eval, ski_eval.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_exist_and_are_described():
    assert sorted(ski_eval.__all__) == ski_eval.__all__
    for name in ski_eval.__all__:
        assert getattr(ski_eval, name).__doc__, name


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The README's Python example, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    exec(compile(code, str(README), "exec"), {"__name__": "example"})
    return tmp_path


def test_readme_example_and_commands(example, capsys):
    assert (example / "run" / "report.html").stat().st_size > 5000
    text = README.read_text(encoding="utf-8")
    commands = re.findall(r"^ski-eval (?!judge)(.*?)(?:\s+#.*)?$", text, re.M)  # needs a judge
    assert len(commands) >= 4
    for command in commands:
        assert main(shlex.split(command)) == 0, command
        assert capsys.readouterr().out
