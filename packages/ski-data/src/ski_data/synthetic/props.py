"""Objects of actions: what a hand holds, and the chair, as capsules that move with the figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ski_data.synthetic.body import SIGN, Figure, unit
from ski_data.synthetic.classes import Action

SEAT = 0.46
"""Height of the chair's seat in metres."""
BACK = 0.40
"""How far behind the feet people sit, in metres for a height of 1.72 m."""

_WRIST = {"left": 6, "right": 10}
_HAND = {"left": 7, "right": 11}
_ANKLES = (14, 18)


@dataclass(frozen=True)
class Prop:
    """A capsule-shaped part of an object: ends (T, 3), radius in metres, colour name."""

    start: np.ndarray
    end: np.ndarray
    radius: float
    colour: str


def props(
    action: Action, figure: Figure, active: np.ndarray, held: np.ndarray, height: float
) -> tuple[Prop, ...]:
    """The objects of ``action``.

    Args:
        action: The class.
        figure: The posed person.
        active: (T,) 0..1, how far the action is under way.
        held: (T,) whether the object is in the hand; before, it stands on the floor.
        height: The person's height in metres.
    """
    if action.prop == "none":
        return ()
    if action.prop == "chair":
        return chair(figure, height)
    (side,) = action.sides
    hand = figure.joints[:, _HAND[side]]
    along = unit(hand - figure.joints[:, _WRIST[side]])
    if action.prop == "cup":
        tilt = active if action.motion == "drink" else np.zeros_like(active)
        return _cup(figure, hand, along, tilt[:, None], held)
    if action.prop == "phone":
        return _phone(figure, hand, along, active[:, None], SIGN[side])
    return _brush(figure, hand, along)


def _by_mouth(figure: Figure) -> np.ndarray:
    return figure.joints[:, 3] + figure.head @ np.array([0, -0.065, 0.1])


def _cup(
    figure: Figure, hand: np.ndarray, along: np.ndarray, tilt: np.ndarray, held: np.ndarray
) -> tuple[Prop, ...]:
    up = np.array([0.0, 1.0, 0.0])
    axis = unit(up + 0.7 * tilt * unit(_by_mouth(figure) - hand))
    centre = hand + 0.03 * along + 0.02 * axis
    if not held.all():
        ground = centre[int(np.argmax(held))] * [1, 0, 1] + 0.07 * up
        centre = np.where(held[:, None], centre, ground)
    return (Prop(centre - 0.035 * axis, centre + 0.055 * axis, 0.05, "cup"),)


def _phone(
    figure: Figure, hand: np.ndarray, along: np.ndarray, talk: np.ndarray, sign: float
) -> tuple[Prop, ...]:
    left, up, ahead = (figure.head[..., k] for k in range(3))
    axis = unit((1 - talk) * along + talk * (0.5 * ahead - up))
    centre = hand + 0.03 * (1 - talk) * along + talk * (0.035 * ahead + 0.015 * sign * left)
    return (Prop(centre - 0.075 * axis, centre + 0.085 * axis, 0.034, "phone"),)


def _brush(figure: Figure, hand: np.ndarray, along: np.ndarray) -> tuple[Prop, ...]:
    way = _by_mouth(figure) - hand
    near = np.clip(1.6 - np.linalg.norm(way, axis=-1, keepdims=True) / 0.22, 0, 1)
    axis = unit((1 - near) * along + near * unit(way))
    return (
        Prop(hand - 0.03 * axis, hand + 0.16 * axis, 0.019, "brush"),
        Prop(hand + 0.13 * axis, hand + 0.17 * axis, 0.025, "bristle"),
    )


def chair(figure: Figure, height: float) -> tuple[Prop, ...]:
    """A chair behind where the person of ``figure`` stands in the first frame."""
    frames = len(figure.joints)
    feet = figure.joints[0, _ANKLES, :].mean(axis=0) * [1, 0, 1]
    front = unit(figure.pelvis[0, :, 2] * [1, 0, 1])
    turn = np.stack([np.cross([0.0, 1.0, 0.0], front), [0.0, 1.0, 0.0], front], -1)
    corner = feet - front * (BACK * height / 1.72 + 0.17)

    def bar(a: tuple[float, float, float], b: tuple[float, float, float], r: float) -> Prop:
        ends = [np.broadcast_to(corner + turn @ np.array(p), (frames, 3)) for p in (a, b)]
        return Prop(ends[0], ends[1], r, "chair")

    seat = SEAT - 0.04
    return (
        *(bar((-0.2, seat, z), (0.2, seat, z), 0.035) for z in (0.02, 0.13, 0.24, 0.35)),
        *(bar((x, 0.02, z), (x, seat, z), 0.022) for x in (-0.21, 0.21) for z in (0.0, 0.37)),
        *(bar((x, seat, -0.02), (x, 0.95, -0.06), 0.025) for x in (-0.2, 0.2)),
        *(bar((-0.2, y, -0.05), (0.2, y, -0.05), 0.045) for y in (0.72, 0.88)),
    )
