from __future__ import annotations

import re
from pathlib import Path

from ski_lvlm.cli import COMMANDS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_command_is_shown():
    shown = set(re.findall(r"^ski-lvlm ([\w-]+)", README, flags=re.MULTILINE))
    assert shown == set(COMMANDS)
