from __future__ import annotations

import logging
import sys
import types
from dataclasses import dataclass

import pytest

from ski_data import command
from ski_data.errors import InputError


@dataclass(frozen=True)
class Settings:
    size: int = 3
    """Size of it."""


def go(
    path: list[str],
    *,
    out: str,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    fast: bool = False,
) -> int | None:
    """Go there.

    Args:
        path: where from.
        out: where to.
        settings: how.
        fast: quickly.
    """
    if out == "nowhere":
        raise InputError("nowhere: no such place; name another")
    if out == "bug":
        raise ZeroDivisionError
    print(path, out, settings.size, fast)
    return 1 if out == "findings" else None


def run(*argv):
    return command.run({"go": go}, argv, prog="walk", version="1.2", description="Walks.")


@pytest.mark.parametrize(
    ("argv", "printed"),
    [
        (["go", "a", "--out", "b"], "['a'] b 3 False"),
        (["go", "a", "c", "--out", "b", "--fast"], "['a', 'c'] b 3 True"),
        (["go", "--out", "b", "--settings.size", "5", "--no-fast", "a"], "['a'] b 5 False"),
    ],
)
def test_arguments(argv, printed, capsys):
    assert run(*argv) == 0
    assert capsys.readouterr().out.strip() == printed


def test_findings_and_version(capsys):
    assert run("go", "a", "--out", "findings") == 1
    assert run("--version") == 0
    assert "walk 1.2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["stay"],
        ["go", "a"],
        ["go", "--out", "b"],
        ["go", "a", "--out", "b", "--settings.siz", "5"],
        ["go", "a", "--out", "b", "--settings.size", "big"],
    ],
)
def test_wrong_usage_exits_2_without_traceback(argv, capsys):
    assert run(*argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_expected_error_is_one_line(capsys):
    assert run("go", "a", "--out", "nowhere") == 2
    assert capsys.readouterr().err == "walk: nowhere: no such place; name another\n"


def test_bugs_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run("go", "a", "--out", "bug")


def test_settings_from_a_file(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("out: there\nsettings: {size: 9}\n")
    assert run("go", "a", "--config", str(tmp_path / "c.yaml")) == 0
    assert capsys.readouterr().out.strip() == "['a'] there 9 False"


def test_help_comes_from_the_docstring(capsys):
    assert run("go", "--help") == 0
    out = capsys.readouterr().out
    assert "Go there." in out
    assert "where to." in out
    assert "Size of it." in out


def test_program_with_one_thing_to_do(capsys):
    assert command.run_one(go, ["a", "--out", "b"], prog="walk") == 0
    assert command.run_one(go, ["a", "--out", "nowhere"], prog="walk") == 2
    assert "nowhere: no such place" in capsys.readouterr().err


def test_commands_by_place_are_imported_when_they_run(monkeypatch, capsys):
    module = types.ModuleType("walks")
    module.go = go
    monkeypatch.setitem(sys.modules, "walks", module)
    commands = {"go": "walks:go", "absent": "ski_data.no_such_module:run"}
    code = command.run(
        commands, ["go", "a", "--out", "b"], prog="walk", version="1.2", description="Walks."
    )
    assert code == 0
    assert capsys.readouterr().out == "['a'] b 3 False\n"


def test_the_list_of_commands_needs_no_import(tmp_path, monkeypatch, capsys):
    package = tmp_path / "strolls"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "far.py").write_text(
        'raise RuntimeError("imported")\n\n\n'
        'def go(path: str) -> None:\n    """Go far.\n\n    Args:\n        path: where.\n    """\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    commands = {"go": "strolls.far:go"}
    assert command.run(commands, ["--help"], prog="walk", version="1", description="Walks.") == 0
    assert "Go far." in capsys.readouterr().out
    assert command.run(commands, ["stay"], prog="walk", version="1", description="Walks.") == 2
    with pytest.raises(RuntimeError, match="imported"):
        command.run(commands, ["go", "a"], prog="walk", version="1", description="Walks.")


def test_hyphens_in_options_are_as_good_as_underscores():
    given = ["go", "a-b", "--dry-run", "--no-pair-dropout", "--train.batch-size=a-b", "--", "--x-y"]
    found = ["go", "a-b", "--dry_run", "--no-pair_dropout", "--train.batch_size=a-b", "--", "--x-y"]
    assert command.underscored(given) == found


def test_no_log_handler_is_left_behind(monkeypatch, capsys):
    """A program that calls a command keeps its own log settings."""

    def speak() -> None:
        """Say something."""
        logging.getLogger("ski_data").info("said")

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    assert command.run_one(speak, [], prog="speak") == 0
    assert capsys.readouterr().err == "said\n"
    assert (root.handlers, root.level) == ([], level)
