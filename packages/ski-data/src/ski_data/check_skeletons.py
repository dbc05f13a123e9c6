"""Audit of skeleton stores: damage, scale, axes, bodies that stand still, jump or stretch, copies.

Limits were set beside real recordings: UI-PRMD (Kinect v2, 2000 clips), HDM05 (11 classes, optical)
and both sets of the Bandai Namco motions (optical), all of which stay within those of problems.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ski_data.check_findings import ClipFacts, ClipTable, Findings
from ski_data.check_labels import check_labels, ntu_action
from ski_data.errors import MissingFileError
from ski_data.layouts import Layout, Validity
from ski_data.progress import Progress
from ski_data.store import SkeletonStore, StoreError

LIMITS: dict[str, float] = {
    "shortest_person_m": 0.4,
    "tallest_person_m": 3.0,
    "still_body_m": 0.001,
    "joint_step_problem_m": 2.0,
    "joint_step_remark_m": 0.5,
    "body_step_problem_m": 1.0,
    "bone_change_problem_m": 0.75,
    "bone_change_remark_m": 0.3,
    "upside_down_share": 0.5,
}
"""Metres, and metres per frame for steps.

``shortest_person_m``, ``tallest_person_m``: longest side of the box around the first body, median
over the frames; measured 0.94 to 1.86. ``still_body_m``: no joint strays farther over the clip;
measured 0.04 at least. ``joint_step``: the farthest that a joint gets from one frame to the next;
measured 1.24 at most with Kinect (joints that are lost and found), 0.67 optically. ``body_step``:
the same for the centre joint. ``bone_change``: longest minus shortest length of a bone within a
clip; measured 0.37 at most with Kinect, 0.15 optically. ``upside_down_share``: of clips whose head
is below their feet in the mean over the frames; measured 0.
"""


@dataclass(frozen=True)
class BodyFacts:
    """Measures of one body over a clip, in metres; NaN where too little of it is there.

    Attributes:
        extent: Longest side of the box around the joints, median over the frames.
        stray: The farthest that a joint's coordinate ranges over the clip.
        joint_step: The farthest that a joint gets from one frame to the next.
        body_step: The same for the layout's centre joint.
        bone_change: Longest minus shortest length of a bone, the largest of all bones.
        up: (3,) from the feet to the head, mean over the frames.
    """

    extent: float
    stray: float
    joint_step: float
    body_step: float
    bone_change: float
    up: np.ndarray


@dataclass(frozen=True)
class _Joints:
    centre: int
    child: np.ndarray
    parent: np.ndarray
    head: int | None
    feet: tuple[int, ...]


def joints_to_measure(layout: Layout, validity: np.ndarray) -> _Joints:
    """Which joints of a layout are measured how; bones only between joints that are no copies."""
    real = validity >= Validity.INTERPOLATED
    bones = [pair for pair in layout.bone_pairs if real[pair[0]] and real[pair[1]]]
    names = [name.lower() for name in layout.joints]
    heads = [j for word in ("head", "nose") for j, n in enumerate(names) if word in n and real[j]]
    feet: list[int] = []
    for word in ("foot", "ankle"):
        feet = feet or [j for j, n in enumerate(names) if n.count(word) and real[j]]
    child, parent = np.array(bones, np.int64).reshape(-1, 2).T
    return _Joints(layout.centre, child, parent, heads[0] if heads else None, tuple(feet))


def body_facts(joints: np.ndarray, there: np.ndarray, measured: _Joints) -> BodyFacts:
    """Measures of one body.

    Args:
        joints: float32 (T, V, 3), metres, y up.
        there: bool (T, V), False for joints that are absent in a frame.
        measured: From :func:`joints_to_measure`.
    """
    if not there.all():
        joints = np.where(there[..., None], joints, np.float32("nan"))
    frames = there.any(axis=1)
    sides = (np.fmax.reduce(joints, axis=1) - np.fmin.reduce(joints, axis=1))[frames]
    steps = np.linalg.norm(joints[1:] - joints[:-1], axis=-1)
    ranges = np.fmax.reduce(joints, axis=0) - np.fmin.reduce(joints, axis=0)
    bones = np.linalg.norm(joints[:, measured.child] - joints[:, measured.parent], axis=-1)
    changes = np.fmax.reduce(bones, axis=0) - np.fmin.reduce(bones, axis=0)
    up = np.full(3, np.nan)
    if measured.head is not None and measured.feet:
        upright = joints[:, measured.head] - joints[:, list(measured.feet)].mean(axis=1)
        upright = upright[np.isfinite(upright).all(axis=1)]
        up = upright.mean(axis=0) if len(upright) else up
    return BodyFacts(
        extent=float(np.median(np.fmax.reduce(sides, axis=1))) if len(sides) else np.nan,
        stray=_largest(ranges) if frames.sum() > 1 else np.nan,
        joint_step=_largest(steps),
        body_step=_largest(steps[:, measured.centre]),
        bone_change=_largest(changes),
        up=up,
    )


def _largest(values: np.ndarray) -> float:
    return float(np.fmax.reduce(values, axis=None)) if values.size else float("nan")


def check_skeleton_store(folder: Path | str) -> tuple[Findings, ClipTable]:
    """Check every clip of a store, one at a time: checksum, numbers, people, labels, copies."""
    findings = Findings(str(folder), "skeleton store")
    try:
        store = SkeletonStore(folder)
    except (StoreError, MissingFileError) as error:
        findings.add("problem", "damaged", str(error))
        return findings, ClipTable(str(folder), ())
    try:
        store.verify()
    except StoreError as error:
        findings.add("problem", "checksum", str(error))
    wrong: dict[str, list[str]] = defaultdict(list)
    hashes, extents = [], []
    ups = np.full((len(store), 3), np.nan)
    measured = joints_to_measure(store.layout, store.joint_validity)
    with Progress(f"check {Path(folder).name}", len(store)) as progress:
        for i in range(len(store)):
            tracks = store.tracks(i)
            hashes.append(hashlib.blake2b(tracks, digest_size=16).hexdigest())
            if np.isfinite(tracks).all():
                there = store.validity(i)[..., : len(tracks)].transpose(2, 0, 1) > 0
                bodies = [
                    body_facts(joints, mask, measured)
                    for joints, mask in zip(tracks, there, strict=True)
                ]
                extents.append(bodies[0].extent)
                ups[i] = bodies[0].up
                _judge(store.name(i), tracks.shape[1], bodies, wrong)
            else:
                wrong["not-finite"].append(store.name(i))
            progress.update(i + 1)
    for kind, (level, text) in _TEXTS.items():
        findings.add(level, kind, text, wrong[kind])
    _check_axes(ups, findings)
    table = _table(store, hashes)
    _check_copies(table, findings)
    index = store.index
    findings.counts = {
        "clips": len(store),
        "frames": int(index["frames"].sum()),
        "shortest": int(index["frames"].min()),
        "longest": int(index["frames"].max()),
        "layout": store.layout.name,
        "clips with two or more bodies": int((index["bodies"] > 1).sum()),
        "joints not measured": int((store.joint_validity != Validity.MEASURED).sum()),
        "median extent in metres": round(float(np.median(extents)), 3) if extents else 0.0,
    }
    check_labels(table, findings, all_classes=False)
    return findings, table


_TEXTS = {
    "not-finite": ("problem", "coordinates that are not finite numbers"),
    "scale": (
        "problem",
        f"a person measures less than {LIMITS['shortest_person_m']} or more than "
        f"{LIMITS['tallest_person_m']} metres (units?)",
    ),
    "still": (
        "problem",
        f"nobody moves by more than {LIMITS['still_body_m'] * 1000:g} mm over the clip",
    ),
    "jumps": (
        "problem",
        f"a body's centre moves by more than {LIMITS['body_step_problem_m']} m, or a joint by more "
        f"than {LIMITS['joint_step_problem_m']} m, in one frame (people or frames mixed up?)",
    ),
    "stretches": (
        "problem",
        f"a bone's length changes by more than {LIMITS['bone_change_problem_m']} m (joints mixed "
        "up?)",
    ),
    "one-frame": ("remark", "a single frame"),
    "still-body": ("remark", "one of several bodies does not move (furniture?)"),
    "joint-jumps": (
        "remark",
        f"a joint moves by more than {LIMITS['joint_step_remark_m']} m in one frame (lost and "
        "found again?)",
    ),
    "bone-changes": (
        "remark",
        f"a bone's length changes by more than {LIMITS['bone_change_remark_m']} m",
    ),
}


def _judge(name: str, frames: int, bodies: list[BodyFacts], wrong: dict[str, list[str]]) -> None:
    """Sort a clip into what is wrong with it; comparisons with NaN are False."""
    extent = bodies[0].extent
    if not LIMITS["shortest_person_m"] <= extent <= LIMITS["tallest_person_m"]:
        wrong["scale"].append(f"{name} {extent:.3g} m")
    if frames == 1:
        wrong["one-frame"].append(name)
    still = [body.stray < LIMITS["still_body_m"] for body in bodies]
    if all(still):
        wrong["still"].append(name)
    elif any(still):
        wrong["still-body"].append(name)
    joint = max((body.joint_step for body in bodies if body.joint_step > 0), default=0.0)
    centre = max((body.body_step for body in bodies if body.body_step > 0), default=0.0)
    bone = max((body.bone_change for body in bodies if body.bone_change > 0), default=0.0)
    if centre > LIMITS["body_step_problem_m"] or joint > LIMITS["joint_step_problem_m"]:
        wrong["jumps"].append(f"{name} {joint:.2f} m")
    elif joint > LIMITS["joint_step_remark_m"]:
        wrong["joint-jumps"].append(f"{name} {joint:.2f} m")
    if bone > LIMITS["bone_change_problem_m"]:
        wrong["stretches"].append(f"{name} {bone:.2f} m")
    elif bone > LIMITS["bone_change_remark_m"]:
        wrong["bone-changes"].append(f"{name} {bone:.2f} m")


def _check_axes(ups: np.ndarray, findings: Findings) -> None:
    """Whether heads are above feet, as they are where y points up."""
    ups = ups[np.isfinite(ups).all(axis=1)]
    if not len(ups):
        return
    down = float((ups[:, 1] <= 0).mean())
    mean = ups.mean(axis=0)
    axis = int(np.abs(mean).argmax())
    if down > LIMITS["upside_down_share"] or axis != 1:
        points = f"{'-' if mean[axis] < 0 else ''}{'xyz'[axis]}"
        findings.add(
            "problem",
            "axes",
            f"from the feet to the head it goes along {points}, not along y, and the head is below "
            f"the feet in {down:.0%} of the clips; import again with axes in which y points up",
        )


def _check_copies(table: ClipTable, findings: Findings) -> None:
    first: dict[str, ClipFacts] = {}
    copies, other = [], []
    for clip in table.clips:
        known = first.setdefault(clip.content, clip)
        if known is not clip:
            listed = copies if known.label == clip.label else other
            listed.append(f"{clip.name} = {known.name}")
    findings.add("problem", "copies", "the same coordinates twice", copies)
    text = "the same coordinates twice, under different labels"
    findings.add("problem", "copies-other-label", text, other)


def _table(store: SkeletonStore, hashes: list[str]) -> ClipTable:
    index = store.index
    sides = index["split"] if "split" in index else np.array([""] * len(store))
    keys = ("label", "subject", "camera", "setup", "replication")
    numbers = np.stack([index[key] for key in keys], axis=1).tolist()
    clips = tuple(
        ClipFacts(
            name=name,
            action=ntu_action(name),
            side=str(side),
            content=content,
            **dict(zip(keys, row, strict=True)),
        )
        for name, side, content, row in zip(store.names, sides, hashes, numbers, strict=True)
    )
    return ClipTable(str(store.folder), clips, store.classes)
