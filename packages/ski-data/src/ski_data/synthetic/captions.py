"""What single frames show, said with words of the seen class names and small function words.

The captions play the part of image-text pairs from the web. They describe where each hand and foot
is and what it holds, so that sides, limbs, places, objects and movements get meanings of their own;
no caption contains the name of an unseen class.
"""

from __future__ import annotations

import re

import numpy as np

from ski_data.synthetic.classes import SEEN, SIDES, UNSEEN, Action
from ski_data.synthetic.motions import Performance

FUNCTION_WORDS = frozenset({"and", "at", "in", "is", "near", "on", "the", "with"})
"""Words of captions that need not be in a seen class name."""

_HAND = {"left": 7, "right": 11}
_KNEE = {"left": 13, "right": 17}
_ANKLE = {"left": 14, "right": 18}
_HIP = {"left": 12, "right": 16}

_VERBS: dict[str, tuple[str, ...]] = {
    "wave": ("wave", "wave {limbs}", "{side} {limb} wave", "wave with {side} {limb}"),
    "raise_hand": ("raise {limbs}", "raise", "raise up {side} {limb}", "raise {limbs} up"),
    "touch_head": (
        "touch head",
        "touch the head with {limbs}",
        "{side} {limb} touch head",
    ),
    "drink": ("drink", "drink from cup", "drink with {side} hand", "drink from the cup"),
    "pick_up": ("pick up", "pick up cup", "pick up with {side} hand", "{side} hand pick up"),
    "phone": ("talk", "talk on phone", "talk with phone in {side} hand", "talk on the phone"),
    "brush": ("brush teeth", "brush", "brush with {side} hand", "brush the teeth"),
    "touch_knee": ("touch knee", "touch {side} knee", "touch the knee with hand"),
    "clap": ("clap", "clap with both hands", "both hands clap"),
    "kick": ("kick", "kick with foot", "{side} foot kick"),
    "raise_foot": ("raise foot", "raise {side} knee", "raise", "raise up {side} foot"),
    "sit": ("sit", "is down", "sit in place"),
    "walk": ("walk", "walk with left foot and right foot", "walk in the place"),
}


def words(text: str) -> list[str]:
    """Lower-case words of a caption or class name."""
    return re.findall(r"[a-z]+", text.lower())


def names_unseen(caption: str) -> bool:
    """Whether the words of an unseen class name stand in ``caption`` one after the other."""
    text = f" {' '.join(words(caption))} "
    return any(f" {action.name} " in text for action in UNSEEN)


def _limbs(action: Action) -> str:
    """The acting limbs: left hand, right foot, both hands, ..."""
    if action.side == "both":
        return "both hands"
    return f"{action.side} {'foot' if action.motion in ('kick', 'raise_foot') else 'hand'}"


def _verbs(action: Action) -> tuple[str, ...]:
    limb = "foot" if action.motion in ("kick", "raise_foot") else "hand"
    both = action.side == "both"
    fill = {"side": "both" if both else action.side, "limb": "hands" if both else limb}
    limbs = "both hands" if both else limb
    return tuple(verb.format(limbs=limbs, **fill) for verb in _VERBS[action.motion])


def _hand(joints: np.ndarray, side: str, height: float) -> str | None:
    """Where a hand is: on head, near head, up, on knee, down, or None for anywhere else."""
    hand, head, hip = joints[_HAND[side]], joints[3], joints[_HIP[side]]
    to_head = np.linalg.norm(hand - head)
    if to_head < 0.12 * height and hand[1] > head[1] + 0.03:
        return "on head"
    if to_head < 0.14 * height:
        return "near head"
    if hand[1] > joints[20, 1] + 0.08:
        return "up"
    if np.linalg.norm(hand - joints[_KNEE[side]]) < 0.085 * height:
        return "on knee"
    if hand[1] < hip[1] + 0.04 and joints[20, 1] > 0.72 * height:
        return "down"
    return None


def facts(
    action: Action, performance: Performance, frame: int, height: float
) -> list[tuple[str, ...]]:
    """True statements about one frame, each with the phrases that may say it.

    Args:
        action: The clip's class.
        performance: The acted clip.
        frame: Which frame.
        height: The person's height in metres.

    Returns:
        What is done, and with which limbs, comes first while the action is under way; then where
        hands and feet are and what they hold.
    """
    joints = performance.figure.joints[frame]
    active = performance.active[frame]
    result: list[tuple[str, ...]] = [_verbs(action)] if active > 0.6 else []
    if action.sides and active > 0.6:
        result.append((_limbs(action), f"with {_limbs(action)}"))
    places = {side: _hand(joints, side, height) for side in SIDES}
    left, right = places["left"], places["right"]
    if left is not None and left == right:
        each = f"left hand {left} and right hand {left}"
        result.append((f"both hands {left}", f"both hands {left}", f"hands {left}", each))
    else:
        for side, place in places.items():
            if place is not None:
                also = (f"{side} hand on {side} knee",) if place == "on knee" else ()
                result.append((f"{side} hand {place}", *also))
    for side in SIDES:
        if joints[_ANKLE[side], 1] > 0.16 * height:
            other = SIDES[1 - SIDES.index(side)]
            bent = joints[_KNEE[side], 1] > joints[_HIP[side], 1] - 0.1 * height
            also = (f"{side} knee up",) if bent else ()
            result.append((f"{side} foot up", f"{side} foot is up", *also))
            result.append((f"{other} foot down", f"{other} foot in place"))
    for side, held in performance.holding.items():
        thing = action.prop
        if not held[frame]:
            result.append((f"{thing} is down", f"{thing} down"))
            continue
        result.append((f"{thing} in {side} hand", f"{side} hand with {thing}"))
        if places[side] in ("near head", "on head"):
            also = ("brush at teeth",) if thing == "brush" else (f"{thing} at the head",)
            result.append((f"{thing} near head", *also))
    return result


def frame_captions(
    action: Action,
    performance: Performance,
    frame: int,
    height: float,
    count: int,
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    """What may be said about one frame.

    Returns:
        Up to ``count`` different captions, the class name first while it is acted; and every
        phrase that is true of the frame. A caption is one phrase or several, joined by "and" or
        commas (:func:`phrases`).
    """
    known = facts(action, performance, frame, height)
    result = [action.name] if performance.active[frame] > 0.7 else []
    true = result + [phrase for fact in known for phrase in fact if not names_unseen(phrase)]
    for _ in range(4 * count if known else 0):
        if len(result) >= count:
            break
        chosen = rng.permutation(len(known))[: rng.choice((1, 2, 3), p=(0.35, 0.4, 0.25))]
        parts = [known[i][rng.integers(len(known[i]))] for i in chosen]
        caption = (" and ", ", ")[rng.integers(2)].join(parts)
        if caption not in result and not names_unseen(caption):
            result.append(caption)
    return result, sorted({part for phrase in true for part in phrases(phrase)})


def phrases(caption: str) -> list[str]:
    """The statements that a caption joins."""
    return re.split(r" and |, ", caption)


def vocabulary() -> frozenset[str]:
    """All words that captions may use."""
    return FUNCTION_WORDS | {word for action in SEEN for word in words(action.name)}
