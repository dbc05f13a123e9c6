from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import pytest

from apps.serve.command import main, serve, spread
from apps.serve.settings import Settings, read_named, read_token
from ski_data.errors import InputError, MissingFileError


def test_models_may_be_given_one_by_one_or_together():
    argv = ["--model", "a=x", "b=y", "--port", "5", "--model", "c=z", "--caption=d=e=f"]
    assert spread(argv) == [
        *("--model+", "a=x", "--model+", "b=y", "--port", "5"),
        *("--model+", "c=z", "--caption+", "d=e=f"),
    ]
    assert read_named(["a=x", "b=y=z"], "--model") == {"a": "x", "b": "y=z"}


def test_options_are_those_of_the_settings():
    options = inspect.signature(serve).parameters
    for field in fields(Settings):
        if field.name not in ("models", "captioners", "token"):
            assert options[field.name].default == field.default


@pytest.mark.parametrize("given", [["runs/x"], ["=x"], ["a="], ["a=x", "a=y"]])
def test_models_have_a_name_each(given):
    with pytest.raises(InputError, match="--model"):
        read_named(given, "--model")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"models": {}}, "no model"),
        ({"models": {"a b": "x"}}, "letters"),
        ({"models": {'a"\n': "x"}}, "letters"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"queue": 0}, "queue"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"batch_wait_ms": -1.0}, "batch_wait_ms"),
        ({"workers": 0}, "workers"),
        ({"token": "short"}, "16"),
    ],
)
def test_settings_that_make_no_server(changes, word):
    with pytest.raises(InputError, match=word):
        Settings(**{"models": {"a": "x"}, **changes})


def test_a_token_is_read_and_never_shown(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n", encoding="utf-8")
    settings = Settings(models={"a": "x"}, token=read_token(path))
    assert settings.token == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)
    path.write_text("two words and more\n", encoding="utf-8")
    with pytest.raises(InputError, match="openssl"):
        read_token(path)
    with pytest.raises(MissingFileError):
        read_token(tmp_path / "absent")


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ([], "no model"),
        (["--model", "folder"], "NAME=folder"),
        (["--modle", "a=x"], "--modle"),
        (["--model", "a=x", "--queue", "many"], "queue"),
        (["--model", "a=x", "--port", "70000"], "65535"),
        (["--model", "a=x", "--host", "no such host"], "--host"),
        (["--model", "a=x", "--token-file", "absent"], "absent"),
    ],
)
def test_wrong_usage_is_one_line(argv, word, capsys):
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert word in told.err
    assert told.err.count("\n") == 1


def test_help_needs_none_of_the_models():
    code = (
        "import sys; from apps.serve.command import main; code = main(['--help']); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--batch_wait_ms" in done.stdout
