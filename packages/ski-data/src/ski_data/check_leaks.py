"""Audit of splits: what must not be on both sides, and is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ski_data.check_findings import ClipFacts, ClipTable, Findings
from ski_data.errors import InputError
from ski_data.ntu.archive import PROTOCOLS, Protocol
from ski_data.splits import ZeroShotSplit, read_split, split_names, zero_shot_split

Side = Literal["train", "test"]
Apart = Literal["subject", "camera", "setup"]

_CROSS: dict[str, Apart] = {
    "cross-subject": "subject",
    "cross-view": "camera",
    "cross-setup": "setup",
}


@dataclass(frozen=True)
class Rule:
    """What a split promises.

    Attributes:
        name: As the user wrote it.
        apart: The number that must not be on both sides, if any.
        protocol: Which values of it are for training, where that is fixed.
        zero_shot: Classes that training must not have, if any.
    """

    name: str
    apart: Apart | None = None
    protocol: Protocol | None = None
    zero_shot: ZeroShotSplit | None = None


def read_rule(text: str) -> Rule:
    """A rule by name or from a split file.

    Args:
        text: ``cross-subject``, ``cross-view``, ``cross-setup``, an NTU protocol
            (``ntu60/xsub``), a zero-shot split (``ntu60/55-5``), or a JSON file of one's own split.

    Raises:
        InputError: None of these, or a file that cannot be used.
    """
    if text in _CROSS:
        return Rule(text, _CROSS[text])
    if text in PROTOCOLS:
        protocol = PROTOCOLS[text]
        apart: Apart = {v: v for v in _CROSS.values()}[protocol.field]
        return Rule(text, apart, protocol)
    if text in split_names():
        return Rule(text, zero_shot=zero_shot_split(text))
    if Path(text).is_file():
        return Rule(text, zero_shot=read_split(text))
    known = ", ".join((*_CROSS, *PROTOCOLS, *split_names()))
    raise InputError(f"unknown split {text!r}: no such file, and known are {known}")


def check_sides(train: ClipTable, test: ClipTable, rule: Rule | None) -> Findings:
    """Compare the training side with the other side.

    Args:
        train: Clips of training.
        test: Clips of validation or test.
        rule: What the split promises; without it, people on both sides are only remarked on.
    """
    findings = Findings(f"{train.target} against {test.target}", "split")
    findings.counts = {"training clips": len(train.clips), "test clips": len(test.clips)}
    apart = None if rule is None else rule.apart

    def add(level: Literal["problem", "remark"], kind: str, text: str, key: _Key) -> None:
        findings.add(level, kind, text, _on_both(train.clips, test.clips, key))

    add("problem", "clip-on-both-sides", "a clip of this name on both sides", lambda c: c.name)
    add("problem", "content-on-both-sides", "the same content on both sides", _content)
    for field in _CROSS.values():
        if apart == field or (apart is None and field == "subject"):
            level = "problem" if apart == field else "remark"
            text = f"a {field} on both sides"
            both = _values(train, field) & _values(test, field)
            findings.add(level, f"{field}-on-both-sides", text, [str(v) for v in sorted(both)])
    if apart != "camera":
        text = "one performance on both sides, seen by other cameras"
        seen = _seen_elsewhere(train.clips, test.clips)
        findings.add("problem", "performance-on-both-sides", text, seen)
    if rule is not None and rule.protocol is not None:
        for table, side in ((train, "train"), (test, "test")):
            wrong = [c.name for c in table.clips if _protocol_side(c, rule.protocol) != side]
            text = f"a clip that {rule.name} does not give to {side}"
            findings.add("problem", f"not-for-{side}", text, wrong)
    if rule is not None and rule.zero_shot is not None:
        _check_classes(train, test, rule.zero_shot, findings)
    return findings


def check_split(table: ClipTable, rule: Rule) -> Findings:
    """Apply a split to one target: how many clips each side gets, what leaks between them."""
    sides: dict[str, list[ClipFacts]] = {"train": [], "test": []}
    outside = []
    for clip in table.clips:
        side = _side(table, clip, rule)
        if side is None:
            outside.append(clip.name)
        else:
            sides[side].append(clip)
    parts = [
        ClipTable(f"{table.target} ({side})", tuple(clips), table.classes)
        for side, clips in sides.items()
    ]
    findings = check_sides(parts[0], parts[1], rule)
    findings.target = f"{table.target} by {rule.name}"
    for side, clips in sides.items():
        if not clips:
            findings.add("problem", f"no-{side}", f"no clip for {side}")
    level = "problem" if len(outside) == len(table.clips) else "remark"
    findings.add(level, "outside", "a clip that the split says nothing of", outside)
    if rule.zero_shot is not None:
        for side, classes in (("train", rule.zero_shot.seen), ("test", rule.zero_shot.unseen)):
            there = {key for clip in sides[side] for key in table.class_keys(clip)}
            lost = [
                name
                for identity, name in zip(classes.ids, classes.names, strict=True)
                if not {identity, name} & there
            ]
            findings.add("remark", f"empty-{side}-class", f"a class of {side} without a clip", lost)
    return findings


_Key = Callable[[ClipFacts], Hashable]


def _on_both(train: Iterable[ClipFacts], test: Iterable[ClipFacts], key: _Key) -> list[str]:
    """Clips of the test side, with one of the training side that has the same key."""
    first: dict[Hashable, str] = {}
    for clip in train:
        if (value := key(clip)) is not None:
            first.setdefault(value, clip.name)
    return [
        clip.name if clip.name == other else f"{clip.name} = {other}"
        for clip in test
        if (value := key(clip)) is not None and (other := first.get(value)) is not None
    ]


def _content(clip: ClipFacts) -> str | None:
    return clip.content or None


def _seen_elsewhere(train: Iterable[ClipFacts], test: Iterable[ClipFacts]) -> list[str]:
    """Clips of the test side whose performance another camera of the training side saw."""
    seen: dict[Hashable, dict[int, str]] = defaultdict(dict)
    for clip in train:
        if (key := _performance(clip)) is not None:
            seen[key].setdefault(clip.camera, clip.name)
    result = []
    for clip in test:
        views = seen.get(_performance(clip), {})
        other = next((name for camera, name in views.items() if camera != clip.camera), None)
        if other is not None:
            result.append(f"{clip.name} = {other}")
    return result


def _performance(clip: ClipFacts) -> Hashable:
    """Who did what when, whatever camera saw it; None if that is not known."""
    action = clip.action if clip.action > 0 else clip.label + 1
    key = (clip.setup, clip.subject, clip.replication, action)
    return None if min(key) < 0 or action < 1 or clip.camera < 0 else key


def _values(table: ClipTable, field: Apart) -> set[int]:
    return {getattr(clip, field) for clip in table.clips} - {-1}


def _protocol_side(clip: ClipFacts, protocol: Protocol) -> Side | None:
    value = getattr(clip, protocol.field)
    if value < 0 or clip.setup > protocol.setups:
        return None
    return "train" if value in protocol.train else "test"


def _zero_shot_side(table: ClipTable, clip: ClipFacts, split: ZeroShotSplit) -> Side | None:
    for key in table.class_keys(clip):
        for side, classes in (("train", split.seen), ("test", split.unseen)):
            if key in classes.ids or key in classes.names:
                return side
    return None


def _side(table: ClipTable, clip: ClipFacts, rule: Rule) -> Side | None:
    if rule.zero_shot is not None:
        return _zero_shot_side(table, clip, rule.zero_shot)
    if rule.protocol is not None:
        return _protocol_side(clip, rule.protocol)
    if not clip.side:
        return None
    return "train" if clip.side == "train" else "test"


def _check_classes(
    train: ClipTable, test: ClipTable, split: ZeroShotSplit, findings: Findings
) -> None:
    wrong: dict[str, dict[str, int]] = {"train": defaultdict(int), "test": defaultdict(int)}
    for table, side in ((train, "train"), (test, "test")):
        for clip in table.clips:
            found = _zero_shot_side(table, clip, split)
            if found is not None and found != side:
                wrong[side][table.class_keys(clip)[-1]] += 1
    findings.add(
        "problem",
        "unseen-class-in-training",
        "an unseen class in training",
        [f"{name} ({n} clips)" for name, n in wrong["train"].items()],
    )
    findings.add(
        "remark",
        "seen-class-in-test",
        "a seen class in the test, as only generalised zero-shot has it",
        [f"{name} ({n} clips)" for name, n in wrong["test"].items()],
    )
