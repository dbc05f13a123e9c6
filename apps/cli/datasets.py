"""The doctor's check of a data folder: NTU's raw archives, stores, manifests, Charades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from apps.cli.findings import Finding

RECORDINGS = {"ntu60": 56880, "ntu120": 114480}
"""Skeleton files of the data sets as they are given out."""
MANIFESTS = ("manifest.*", "train*", "test*")
ENDINGS = (".csv", ".jsonl", ".parquet")
CHARADES_VIDEOS = 9848
NTU_FORM = "https://rose1.ntu.edu.sg/dataset/actionRecognition"
NOTHING = (
    "NTU's zip archives or .skeleton files, a skeleton store, manifest.jsonl (.csv, .parquet) or "
    "the annotations of Charades"
)


def data(folder: Path) -> Iterator[Finding]:
    """Everything in a folder that a package of ours can read."""
    if not folder.is_dir():
        fix = f"name another folder, or make one: ski-data synthesize {folder}"
        told = "no such folder"
        yield Finding(f"data: {folder}", "missing", told, "training and tests", True, fix)
        return
    found = [*ntu(folder), *stores(folder), *manifests(folder), *charades(folder)]
    if not found:
        fix = (
            f"ask for NTU RGB+D by the form at {NTU_FORM} and put its zip archives there; or make "
            f"data: ski-data synthesize {folder / 'adl-mini'}"
        )
        told = f"nothing to train on in it; looked for {NOTHING}"
        found = [Finding(f"data: {folder}", "missing", told, "training and tests", True, fix)]
    yield from found


def ntu(folder: Path) -> Iterator[Finding]:
    """NTU's skeletons as they are given out: archives or loose files."""
    from ski_data.errors import SkiDataError
    from ski_data.ntu.names import parse_name
    from ski_data.ntu.recordings import find_recordings

    name, use = f"NTU: {folder}", "ski-data prepare"
    try:
        found = find_recordings(folder)
    except SkiDataError as error:
        fix = "get the archive again; the error names it"
        yield Finding(name, "broken", str(error), use, True, fix)
        return
    if not found:
        return
    try:
        setups = Counter(parse_name(one.name).setup for one in found)
    except SkiDataError as error:
        fix = "take the file out of the folder, or give it its name in NTU RGB+D"
        yield Finding(name, "broken", str(error), use, True, fix)
        return
    whole = "ntu120" if max(setups) > 17 else "ntu60"
    told = f"{len(found)} recordings of {len(setups)} setups"
    if len(found) < RECORDINGS[whole]:
        told += f", of the {RECORDINGS[whole]} of {whole}"
    yield Finding(name, "ok", told, use, needed=True)


def stores(folder: Path) -> Iterator[Finding]:
    """Skeleton stores, the folder itself or in it."""
    from ski_data.errors import SkiDataError
    from ski_data.store import SkeletonStore

    for path in sorted(
        {p.parent for p in (*folder.glob("joints.npy"), *folder.glob("*/joints.npy"))}
    ):
        name, use = f"store: {path}", "training with skeletons"
        try:
            store = SkeletonStore(path)
        except SkiDataError as error:
            fix = "copy the store again, or make it again: ski-data prepare, ski-data import"
            yield Finding(name, "broken", str(error), use, True, fix)
            continue
        told = f"{len(store.index['name'])} clips, layout {store.layout.name}"
        yield Finding(name, "ok", told, use, needed=True)


def manifests(folder: Path) -> Iterator[Finding]:
    """Lists of clips, and whether their files are there."""
    from ski_data.errors import SkiDataError
    from ski_data.manifest import read_manifest

    paths = {p for pattern in MANIFESTS for p in folder.glob(pattern) if p.suffix in ENDINGS}
    for path in sorted(paths):
        name, use = f"manifest: {path}", "training and tests"
        if _timed(path):
            continue
        try:
            records = read_manifest(path)
        except SkiDataError as error:
            fix = f"put the line right that is named, then: ski-data check {path}"
            yield Finding(name, "broken", str(error), use, True, fix)
            continue
        lost = [r.video for r in records if r.video is not None and not Path(r.video).exists()]
        if lost:
            told = f"{len(lost)} of {len(records)} videos are not there, the first is {lost[0]}"
            fix = f"copy the videos to where {path.name} says; paths start from its folder"
            yield Finding(name, "broken", told, use, True, fix)
        else:
            yield Finding(name, "ok", f"{len(records)} clips", use, needed=True)


def _timed(path: Path) -> bool:
    """What `ski-data prepare-charades` writes beside its manifests."""
    return path.stem.endswith(("-actions", "-pairs"))


def charades(folder: Path) -> Iterator[Finding]:
    """The annotations of Charades as they are given out, and its videos."""
    from ski_data.charades import CLASSES_FILE, PART_FILES, read_charades, read_charades_classes
    from ski_data.errors import SkiDataError

    parts = [folder / name for name in PART_FILES.values() if (folder / name).is_file()]
    if not parts and not (folder / CLASSES_FILE).is_file():
        return
    name, use = f"Charades: {folder}", "ski-data prepare-charades"
    try:
        classes = read_charades_classes(folder / CLASSES_FILE)
        annotated = sum(len(read_charades(path, classes)) for path in parts)
    except SkiDataError as error:
        fix = "unpack Charades.zip of the data set's page again"
        yield Finding(name, "broken", str(error), use, True, fix)
        return
    videos = sum(1 for _ in folder.rglob("*.mp4"))
    told = f"{annotated} annotated videos, {videos} video files"
    if videos:
        yield Finding(name, "ok", told, use, needed=True)
    else:
        fix = f"unpack Charades_v1_480.zip ({CHARADES_VIDEOS} videos) into {folder}"
        yield Finding(name, "missing", told, use, True, fix)
