"""Every command is there and explained, and none costs the others their start."""

import subprocess
import sys

import pytest

from ski_data.cli import COMMANDS, main
from ski_data.command import load


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained(name, capsys):
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    first = load(COMMANDS[name]).__doc__.partition("\n\n")[0]
    assert " ".join(first.split()).removesuffix(".") in text


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"    {name} " in text or f"    {name}\n" in text for name in COMMANDS)
    assert main(["prepear"]) == 2
    assert "prepare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("start", "absent"),
    [
        ("import ski_data", {"numpy", "jsonargparse"}),
        ("import ski_data.cli", {"numpy", "pyarrow", "av", "cv2", "decord"}),
        ("from ski_data.cli import main; main(['prepare', '--help'])", {"av", "cv2", "decord"}),
    ],
)
def test_what_a_start_does_not_load(start, absent):
    code = f"{start}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())
