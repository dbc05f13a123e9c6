"""Questions and answers about adl-mini's clips by template, and what an answer names.

An answer puts the class name into the progressive form and changes nothing else ("waving left
hand"), so that the class can be read off it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ski_data.instructions import Instruction
from ski_data.manifest import Record
from ski_data.synthetic.classes import ACTIONS, Action

PROGRESSIVE = {
    "wave": "waving",
    "raise": "raising",
    "touch": "touching",
    "drink": "drinking",
    "pick": "picking",
    "talk": "talking",
    "brush": "brushing",
    "clap": "clapping",
    "kick": "kicking",
    "sit": "sitting",
    "walk": "walking",
}
"""Of the verbs that class names begin with."""
QUESTION = "What is the person doing?"
"""Asked about held-out clips."""
_ASKED = (QUESTION, "Describe the action.", "Which action is shown?")
_OBJECTS = {"cup": "A cup.", "phone": "A phone.", "brush": "A toothbrush.", "chair": "A chair."}
_SIDES = {"left": "The left side.", "right": "The right side.", "both": "Both sides."}


def phrase(name: str) -> str:
    """A class name in the progressive form."""
    verb, _, rest = name.partition(" ")
    return f"{PROGRESSIVE[verb]} {rest}"


PHRASES = {phrase(action.name): action for action in ACTIONS}
"""Actions by how answers name them; no phrase is a part of another."""


def training_pairs(records: Sequence[Record]) -> list[Instruction]:
    """Two pairs a clip: one names the action, one an attribute of it. Nothing is drawn at random.

    Args:
        records: Training clips in a fixed order, ``caption`` the class name.
    """
    pairs = []
    for number, record in enumerate(records):
        action = PHRASES[phrase(str(record.caption))]
        attribute = _attributes(action)[number % 3]
        told = (_ASKED[number % 3], f"The person is {phrase(action.name)}.")
        for kind, (question, answer) in (("action", told), ("attribute", attribute)):
            pairs.append(Instruction(f"{record.name}-{kind}", record.name, question, answer))
    return pairs


def _attributes(action: Action) -> tuple[tuple[str, str], ...]:
    limb = "foot" if action.motion in ("kick", "raise_foot") else "hand"
    moving = {"both": f"Both {limb}s.", "none": "The whole body."}
    return (
        ("Which side of the body acts?", _SIDES.get(action.side, "No side more than the other.")),
        ("Which object is used?", _OBJECTS.get(action.prop, "No object.")),
        ("What moves?", moving.get(action.side, f"The {action.side} {limb}.")),
    )


def named(answer: str) -> str | None:
    """Name of the class that an answer names; None if it names none or several."""
    found = [action.name for words, action in PHRASES.items() if words in answer.lower()]
    return found[0] if len(found) == 1 else None


def named_verb(answer: str) -> str | None:
    """Verb of class names that an answer uses; None if none or several."""
    words = re.findall("[a-z]+", answer.lower())
    found = {verb for verb, form in PROGRESSIVE.items() if form in words}
    return found.pop() if len(found) == 1 else None


def named_side(answer: str) -> str:
    """Side that an answer names: left, right, both, or none if it names none or several."""
    words = re.findall("[a-z]+", answer.lower())
    found = {side for side in ("left", "right", "both") if side in words}
    return found.pop() if len(found) == 1 else "none"
