"""Pairs as the files that trainings read: flat, and conversations with places for features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ski_data.folders import whole_file
from ski_data.instructions import Instruction, read_instructions
from ski_lvlm.curation.errors import CurationError
from ski_lvlm.curation.lines import Lines
from ski_lvlm.prompts import question_with_placeholders


def read_pairs_file(path: str | Path) -> list[Instruction]:
    """Pairs from lines of :func:`ski_lvlm.curation.pairs.make_pairs`, or of any published form.

    Raises:
        InputError, CurationError: Pairs that cannot be used, by file and item.
    """
    if not _ours(Path(path)):
        return read_instructions(path)
    try:
        found = [
            Instruction(f"{clip}_{number}", clip, pair["Q"], pair["A"])
            for clip, row in Lines(path, "id").rows.items()
            for number, pair in enumerate(row["pairs"])
        ]
    except (KeyError, TypeError) as error:
        raise CurationError(f"{path}: no lines of pairs ({error!r})") from None
    if not found:
        raise CurationError(f"{path}: no pairs")
    return found


def write_flat(pairs: Sequence[Instruction], out: str | Path) -> None:
    """One list of ``{"video_id", "q", "a"}``.

    Raises:
        ExistingOutputError: ``out`` is there already.
    """
    _write(out, [{"video_id": p.video, "q": p.question, "a": p.answer} for p in pairs])


def write_conversations(
    pairs: Sequence[Instruction], out: str | Path, *, skeletons: bool = True, ending: str = ".pkl"
) -> None:
    """The published conversations.

    Even items ask first and have ``<video><pose>`` in a line behind the question, odd items have
    it before. Each names its feature files; the published script left skeletons out here, so that
    a model trained without them.

    Args:
        pairs: In the order of the file.
        out: JSON file.
        skeletons: With ``<pose>`` and the key ``pose``.
        ending: Of the feature files' names.

    Raises:
        ExistingOutputError: ``out`` is there already.
    """
    items: list[dict[str, Any]] = []
    for number, pair in enumerate(pairs):
        asked = question_with_placeholders(
            pair.question, video=True, skeleton=skeletons, first=bool(number % 2)
        )
        item: dict[str, Any] = {"id": pair.id, "video": f"{pair.video}{ending}"}
        if skeletons:
            item["pose"] = f"{pair.skeleton or pair.video}{ending}"
        item["conversations"] = [
            {"from": "human", "value": asked},
            {"from": "gpt", "value": pair.answer},
        ]
        items.append(item)
    _write(out, items)


def _ours(path: Path) -> bool:
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"pairs"' in file.readline()


def _write(out: str | Path, items: list[dict[str, Any]]) -> None:
    with whole_file(out) as part:
        text = json.dumps(items, ensure_ascii=False, indent=1) + "\n"
        part.write_text(text, encoding="utf-8", newline="\n")
