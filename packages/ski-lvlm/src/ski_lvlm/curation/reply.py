"""Replies of a language model: strict JSON of the form that was asked for, or an error."""

from __future__ import annotations

import json
import re
from typing import Any

from ski_lvlm.curation.errors import ReplyError

_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)
WORDS = (150, 300)
"""Words of a dense description."""


def read_pairs(text: str, count: int) -> list[dict[str, str]]:
    """``count`` objects of exactly a question ``Q`` and an answer ``A``, all questions different.

    One Markdown fence around the whole reply is allowed; text beside the JSON is not.

    Raises:
        ReplyError: Anything else; says what.
    """
    found = _json(text)
    if not isinstance(found, list) or len(found) != count:
        got = f"a list of {len(found)}" if isinstance(found, list) else type(found).__name__
        raise ReplyError(f"a list of {count} pairs was asked for, the reply is {got}")
    pairs = [_pair(item) for item in found]
    if len({pair["Q"] for pair in pairs}) != count:
        raise ReplyError("the same question twice")
    return pairs


def read_description(text: str) -> dict[str, str]:
    """One object of a request ``Q`` and a description ``A`` of 150 to 300 words.

    Raises:
        ReplyError: Anything else; says what.
    """
    pair = _pair(_json(text))
    words = len(pair["A"].split())
    if not WORDS[0] <= words <= WORDS[1]:
        raise ReplyError(f"a description of {words} words; {WORDS[0]} to {WORDS[1]} are wanted")
    return pair


def _json(text: str) -> Any:
    text = text.strip()
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError) as error:
        raise ReplyError(f"not JSON ({error})") from None


def _pair(item: Any) -> dict[str, str]:
    if not isinstance(item, dict) or set(item) != {"Q", "A"}:
        keys = sorted(item) if isinstance(item, dict) else type(item).__name__
        raise ReplyError(f"objects with the keys Q and A were asked for, found {keys}")
    for key, value in item.items():
        if not isinstance(value, str) or not value.strip():
            raise ReplyError(f"{key} must be text, found {value!r}")
    return {key: item[key].strip() for key in ("Q", "A")}
