"""The list of NTU RGB+D's videos: a manifest that the video cache, recipes and benchmarks read."""

from __future__ import annotations

import logging
from pathlib import Path

from ski_data.errors import InputError, MissingFileError
from ski_data.manifest import Record, write_manifest
from ski_data.ntu.names import parse_name
from ski_data.store import SkeletonStore

VIDEOS = "*_rgb.*"
_SHOWN = 5

log = logging.getLogger(__name__)


def list_videos(store: str, videos: str, out: str) -> None:
    """List NTU's videos for the clips of a skeleton store: files, labels, people, cameras.

    Videos of other clips, such as those on the list of missing skeletons, are left out, and clips
    without a video too; both are counted.

    Args:
        store: Skeletons, made by prepare.
        videos: Folder with the unpacked ..._rgb.avi files at any depth; .skeleton files that lie
            there are named too, for person crops.
        out: List to write (.jsonl, .csv or .parquet); it must not be there yet.

    Raises:
        MissingFileError: No such folder.
        InputError: No video of the store's clips, a clip with two videos, a file ``..._rgb.*`` that
            is not named as NTU's.
        ExistingOutputError: ``out`` is there already.
    """
    folder = Path(videos)
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    wanted = SkeletonStore(store).names
    found = _by_name(sorted(folder.rglob(VIDEOS)))
    skeletons = {path.stem: path for path in folder.rglob("*.skeleton")}
    records = [_record(name, found[name], skeletons.get(name)) for name in wanted if name in found]
    if not records:
        raise InputError(
            f"{folder}: {len(found)} files {VIDEOS}, none of the {len(wanted)} clips of {store}; "
            "unpack the archives of RGB videos there"
        )
    write_manifest(out, records)
    without = [name for name in wanted if name not in found]
    if without:
        more = ", ..." if len(without) > _SHOWN else ""
        log.warning(
            "%s: %d of %d clips have no video: %s%s",
            folder,
            len(without),
            len(wanted),
            ", ".join(without[:_SHOWN]),
            more,
        )
    others = len(found) - len(records)
    print(f"{out}: {len(records)} videos of {len(wanted)} clips; {others} other videos left out")


def _by_name(files: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        name = str(parse_name(path))
        if name in found:
            raise InputError(f"{path}: the same clip is at {found[name]}; keep one")
        found[name] = path
    return found


def _record(name: str, video: Path, skeleton: Path | None) -> Record:
    numbers = parse_name(name)
    return Record(
        name,
        video,
        skeleton,
        numbers.action - 1,
        subject=numbers.subject,
        camera=numbers.camera,
        setup=numbers.setup,
        replication=numbers.replication,
    )
