"""Looking at a store or manifest before hours are spent on it."""

from __future__ import annotations

import hashlib
import json as jsonlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ski_data.classes import ClassSet, read_classes
from ski_data.errors import MissingFileError
from ski_data.manifest import read_manifest
from ski_data.store import SkeletonStore, StoreError

PLAUSIBLE_EXTENT = (0.4, 3.0)
"""Metres that a person measures along the longest axis, from crouching to arms spread wide."""

_SHOWN = 10


@dataclass
class Findings:
    """What :func:`check` found.

    Attributes:
        target: What was looked at.
        counts: Clips, frames, people and so on.
        per_class: Clips per class name or label.
        problems: One line each; empty if all is well.
    """

    target: str
    counts: dict[str, int | float] = field(default_factory=dict)
    per_class: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check(target: str, classes: str | None = None, json: bool = False) -> int:
    """Check a skeleton store or a manifest: counts, damage, scale, duplicates, missing files.

    Exits with 1 if there is anything to look at.

    Args:
        target: Store folder or manifest file.
        classes: Label file (id,name) of a manifest.
        json: Print one JSON object instead of lines.
    """
    path = Path(target)
    if path.is_dir():
        findings = check_store(path)
    elif path.is_file():
        findings = check_manifest(path, None if classes is None else read_classes(classes))
    else:
        raise MissingFileError(f"{path}: no such store or manifest")
    if json:
        print(jsonlib.dumps(asdict(findings), indent=1))
    else:
        print(findings.target)
        for name, value in findings.counts.items():
            print(f"  {name}: {value:g}" if isinstance(value, float) else f"  {name}: {value}")
        for name, count in findings.per_class.items():
            print(f"  class {name}: {count}")
        print("\n".join(f"  problem: {text}" for text in findings.problems) or "  no problems")
    return 1 if findings.problems else 0


def check_store(folder: Path | str) -> Findings:
    """Check every clip of a store: checksum, numbers, size of the people, copies."""
    store = SkeletonStore(folder)
    findings = Findings(str(folder))
    try:
        store.verify()
    except StoreError as error:
        findings.problems.append(str(error))
    first: dict[bytes, str] = {}
    lists: dict[str, list[str]] = {"damaged": [], "copies": [], "scale": []}
    extents = []
    for i, name in enumerate(store.names):
        tracks = np.ascontiguousarray(store.tracks(i))
        digest = hashlib.sha256(tracks).digest()
        if digest in first:
            lists["copies"].append(f"{name} = {first[digest]}")
        first.setdefault(digest, name)
        if not np.isfinite(tracks).all():
            lists["damaged"].append(name)
            continue
        extent = float(np.median((tracks[0].max(axis=1) - tracks[0].min(axis=1)).max(axis=1)))
        extents.append(extent)
        if not PLAUSIBLE_EXTENT[0] <= extent <= PLAUSIBLE_EXTENT[1]:
            lists["scale"].append(f"{name} {extent:.3g} m")
    low, high = PLAUSIBLE_EXTENT
    texts = {
        "damaged": "coordinates that are not finite numbers",
        "copies": "the same coordinates twice",
        "scale": f"a person measures less than {low} or more than {high} metres (units?)",
    }
    for kind, text in texts.items():
        _add(findings, text, lists[kind])
    index = store.index
    findings.counts = {
        "clips": len(store),
        "frames": int(index["frames"].sum()),
        "shortest": int(index["frames"].min()),
        "longest": int(index["frames"].max()),
        "joints": len(store.layout.joints),
        "clips with two or more bodies": int((index["bodies"] > 1).sum()),
        "subjects": len(set(index["subject"].tolist()) - {-1}),
        "clips without label": int((index["label"] < 0).sum()),
        "median extent in metres": round(float(np.median(extents)), 3) if extents else 0.0,
    }
    findings.per_class = _per_class(index["label"].tolist(), store.classes)
    return findings


def check_manifest(path: Path | str, classes: ClassSet | None = None) -> Findings:
    """Check a manifest's rows and that its files are there and not empty."""
    records = read_manifest(path, classes)
    findings = Findings(str(path))
    for key in ("video", "skeleton"):
        named = [(record.name, file) for record in records if (file := getattr(record, key))]
        sizes = {file: file.stat().st_size if file.is_file() else None for _, file in named}
        for text, size in (("missing", None), ("empty", 0)):
            wrong = [str(file) for file, found in sizes.items() if found == size]
            _add(findings, f"{key} files {text}", wrong)
        repeats = Counter(file for _, file in named)
        _add(
            findings,
            f"{key} file named by two rows",
            [str(file) for file, times in repeats.items() if times > 1],
        )
        findings.counts[f"{key} files"] = len(sizes)
    findings.counts["clips"] = len(records)
    findings.counts["clips without label"] = sum(record.label is None for record in records)
    findings.counts["subjects"] = len({r.subject for r in records if r.subject is not None})
    labels = [-1 if record.label is None else record.label for record in records]
    findings.per_class = _per_class(labels, classes)
    if classes is not None:
        absent = [name for name in classes.names if name not in findings.per_class]
        _add(findings, "classes without a clip", absent)
    return findings


def _per_class(labels: list[int], classes: ClassSet | None) -> dict[str, int]:
    counts = sorted(Counter(label for label in labels if label >= 0).items())
    return {str(label) if classes is None else classes.names[label]: n for label, n in counts}


def _add(findings: Findings, text: str, names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        findings.problems.append(f"{len(names)} x {text}: {shown}")
