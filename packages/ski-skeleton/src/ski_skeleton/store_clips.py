"""Clips of a skeleton store as a source for training and probing any encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ski_data.errors import InputError, SkiDataError
from ski_data.layouts import convert, get_layout
from ski_data.skeleton import FeederConfig, feed
from ski_data.store import SkeletonStore


@dataclass(frozen=True)
class TrainRule:
    """Which clips of a store train; all others test. Give exactly one column."""

    subjects: tuple[int, ...] = ()
    """People, for cross-subject protocols."""
    cameras: tuple[int, ...] = ()
    """Cameras, for cross-view protocols."""
    setups: tuple[int, ...] = ()
    """Setups, for cross-setup protocols."""
    where: dict[str, tuple[int | str, ...]] = field(default_factory=dict)
    """Another column of the store's index and its values that train, as ``{style: [0, 3]}``."""

    def __post_init__(self) -> None:
        given = [name for name in ("subjects", "cameras", "setups") if getattr(self, name)]
        given += [f"where: {name}" for name in self.where]
        if len(given) != 1:
            raise InputError(
                "training clips are chosen by subjects, cameras, setups or one column under where; "
                f"give exactly one, not {' and '.join(given) or 'none'}"
            )
        empty = [name for name, values in self.where.items() if not values]
        if empty:
            raise InputError(f"where: {empty[0]} names no values that train")

    @property
    def column(self) -> str:
        """Column of the store's index: ``subject``, ``camera``, ``setup`` or another one."""
        for name in ("subjects", "cameras", "setups"):
            if getattr(self, name):
                return name[:-1]
        return next(iter(self.where))

    @property
    def numbers(self) -> tuple[int | str, ...]:
        """The values that train."""
        return self.subjects or self.cameras or self.setups or self.where[self.column]

    def rows(self, store: SkeletonStore) -> np.ndarray:
        """Whether each clip trains, bool ``(N,)``.

        Raises:
            InputError: a column that the store does not have, a clip whose value is unknown, or a
                part without clips.
        """
        if self.column not in store.index:
            raise InputError(
                f"{store.folder}: no column {self.column!r}; it has {', '.join(store.index)}"
            )
        column = store.index[self.column]
        if column.dtype.kind in "iu" and (column < 0).any():
            first = store.index["name"][int((column < 0).argmax())]
            raise InputError(f"{store.folder}: the {self.column} of clip {first} is not known")
        chosen = np.isin(column, self.numbers)
        if chosen.all() or not chosen.any():
            raise InputError(
                f"{store.folder}: {self.column}s {list(self.numbers)} train "
                f"{'all' if chosen.all() else 'no'} clips; it has {np.unique(column).tolist()}"
            )
        return chosen


class StoreClips:
    """Chosen clips of a store as an encoder takes them; a source of the trainer.

    Samples are ``{"index", "skeleton": float32 (3, window, V, M)}`` and, where labels are given,
    ``"label"``. Chance depends on seed, epoch and sample alone.

    Args:
        store: the store.
        rows: positions of the clips in it.
        feeder: what is done to a clip.
        layout: joints that the encoder takes; clips are converted from the store's layout.
        bodies: M that the encoder takes; missing bodies are zero.
        train: random crops and rotations, or none.
        seed: of them.
        labels: int ``(N,)``; None leaves labels out of the samples.

    Raises:
        InputError: no clips, another number of labels, no conversion between the layouts, or more
            bodies in the store than the encoder takes.
    """

    def __init__(
        self,
        store: SkeletonStore,
        rows: np.ndarray,
        feeder: FeederConfig,
        *,
        layout: str | None = None,
        bodies: int | None = None,
        train: bool,
        seed: int = 0,
        labels: np.ndarray | None = None,
    ) -> None:
        self.store, self.feeder = store, feeder
        self.rows = np.asarray(rows, np.int64)
        self.layout = store.layout if layout is None else get_layout(layout)
        self.bodies = store.bodies if bodies is None else bodies
        self.train, self.seed, self.labels = train, seed, labels
        self.epoch = 0
        if not len(self.rows):
            raise InputError(f"{store.folder}: no clips chosen")
        if labels is not None and len(labels) != len(self.rows):
            raise InputError(f"{len(self.rows)} clips but {len(labels)} labels")
        if store.bodies > self.bodies:
            raise InputError(
                f"{store.folder}: clips of {store.bodies} bodies, the encoder takes {self.bodies}; "
                "choose an encoder for as many bodies, or a store of fewer"
            )
        try:
            self._converted(np.zeros((3, 1, len(store.layout.joints), 1), np.float32))
        except InputError as error:
            raise InputError(f"{store.folder}: {error}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clips."""
        return tuple(self.store.index["name"][self.rows].tolist())

    @property
    def people(self) -> tuple[str, ...] | None:
        """Who acts in each clip; None unless all are known."""
        found = self.store.index["subject"][self.rows]
        return None if (found < 0).any() else tuple(map(str, found.tolist()))

    def __len__(self) -> int:
        return len(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Draw otherwise from now on."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.rows[index])
        rng = np.random.default_rng([self.seed, self.epoch, index]) if self.train else None
        try:
            clip = self._converted(self.store.clip(row))
            skeleton = feed(clip, self.feeder, rng, self.layout)
        except SkiDataError as error:
            raise type(error)(f"clip {self.store.index['name'][row]}: {error}") from None
        sample: dict[str, Any] = {"index": int(index), "skeleton": skeleton}
        if self.labels is not None:
            sample["label"] = int(self.labels[index])
        return sample

    def _converted(self, clip: np.ndarray) -> np.ndarray:
        """A clip of the store in the encoder's joints and bodies."""
        if self.layout.name != self.store.layout.name:
            points = clip.transpose(1, 3, 2, 0)  # stores are in metres, y up already
            points, _ = convert(points, self.store.layout, self.layout, axes=("x", "y", "z"))
            clip = points.transpose(3, 0, 2, 1)
        missing = self.bodies - clip.shape[3]
        if missing > 0:
            clip = np.pad(clip, ((0, 0), (0, 0), (0, 0), (0, missing)))
        return np.ascontiguousarray(clip)
