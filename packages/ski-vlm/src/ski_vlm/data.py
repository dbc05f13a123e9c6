"""The clips of a recipe: classes split into seen and unseen, people into training and test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ski_data.classes import ClassSet, read_classes
from ski_data.errors import InputError
from ski_data.manifest import Record, read_manifest
from ski_data.paired import PairedDataset
from ski_data.skeleton import FeederConfig
from ski_data.splits import ZeroShotSplit, dataset_classes, zero_shot_split
from ski_data.store import SkeletonStore
from ski_data.video.cache import VideoStore
from ski_data.video.transforms import VideoTransformConfig
from ski_eval import content_hash
from ski_vlm.recipe import VideoData


@dataclass(frozen=True)
class Clips:
    """Records by their part; labels are numbers of ``seen``, for ``test_unseen`` of ``unseen``."""

    seen: ClassSet
    unseen: ClassSet | None
    split_name: str
    split_hash: str
    train: tuple[Record, ...]
    test_seen: tuple[Record, ...]
    """Seen classes, people that training did not see; none where everyone trains."""
    test_unseen: tuple[Record, ...]
    """All clips of the unseen classes."""
    videos: VideoStore | None
    skeletons: SkeletonStore | None


def open_clips(data: VideoData) -> Clips:
    """Read the manifest and divide its clips.

    Raises:
        MissingFileError, InputError: files that are not there, classes that the data do not have,
            a clip without a label or, where people decide, without a subject; a part that is empty.
    """
    if data.split is not None:
        split = zero_shot_split(data.split)
        whole = dataset_classes(data.split.partition("/")[0])
    else:
        whole = read_classes(Path(str(data.classes)))
        split = None if not data.unseen else own_split(data, whole)
    records = read_manifest(data.manifest, whole)
    without = next((r.name for r in records if r.label is None), None)
    if without is not None:
        raise InputError(f"{data.manifest}: clip {without} has no label; training needs one")
    if data.train_subjects and any(r.subject is None for r in records):
        name = next(r.name for r in records if r.subject is None)
        raise InputError(
            f"{data.manifest}: clip {name} names no subject; leave out train_subjects, or use "
            "JSON lines with the column subject"
        )
    if split is None:
        seen, unseen = whole, None
        seen_labels, unseen_labels = list(range(len(whole))), []
    else:
        seen, unseen = split.seen, split.unseen
        seen_labels = [action - 1 for action in split.seen_actions]
        unseen_labels = [action - 1 for action in split.unseen_actions]
    people = set(data.train_subjects)

    def part(labels: list[int], who: bool | None) -> tuple[Record, ...]:
        place = {label: i for i, label in enumerate(labels)}
        return tuple(
            replace(r, label=place[r.label])
            for r in records
            if r.label in place and (who is None or (r.subject in people) is who)
        )

    clips = Clips(
        seen,
        unseen,
        data.split or Path(data.manifest).stem,
        split.hash if split is not None else content_hash(list(whole.names)),
        part(seen_labels, True if people else None),
        part(seen_labels, False) if people else (),
        part(unseen_labels, None),
        None if data.videos is None else VideoStore(data.videos),
        None if data.skeletons is None else SkeletonStore(data.skeletons),
    )
    if not clips.train:
        raise InputError(f"{data.manifest}: no clips train; check split and train_subjects")
    if not clips.test_seen and not clips.test_unseen:
        raise InputError(f"{data.manifest}: no clips test; check split and train_subjects")
    return clips


def own_split(data: VideoData, whole: ClassSet) -> ZeroShotSplit:
    """The split of one's own classes into the unseen ones and the others.

    Raises:
        InputError: an unseen class that there is not, or fewer than two seen or unseen ones.
    """
    odd = sorted(set(data.unseen) - set(whole.names))
    if odd:
        raise InputError(f"{data.classes}: no classes {odd}; it has {list(whole.names)}")
    seen = [i for i, name in enumerate(whole.names) if name not in data.unseen]
    unseen = [i for i, name in enumerate(whole.names) if name in data.unseen]
    if min(len(seen), len(unseen)) < 2:
        raise InputError(
            f"{data.classes}: {len(seen)} seen and {len(unseen)} unseen classes; recognition needs "
            "at least two of each"
        )
    return ZeroShotSplit(
        Path(str(data.classes)).stem,
        whole.subset(seen),
        whole.subset(unseen),
        tuple(i + 1 for i in seen),
        tuple(i + 1 for i in unseen),
    )


def with_skeletons(clips: Clips, records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Those of ``records`` that have a skeleton."""
    if clips.skeletons is None:
        return tuple(r for r in records if r.skeleton is not None)
    known = set(clips.skeletons.names)
    return tuple(r for r in records if r.name in known)


def groups_of(records: tuple[Record, ...]) -> tuple[str, ...] | None:
    """People as independent units, where all are known."""
    people = [record.subject for record in records]
    return None if any(p is None for p in people) else tuple(map(str, people))


def source_of(
    clips: Clips,
    records: tuple[Record, ...],
    *,
    frames: int,
    video: VideoTransformConfig | None,
    feeder: FeederConfig | None,
    train: bool = False,
    seed: int = 0,
    pairing: str = "clip",
    pair_dropout: float = 0.0,
) -> PairedDataset:
    """Samples of ``records``: video and skeleton as far as settings are given."""
    return PairedDataset(
        records,
        skeletons=clips.skeletons if feeder is not None else None,
        videos=clips.videos if video is not None else None,
        frames=frames,
        video=video,
        feeder=feeder,
        train=train,
        seed=seed,
        pairing=pairing,  # type: ignore[arg-type]
        pair_dropout=pair_dropout,
    )


def label_array(records: tuple[Record, ...]) -> np.ndarray:
    """Labels int64 ``(N,)``."""
    return np.array([record.label for record in records], np.int64)
