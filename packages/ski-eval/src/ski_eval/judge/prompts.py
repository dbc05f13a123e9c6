"""What the judge is asked: prompts as data, items, and the strict form of an answer.

The five metrics are those of Video-ChatGPT's evaluation (Maaz et al. 2023): correctness, detail,
context, temporal order, and consistency over two questions. The wording is ours and lies in
``prompts.json``; `prompt_hash` goes onto every result card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ski_eval.errors import InputError
from ski_eval.results import content_hash

METRICS = ("correctness", "detail", "context", "temporal", "consistency")
BEST = 5
"""Largest score of one answer; figures are mean score / 5, shown from 0 to 100."""
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": BEST}},
    "required": ["score"],
    "additionalProperties": False,
}
"""JSON schema of an answer, for servers that decode under one."""

Message = Mapping[str, str]


@dataclass(frozen=True)
class Item:
    """One thing to judge; the second question and prediction are for consistency only."""

    name: str
    metric: str
    question: str
    reference: str
    prediction: str
    second_question: str | None = None
    second_prediction: str | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(f"metric: {self.metric!r}; allowed: {', '.join(METRICS)}")
        both = self.second_question is not None and self.second_prediction is not None
        if both != (self.metric == "consistency"):
            raise InputError(
                f"{self.metric}, {self.name!r}: two questions with two predictions belong to "
                "consistency, and to no other metric"
            )


def messages(item: Item) -> list[Message]:
    """The conversation that asks for the score of ``item``."""
    texts = _prompts()["metrics"][item.metric]
    values = {
        "question": item.question,
        "second_question": item.second_question or "",
        "reference": item.reference,
        "prediction": item.prediction,
        "second_prediction": item.second_prediction or "",
        "form": _prompts()["form"],
    }
    # One pass: braces within questions and answers are left as they are.
    user = re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], texts["user"])
    return [{"role": "system", "content": texts["system"]}, {"role": "user", "content": user}]


def asked_again(before: list[Message], reply: str) -> list[Message]:
    """``before`` with an answer of the wrong form and the reminder of the form."""
    return [
        *before,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": _prompts()["reminder"]},
    ]


def parse_score(reply: str) -> int | None:
    """Score 0..5 of an answer ``{"score": 4}``; None for every other form.

    4.8, "4", true, further or repeated keys and words around the object are refused, not rounded
    or searched.
    """
    try:
        content = json.loads(reply, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(content, list) and len(content) == 1 and reply.lstrip().startswith("{")):
        return None
    name, score = content[0]
    if name != "score":
        return None
    whole = isinstance(score, int) and not isinstance(score, bool)
    return score if whole and 0 <= score <= BEST else None


def prompt_hash(metric: str) -> str:
    """SHA-256 of all words that are put to the judge for ``metric``."""
    prompts = _prompts()
    return content_hash([prompts["metrics"][metric], prompts["form"], prompts["reminder"]])


@cache
def _prompts() -> dict[str, Any]:
    text = resources.files("ski_eval.judge").joinpath("prompts.json").read_text(encoding="utf-8")
    return json.loads(text)
