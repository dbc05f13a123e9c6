"""Whether what a page shows is what comes: its lines and words, not its digits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from docs_blocks.tables import VARIES

ANY = "..."


def structure(line: str) -> str:
    """A line without digits and with one space for many."""
    for pattern, what in VARIES:
        line = re.sub(pattern, what, line)
    line = re.sub(r"\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?", "0", line)
    return re.sub(r"\s+", " ", line).strip()


def missing(shown: Sequence[str], said: str) -> list[str]:
    """Shown lines that did not come, in this order; ``...`` in a line stands for anything."""
    came = [line for line in map(structure, said.splitlines()) if line]
    at, lost = 0, []
    for line in map(structure, shown):
        if line in ("", ANY):
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split(ANY))))
        found = next((n for n in range(at, len(came)) if pattern.fullmatch(came[n])), None)
        if found is None:
            lost.append(line)
        else:
            at = found + 1
    return lost
