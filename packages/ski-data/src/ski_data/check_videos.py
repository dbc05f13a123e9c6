"""Audit of manifests, video stores and folders of videos: files, frames, labels, copies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ski_data.check_findings import ClipFacts, ClipTable, Findings
from ski_data.check_labels import check_labels, ntu_action
from ski_data.classes import ClassSet
from ski_data.errors import InputError, MissingFileError, SkiDataError
from ski_data.manifest import Record, read_manifest
from ski_data.ntu.names import parse_name
from ski_data.progress import Progress
from ski_data.video.cache import VideoStore, VideoStoreError
from ski_data.video.guarded import GuardedReader

VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
"""Endings of files that are taken for videos in a folder."""

FEWEST_FRAMES = 2
"""Frames of a video below which it is remarked on: nothing moves in it."""

_DECODED_AT_ONCE = 64
_DECODED_SIDE = 32
_BLOCK = 1 << 22


def check_manifest(
    path: Path | str,
    classes: ClassSet | None = None,
    *,
    decode: bool = False,
    sizes: Collection[int] = (),
) -> tuple[Findings, ClipTable]:
    """Check a manifest's rows, its files and its labels.

    Args:
        path: The manifest.
        classes: What its labels mean.
        decode: Decode every frame of its videos, not only look through their packets.
        sizes: Bytes of files elsewhere, with which copies are to be found later.
    """
    findings = Findings(str(path), "manifest")
    try:
        records = read_manifest(path, classes)
    except InputError as error:
        findings.add("problem", "manifest", str(error))
        return findings, ClipTable(str(path), ())
    findings.counts["clips"] = len(records)
    good: list[Path] = []
    for key in ("video", "skeleton"):
        named = [file for record in records if (file := getattr(record, key)) is not None]
        times = Counter(named)
        bytes_of = {file: file.stat().st_size if file.is_file() else -1 for file in times}
        for text, size in (("missing", -1), ("empty", 0)):
            wrong = [str(file) for file, found in bytes_of.items() if found == size]
            findings.add("problem", f"{key}-{text}", f"{key} files {text}", wrong)
        twice = [str(file) for file, n in times.items() if n > 1]
        findings.add("problem", f"{key}-twice", f"a {key} file named by two rows", twice)
        if times:
            findings.counts[f"{key} files"] = len(times)
        good += [file for file, size in bytes_of.items() if size > 0]
    films = sorted({r.video for r in records if r.video is not None} & set(good))
    _check_files(films, findings, decode)
    hashes = _check_copies(good, findings, sizes)
    table = ClipTable(str(path), tuple(_facts(record, hashes) for record in records), classes)
    check_labels(table, findings, all_classes=True)
    return findings, table


def check_videos(
    path: Path | str, *, decode: bool = False, sizes: Collection[int] = ()
) -> tuple[Findings, ClipTable]:
    """Check the videos in a folder, at any depth, or one video.

    Args:
        path: Folder or video.
        decode: Decode every frame, not only look through the packets.
        sizes: Bytes of files elsewhere, with which copies are to be found later.

    Raises:
        InputError: There are none.
    """
    found = videos_below(Path(path))
    if not found:
        raise InputError(f"{path}: neither a store nor a folder with videos ({', '.join(VIDEOS)})")
    findings = Findings(str(path), "videos")
    files = [file for file in found if file.is_file()]
    other = [str(file) for file in found if not file.is_file()]
    findings.add("problem", "video-missing", "no ordinary file (broken link, pipe)", other)
    empty = [file for file in files if file.stat().st_size == 0]
    findings.add("problem", "video-empty", "video files empty", map(str, empty))
    good = [file for file in files if file not in empty]
    findings.counts["video files"] = len(files)
    _check_files(good, findings, decode)
    hashes = _check_copies(good, findings, sizes)
    clips = tuple(
        replace(_numbered(file.stem.removesuffix("_rgb")), content=hashes.get(file, ""))
        for file in files
    )
    return findings, ClipTable(str(path), clips)


def videos_below(path: Path) -> list[Path]:
    """What has a video's ending in a folder, at any depth, but folders; of a file, the file."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("[!.]*") if p.suffix.lower() in VIDEOS and not p.is_dir())


