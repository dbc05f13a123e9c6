"""The 25 actions of adl-mini: 20 seen, and 5 unseen that combine words of the seen names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["left", "right", "both", "none"]
SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True)
class Action:
    """One class.

    Attributes:
        name: Class name, lower-case words.
        motion: Key of :data:`ski_data.synthetic.motions.MOTIONS`.
        side: The person's own side that acts; ``none`` for actions of the whole body.
        prop: Object that the action needs: cup, phone, brush, chair or none.
    """

    name: str
    motion: str
    side: Side = "none"
    prop: Literal["cup", "phone", "brush", "chair", "none"] = "none"

    @property
    def sides(self) -> tuple[str, ...]:
        """The acting sides."""
        return {"both": SIDES, "none": ()}.get(self.side, (self.side,))


SEEN: tuple[Action, ...] = (
    Action("wave left hand", "wave", "left"),
    Action("wave both hands", "wave", "both"),
    Action("raise right hand", "raise_hand", "right"),
    Action("raise both hands", "raise_hand", "both"),
    Action("touch head with right hand", "touch_head", "right"),
    Action("touch head with both hands", "touch_head", "both"),
    Action("drink from cup with right hand", "drink", "right", "cup"),
    Action("pick up cup with left hand", "pick_up", "left", "cup"),
    Action("talk on phone with left hand", "phone", "left", "phone"),
    Action("talk on phone with right hand", "phone", "right", "phone"),
    Action("brush teeth with left hand", "brush", "left", "brush"),
    Action("brush teeth with right hand", "brush", "right", "brush"),
    Action("touch knee with left hand", "touch_knee", "left"),
    Action("touch knee with right hand", "touch_knee", "right"),
    Action("clap hands", "clap", "both"),
    Action("kick with left foot", "kick", "left"),
    Action("raise left foot", "raise_foot", "left"),
    Action("raise right foot", "raise_foot", "right"),
    Action("sit down", "sit", "none", "chair"),
    Action("walk in place", "walk"),
)

UNSEEN: tuple[Action, ...] = (
    Action("wave right hand", "wave", "right"),
    Action("raise left hand", "raise_hand", "left"),
    Action("touch head with left hand", "touch_head", "left"),
    Action("drink from cup with left hand", "drink", "left", "cup"),
    Action("kick with right foot", "kick", "right"),
)

ACTIONS: tuple[Action, ...] = SEEN + UNSEEN
"""All classes; the number in file names (``Aaaa``) is the index here plus 1."""
