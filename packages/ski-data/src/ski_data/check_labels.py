"""Audit of labels: range, empty and crowded classes, names that say another class."""

from __future__ import annotations

from collections import Counter, defaultdict

from ski_data.check_findings import ClipTable, Findings
from ski_data.errors import InputError
from ski_data.ntu.names import parse_name

IMBALANCE = 10.0
"""Times as many clips in the largest class as in the smallest, beyond which it is remarked on."""


def ntu_action(name: str) -> int:
    """The action, from 1, that an NTU recording's name tells; -1 for other names."""
    try:
        return parse_name(name).action
    except InputError:
        return -1


def check_labels(table: ClipTable, findings: Findings, *, all_classes: bool) -> None:
    """Add what the labels tell.

    Args:
        table: The clips.
        findings: Where to add to.
        all_classes: Whether a class without a clip is a problem, not a remark.
    """
    classes = table.classes
    counts = Counter(clip.label for clip in table.clips)
    unknown = counts.pop(-1, 0)
    findings.counts["clips without label"] = unknown
    findings.counts["classes with clips"] = len(counts)
    findings.counts["subjects"] = len({clip.subject for clip in table.clips} - {-1})
    if classes is not None:
        outside = [f"{c.name} {c.label}" for c in table.clips if c.label >= len(classes)]
        findings.add("problem", "label-range", f"a label over {len(classes) - 1}", outside)
        empty = [name for label, name in enumerate(classes.names) if not counts[label]]
        level = "problem" if all_classes else "remark"
        findings.add(level, "empty-class", "a class without a clip", empty)
    findings.per_class = {
        str(label) if classes is None or label >= len(classes) else classes.names[label]: n
        for label, n in sorted(counts.items())
        if n
    }
    found = [n for n in counts.values() if n]
    if found and max(found) > IMBALANCE * min(found):
        findings.add(
            "remark",
            "imbalance",
            f"the largest class has {max(found)} clips, the smallest {min(found)}; sample by class "
            "or weigh the loss",
        )
    if unknown and counts:
        findings.add(
            "problem",
            "no-label",
            "a clip without a label beside clips with one",
            [clip.name for clip in table.clips if clip.label < 0],
        )
    _check_names(table, findings)


def _check_names(table: ClipTable, findings: Findings) -> None:
    """Compare labels with the actions in NTU names; other numbering is allowed if it is one."""
    named = [clip for clip in table.clips if clip.action > 0 and clip.label >= 0]
    if table.classes is not None and any(_is_action(value) for value in table.classes.ids):
        ids = table.classes.ids
        wrong = [
            f"{clip.name} is labelled {ids[clip.label]}"
            for clip in named
            if clip.label < len(ids) and ids[clip.label] != f"A{clip.action:03d}"
        ]
        findings.add("problem", "name-label", "the name says another action", wrong)
        return
    labels_of, actions_of = defaultdict(Counter), defaultdict(Counter)
    for clip in named:
        labels_of[clip.action][clip.label] += 1
        actions_of[clip.label][clip.action] += 1
    wrong = [
        f"{clip.name} is labelled {clip.label}"
        for clip in named
        if labels_of[clip.action].most_common(1)[0][0] != clip.label
        or actions_of[clip.label].most_common(1)[0][0] != clip.action
    ]
    findings.add("problem", "name-label", "the name says another action", wrong)
    if not wrong and any(clip.label != clip.action - 1 for clip in named):
        findings.add(
            "remark",
            "renumbered",
            "labels are not the actions of the names minus 1, but each action has one label",
        )


def _is_action(identity: str) -> bool:
    return len(identity) == 4 and identity[0] == "A" and identity[1:].isdigit()
