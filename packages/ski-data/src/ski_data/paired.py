"""Clips of a manifest as training samples: video, skeleton, or both of the same recording."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from typing import Any, Literal

import numpy as np

from ski_data.errors import InputError, SkiDataError
from ski_data.layouts import KINECT25
from ski_data.manifest import Record
from ski_data.ntu.prepare import prepare_rows
from ski_data.skeleton import FeederConfig, feed, row_to_clip
from ski_data.store import SkeletonStore
from ski_data.video.cache import VideoStore
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import test_indices, train_indices
from ski_data.video.transforms import VideoTransformConfig, test_transform, train_transform


class PairedDataset:
    """Samples by number, for a loader with any number of worker processes.

    Sample i is ``{"index": i, "label": int (-1 unknown)}`` and, as asked for, ``"video"``: uint8
    (T, size, size, 3) and ``"skeleton"``: float32 (3, window, V, M). What chance decides in it
    depends on seed, epoch and i alone, and in the video not on whether the skeleton is asked for.

    Args:
        records: The clips.
        skeletons: Store that holds the records' skeletons under their names; None reads each
            record's ``.skeleton`` file (published NTU chain) whenever it is asked for.
        videos: Store that holds the decoded videos; None decodes each record's file.
        frames: T of the video clips.
        video: What is done to the video; None leaves videos out.
        feeder: What is done to the skeleton; None leaves skeletons out.
        train: Random clips, crops and colours, or the middle ones.
        seed: Of everything random.
        pairing: ``class`` gives a video the skeleton of any record of its class, drawn anew each
            epoch (asynchronous pairs), ``clip`` its own. Training only.
        pair_dropout: Share of pairs whose skeleton is all zeros, drawn anew each epoch. Samples
            then say ``"paired": bool``. Training only.

    Raises:
        InputError: Neither video nor skeleton asked for; no records; a record that lacks what is
            asked for, by name; settings of pairs without pairs or for test.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        skeletons: SkeletonStore | None = None,
        videos: VideoStore | None = None,
        frames: int = 16,
        video: VideoTransformConfig | None = None,
        feeder: FeederConfig | None = None,
        train: bool,
        seed: int = 0,
        pairing: Literal["clip", "class"] = "clip",
        pair_dropout: float = 0.0,
    ) -> None:
        if video is None and feeder is None:
            raise InputError("a sample needs video or feeder settings, or both")
        if frames < 1 or seed < 0:
            raise InputError(f"frames must be at least 1 and seed at least 0, not {frames}, {seed}")
        if not records:
            raise InputError("a data set needs at least one record")
        self.records = tuple(records)
        self.skeletons, self.videos = skeletons, videos
        self.frames, self.video, self.feeder = frames, video, feeder
        self.train, self.seed = train, seed
        self.pairing, self.pair_dropout = pairing, pair_dropout
        self._check_pairs()
        self._check_records()
        self._of_class = _members(self.labels) if pairing == "class" else {}
        self._epoch = RawValue("q", 0)  # seen by running workers too

    def __getstate__(self) -> dict[str, Any]:
        if get_spawning_popen() is not None:  # on its way to a worker, which shares the epoch
            return self.__dict__
        return self.__dict__ | {"_epoch": self._epoch.value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._epoch, int):
            self._epoch = RawValue("q", self._epoch)

    def _check_pairs(self) -> None:
        if self.pairing not in ("clip", "class") or not 0 <= self.pair_dropout <= 1:
            raise InputError(
                "pairing must be clip or class and pair_dropout in 0..1, not "
                f"{self.pairing!r} and {self.pair_dropout}"
            )
        if self.pairing == "clip" and not self.pair_dropout:
            return
        if not self.train or self.video is None or self.feeder is None:
            raise InputError(
                "pairing by class and pair_dropout are for training on video and skeleton together"
            )
        unknown = [record.name for record in self.records if record.label is None]
        if self.pairing == "class" and unknown:
            raise InputError(f"pairing by class needs labels; clip {unknown[0]} has none")

    def _check_records(self) -> None:
        stored = None if self.skeletons is None else set(self.skeletons.names)
        for record in self.records:
            if self.video is not None:
                if self.videos is not None and record.name not in self.videos:
                    raise InputError(
                        f"clip {record.name}: not in video store {self.videos.folder}; make the "
                        "store from the same manifest"
                    )
                if self.videos is None and record.video is None:
                    raise InputError(f"clip {record.name}: the record names no video file")
            if self.feeder is not None:
                if stored is not None and record.name not in stored:
                    raise InputError(
                        f"clip {record.name}: not in skeleton store {self.skeletons.folder}; make "
                        "the store from the same manifest"
                    )
                if stored is None and record.skeleton is None:
                    raise InputError(f"clip {record.name}: the record names no skeleton file")

    def __len__(self) -> int:
        return len(self.records)

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), -1 where not known."""
        return np.array([-1 if r.label is None else r.label for r in self.records], np.int64)

    def set_epoch(self, epoch: int) -> None:
        """Draw otherwise from now on; reaches workers that are already running."""
        if epoch < 0:
            raise InputError(f"epochs are numbered from 0, not {epoch}")
        self._epoch.value = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self.records):
            raise IndexError(f"samples are numbered 0..{len(self.records) - 1}, not {index}")
        index = int(index)
        record = self.records[index]
        sample: dict[str, Any] = {
            "index": index,
            "label": -1 if record.label is None else record.label,
        }
        rngs = np.random.default_rng([self.seed, self._epoch.value, index]).spawn(3)
        try:
            if self.video is not None:
                sample["video"] = self._video(record, self.video, rngs[0])
            if self.feeder is not None:
                rng = rngs[1] if self.train else None
                layout = KINECT25 if self.skeletons is None else self.skeletons.layout
                partner = self._partner(index, rngs[2])
                sample["skeleton"] = feed(self._skeleton(partner), self.feeder, rng, layout)
                if self.pair_dropout:
                    sample["paired"] = bool(rngs[2].random() >= self.pair_dropout)
                    sample["skeleton"] *= sample["paired"]
        except SkiDataError as error:
            raise type(error)(f"clip {record.name}: {error}") from None
        return sample

    def _partner(self, index: int, rng: np.random.Generator) -> Record:
        """Whose skeleton goes with the video."""
        record = self.records[index]
        if self.pairing == "clip":
            return record
        return self.records[rng.choice(self._of_class[record.label])]

    def _video(
        self, record: Record, config: VideoTransformConfig, rng: np.random.Generator
    ) -> np.ndarray:
        source = record.video
        if self.videos is not None:
            total = self.videos.length(record.name)
        else:
            assert source is not None  # checked at the start
            total = probe(source).frames
        chosen = (
            train_indices(total, self.frames, rng)
            if self.train
            else test_indices(total, self.frames)
        )
        if self.videos is not None:
            frames = self.videos.frames(record.name, chosen)
        else:
            assert source is not None
            frames = read_frames(source, chosen)
        if self.train:
            return train_transform(frames, config, rng)
        return test_transform(frames, config)

    def _skeleton(self, record: Record) -> np.ndarray:
        if self.skeletons is not None:
            return self.skeletons.clip(record.name)
        assert record.skeleton is not None  # checked at the start
        rows = prepare_rows(record.skeleton)
        both = np.zeros((len(rows), 150), np.float32)
        both[:, : rows.shape[1]] = rows
        return row_to_clip(both)


def _members(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Numbers of the samples of each class, ascending."""
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
