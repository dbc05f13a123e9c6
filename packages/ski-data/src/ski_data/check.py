"""Looking at data before hours are spent on it."""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Collection
from pathlib import Path

from ski_data import __version__
from ski_data.check_findings import ClipTable, Findings
from ski_data.check_leaks import check_sides, check_split, read_rule
from ski_data.check_skeletons import LIMITS, check_skeleton_store
from ski_data.check_videos import (
    VIDEOS,
    check_manifest,
    check_video_store,
    check_videos,
    videos_below,
)
from ski_data.classes import ClassSet, read_classes
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.manifest import read_manifest

_SKELETON_PARTS = ("joints.npy", "index.arrow")
_VIDEO_PARTS = ("frames.bin",)


def check(
    targets: list[str],
    *,
    split: str | None = None,
    against: str | None = None,
    classes: str | None = None,
    decode: bool = False,
    report: str | None = None,
    json: bool = False,
) -> int:
    """Check stores, manifests and videos: damage, scale, labels, copies, leaks between splits.

    Problems are to be mended before training and make the exit code 1; remarks are good to know.

    Args:
        targets: Skeleton stores, video stores, manifests, folders of videos, videos.
        split: What the targets are to be split by (or are one side of, with --against):
            cross-subject, cross-view, cross-setup, an NTU protocol (ntu60/xsub), a zero-shot split
            (ntu60/55-5) or a JSON file of one.
        against: The other side of the split: what is for validation or test while the targets are
            for training.
        classes: Label file (id,name) of manifests.
        decode: Decode every frame of videos instead of looking through their packets only.
        report: JSON file to write, with every clip concerned; it must not be there yet.
        json: Print the same JSON instead of a table.

    Raises:
        MissingFileError: A target is not there.
        InputError: A target that is nothing of these, or an unknown split.
        ExistingOutputError: ``report`` is there already.
    """
    if report is not None and Path(report).exists():
        raise ExistingOutputError(f"{report} is there already; name another file or remove it")
    if report is not None and not Path(report).parent.is_dir():
        raise MissingFileError(f"{Path(report).parent}: no such folder to write the report to")
    rule = None if split is None else read_rule(split)
    known = None if classes is None else read_classes(classes)
    paths = [*targets, *([] if against is None else [against])]
    for path in paths:
        if not Path(path).exists():
            raise MissingFileError(f"{path}: no such store, manifest, folder or video")
    results, tables = [], []
    for i, path in enumerate(paths):
        sizes: set[int] = set()
        if against is not None:
            others = paths[:-1] if i == len(paths) - 1 else paths[-1:]
            sizes = set().union(*(_file_sizes(other, known) for other in others))
        findings, table = _check_one(path, known, decode, sizes)
        results.append(findings)
        tables.append(table)
    for table in tables[: len(targets)]:
        if against is not None:
            results.append(check_sides(table, tables[-1], rule))
        elif rule is not None:
            results.append(check_split(table, rule))
    text = _as_json(results)
    if report is not None:
        _write(Path(report), text)
    print(text if json else "\n".join(_as_table(findings) for findings in results))
    return 1 if any(findings.of("problem") for findings in results) else 0


def _write(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _check_one(
    target: str, classes: ClassSet | None, decode: bool, sizes: Collection[int]
) -> tuple[Findings, ClipTable]:
    path = Path(target)
    if path.is_dir():
        if any((path / part).exists() for part in _SKELETON_PARTS):
            return check_skeleton_store(path)
        if any((path / part).exists() for part in _VIDEO_PARTS):
            return check_video_store(path)
        return check_videos(path, decode=decode, sizes=sizes)
    if path.suffix.lower() in VIDEOS:
        return check_videos(path, decode=decode, sizes=sizes)
    return check_manifest(path, classes, decode=decode, sizes=sizes)


def _file_sizes(target: str, classes: ClassSet | None) -> set[int]:
    """Bytes of the files that a manifest or folder names; stores have hashes of their own."""
    path = Path(target)
    if path.is_dir() or path.suffix.lower() in VIDEOS:
        files = videos_below(path)
    else:
        try:
            records = read_manifest(path, classes)
        except InputError:  # becomes a finding when the manifest itself is checked
            return set()
        named = (file for record in records for file in (record.video, record.skeleton))
        files = [file for file in named if file is not None]
    return {file.stat().st_size for file in files if file.is_file()}


def _as_json(results: list[Findings]) -> str:
    content = {
        "created_by": f"ski-data {__version__}",
        "limits": LIMITS,
        "problems": sum(len(findings.of("problem")) for findings in results),
        "remarks": sum(len(findings.of("remark")) for findings in results),
        "results": [findings.plain() for findings in results],
    }
    return jsonlib.dumps(content, indent=1, ensure_ascii=False)


def _as_table(findings: Findings) -> str:
    lines = [f"{findings.target} ({findings.kind})"]
    width = max(map(len, findings.counts), default=0)
    lines += [f"  {name:<{width}}  {_number(value)}" for name, value in findings.counts.items()]
    if findings.per_class:
        width = max(map(len, findings.per_class))
        lines += [f"  class {name:<{width}}  {n:>7}" for name, n in findings.per_class.items()]
    lines += [f"  problem: {finding}" for finding in findings.of("problem")]
    lines += [f"  remark: {finding}" for finding in findings.of("remark")]
    if not findings.of("problem"):
        lines.append("  no problems")
    return "\n".join(lines)


def _number(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
