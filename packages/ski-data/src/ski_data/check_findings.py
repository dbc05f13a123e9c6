"""What a check found, and the clips that it looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ski_data.classes import ClassSet

SHOWN = 6
"""Clips that a line of the table names; the JSON report has all."""

Level = Literal["problem", "remark"]


@dataclass(frozen=True)
class Finding:
    """One kind of trouble.

    Attributes:
        level: ``problem``: to be mended before training. ``remark``: good to know.
        kind: A short key, the same for the same trouble.
        text: What is wrong, in words.
        clips: What it concerns, one text each.
    """

    level: Level
    kind: str
    text: str
    clips: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.clips:
            return self.text
        more = ", ..." if len(self.clips) > SHOWN else ""
        return f"{len(self.clips)} x {self.text}: {', '.join(self.clips[:SHOWN])}{more}"


@dataclass
class Findings:
    """What was found in one target.

    Attributes:
        target: What was looked at.
        kind: ``skeleton store``, ``video store``, ``manifest``, ``videos`` or ``split``.
        counts: Clips, frames, people and so on.
        per_class: Clips per class name or label.
        found: The trouble.
    """

    target: str
    kind: str
    counts: dict[str, int | float | str] = field(default_factory=dict)
    per_class: dict[str, int] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)

    def add(self, level: Level, kind: str, text: str, clips: Iterable[str] | None = None) -> None:
        """Note trouble; with ``clips`` only if there are any."""
        listed = tuple(clips or ())
        if clips is None or listed:
            self.found.append(Finding(level, kind, text, listed))

    def of(self, level: Level) -> list[Finding]:
        """Trouble of one level."""
        return [finding for finding in self.found if finding.level == level]

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "target": self.target,
            "kind": self.kind,
            "counts": self.counts,
            "per_class": self.per_class,
            **{
                f"{level}s": [
                    {"kind": one.kind, "text": one.text, "clips": list(one.clips)}
                    for one in self.of(level)
                ]
                for level in ("problem", "remark")
            },
        }


@dataclass(frozen=True)
class ClipFacts:
    """One clip, as labels and splits see it; -1 stands for unknown.

    Attributes:
        name: Of the clip.
        label: Its label.
        action: From its NTU name, from 1.
        subject: The person.
        camera: The view.
        setup: Height and distance of the camera, or the place.
        replication: Number of the performance.
        side: ``train``, ``test`` or whatever its list says of it, if anything.
        content: Hash of what it holds; empty if it was not taken.
    """

    name: str
    label: int = -1
    action: int = -1
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    side: str = ""
    content: str = ""


@dataclass(frozen=True)
class ClipTable:
    """The clips of a target and what their labels mean."""

    target: str
    clips: tuple[ClipFacts, ...]
    classes: ClassSet | None = None

    def class_keys(self, clip: ClipFacts) -> tuple[str, ...]:
        """Names under which the clip's class may be known, the surest first."""
        keys = (f"A{clip.action:03d}",) if clip.action > 0 else ()
        if self.classes is not None and 0 <= clip.label < len(self.classes):
            keys += (self.classes.ids[clip.label], self.classes.names[clip.label])
        return keys
