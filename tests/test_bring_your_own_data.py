"""The table of settings on the page on own data is whole; test_docs_blocks.py runs its blocks."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from ski_data.importer import ImportMapping

PAGE = Path(__file__).parents[1] / "docs" / "bring-your-own-data.md"


def test_the_table_has_every_setting():
    table = PAGE.read_text(encoding="utf-8").split("## The mapping file")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {field.name for field in fields(ImportMapping)}