def check_video_store(folder: Path | str) -> tuple[Findings, ClipTable]:
    """Check a store of decoded clips: checksum, frames, labels, copies."""
    findings = Findings(str(folder), "video store")
    try:
        store = VideoStore(folder)
        store.verify()
    except (VideoStoreError, MissingFileError) as error:
        findings.add("problem", "damaged", str(error))
        return findings, ClipTable(str(folder), ())
    index = store.index
    names, hashes = index["name"].tolist(), index["sha256"].tolist()
    frames, labels = index["frames"].tolist(), index["label"].tolist()
    findings.counts = {
        "clips": len(names),
        "frames": int(sum(frames)),
        "shortest": min(frames),
        "longest": max(frames),
        "pixels of the shorter side": store.short_side,
    }
    few = [name for name, n in zip(names, frames, strict=True) if n < FEWEST_FRAMES]
    findings.add("remark", "one-frame", "a single frame", few)
    clips = tuple(
        replace(_numbered(name), label=label, content=content)
        for name, label, content in zip(names, labels, hashes, strict=True)
    )
    copies = _same((clip.content, clip.name) for clip in clips)
    findings.add("problem", "copies", "the same frames twice", copies)
    table = ClipTable(str(folder), clips)
    check_labels(table, findings, all_classes=False)
    return findings, table


def _check_files(files: Sequence[Path], findings: Findings, decode: bool) -> None:
    """Look through every video, in a child process; with ``decode`` also decode every frame."""
    if not files:
        return
    bad, few, frames, seconds = [], [], 0, 0.0
    sizes: Counter[str] = Counter()
    codecs: Counter[str] = Counter()
    with GuardedReader() as reader, Progress("check videos", len(files)) as progress:
        for done, file in enumerate(files, 1):
            try:
                info = reader.probe(file)
                for start in range(0, info.frames if decode else 0, _DECODED_AT_ONCE):
                    stop = min(start + _DECODED_AT_ONCE, info.frames)
                    reader.read_frames(file, np.arange(start, stop), short_side=_DECODED_SIDE)
            except SkiDataError as error:
                bad.append(str(error))
            else:
                frames += info.frames
                seconds += info.frames / info.fps if info.fps > 0 else 0.0
                sizes[f"{info.width}x{info.height}"] += 1
                codecs[info.codec] += 1
                if info.frames < FEWEST_FRAMES:
                    few.append(str(file))
            progress.update(done)
    findings.add("problem", "video-unreadable", "a video that cannot be read", bad)
    findings.add("remark", "one-frame", "a video of a single frame", few)
    findings.counts["video frames"] = frames
    findings.counts["video hours"] = round(seconds / 3600, 3)
    findings.counts["pictures"] = _listed(sizes)
    findings.counts["codecs"] = _listed(codecs)


def _check_copies(
    files: Sequence[Path], findings: Findings, sizes: Collection[int]
) -> dict[Path, str]:
    """Hashes of the files that may be the same as others: those of a size that is there twice."""
    size_of = {file: file.stat().st_size for file in files}
    times = Counter(size_of.values())
    hashes = {
        file: content_hash(file)
        for file, size in size_of.items()
        if times[size] > 1 or size in sizes
    }
    copies = _same((digest, str(file)) for file, digest in hashes.items())
    findings.add("problem", "copies", "files of the same content", copies)
    return hashes


def content_hash(file: Path) -> str:
    """BLAKE2 of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _same(pairs: Iterable[tuple[str, str]]) -> list[str]:
    first: dict[str, str] = {}
    result = []
    for key, name in pairs:
        known = first.setdefault(key, name)
        if known != name:
            result.append(f"{name} = {known}")
    return result


def _listed(counts: Counter[str]) -> str:
    more = ", ..." if len(counts) > 4 else ""
    return ", ".join(f"{key} ({n})" for key, n in counts.most_common(4)) + more


def _facts(record: Record, hashes: dict[Path, str]) -> ClipFacts:
    def number(value: int | None) -> int:
        return -1 if value is None else value

    file = record.video if record.video is not None else record.skeleton
    return ClipFacts(
        name=record.name,
        label=number(record.label),
        action=ntu_action(record.name),
        subject=number(record.subject),
        camera=number(record.camera),
        setup=number(record.setup),
        replication=number(record.replication),
        content=hashes.get(file, "") if file is not None else "",
    )


def _numbered(name: str) -> ClipFacts:
    """What an NTU name tells."""
    try:
        numbers = parse_name(name)
    except InputError:
        return ClipFacts(name)
    return ClipFacts(
        name,
        action=numbers.action,
        subject=numbers.subject,
        camera=numbers.camera,
        setup=numbers.setup,
        replication=numbers.replication,
    )
