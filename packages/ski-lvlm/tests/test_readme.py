from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ski_lvlm.cli import COMMANDS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_python_example_runs(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    code += "assert embeddings.shape == (1, 435, 64)\nassert notes['seed'] == 0\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "projectors-new" / "weights.safetensors").is_file()


def test_every_command_is_shown():
    shown = set(re.findall(r"^ski-lvlm ([\w-]+)", README, flags=re.MULTILINE))
    assert shown == set(COMMANDS)
