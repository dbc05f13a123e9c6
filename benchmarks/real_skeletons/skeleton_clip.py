"""SkeletonCLIP on one class split: the split's own encoder, aligned with frozen text vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.real_skeletons.settings import RealSet
from benchmarks.real_skeletons.vectors import VectorTower
from ski_data.store import SkeletonStore
from ski_skeleton import pipeline
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.store_clips import StoreClips
from ski_skeleton.zeroshot.features import FeatureSet
from ski_skeleton.zeroshot.protocol import (
    ClassSplit,
    ProtocolConfig,
    Rows,
    calibrate,
    derangement,
    tuning_task,
)

KIND = "skeleton-clip"


class ClipScores(NamedTuple):
    """Scores of SkeletonCLIP, larger is better."""

    zero_shot: NDArray[np.float64]
    """Test clips of unseen classes ``(N, U)``."""
    generalised: NDArray[np.float64] | None
    """Test clips of seen classes, then of unseen ones ``(M, K)``, calibrated."""
    tuning: dict[str, Any]


class Bench:
    """Everything that an alignment needs.

    Args:
        which: settings.
        store: clips.
        features: of all labelled clips, whose order the positions of ``rows`` mean.
        split: classes.
        rows: who trains and tests.
        body: weights of the encoder that was trained on the seen classes.
        texts: vectors of the class names ``(K, E)``.
        seed: of the head, the order and the crops.
        permute: seed of a permutation of the class names, none staying in place; None leaves them.
    """

    def __init__(
        self,
        which: RealSet,
        store: SkeletonStore,
        features: FeatureSet,
        split: ClassSplit,
        rows: Rows,
        body: Mapping[str, Tensor],
        texts: Tensor,
        *,
        seed: int,
        permute: int | None = None,
    ) -> None:
        self.which, self.store, self.features = which, store, features
        self.split, self.rows, self.body, self.seed = split, rows, body, seed
        self.texts = texts
        order = np.arange(len(split.names))
        if permute is not None:
            order = derangement(len(order), np.random.default_rng(permute))
        self.names = [split.names[k] for k in order]
        place = {name: row for row, name in enumerate(store.index["name"].tolist())}
        self.positions = np.array([place[name] for name in features.names])

    def aligned(
        self, rows: NDArray[np.int64], classes: Sequence[int], folder: Path
    ) -> SkeletonClip:
        """SkeletonCLIP aligned with the names of ``classes`` on the clips ``rows`` of them."""
        which = self.which
        encoder = replace(which.encoder, output=int(self.texts.shape[1]))
        config = SkeletonClipConfig(
            encoder=encoder, temperature=which.temperature, template="{name}"
        )
        torch.manual_seed(self.seed)
        tower: Any = VectorTower(self.split.names, self.texts)
        model = SkeletonClip(config, text=tower)
        labels = np.searchsorted(list(classes), self.features.labels[rows])
        source = self._source(rows, labels, train=True)
        train = replace(which.align, seed=self.seed)
        names = [self.names[k] for k in classes]
        return pipeline.align(model, self.body, source, names, train, folder)

    def scores(
        self, model: SkeletonClip, rows: NDArray[np.int64], classes: Sequence[int]
    ) -> NDArray[np.float64]:
        """Similarities ``(n, K)`` of clips with the names of ``classes``."""
        source = self._source(rows, np.zeros(len(rows), np.int64), train=False)
        found = pipeline.zero_shot_scores(model, source, [self.names[k] for k in classes])
        return found.logits.astype(np.float64)

    def _source(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], *, train: bool
    ) -> StoreClips:
        encoder = self.which.encoder
        return StoreClips(
            self.store,
            self.positions[rows],
            self.which.feeder,
            layout=encoder.layout,
            bodies=encoder.persons,
            train=train,
            seed=self.seed,
            labels=labels,
        )


def run(bench: Bench, folder: Path, *, generalised: bool) -> ClipScores:
    """Align and score; for generalised scores a second alignment tunes the factor, as elsewhere."""
    split, rows, features = bench.split, bench.rows, bench.features
    unseen = list(split.unseen)
    model = bench.aligned(rows.train, split.seen, folder / "train")
    zero_shot = bench.scores(model, rows.test_unseen, unseen)
    if not generalised:
        return ClipScores(zero_shot, None, {})
    task = tuning_task(features, split, rows.train, ProtocolConfig(), seed=bench.seed)
    second = bench.aligned(task.fit, task.seen, folder / "tuning")
    order = sorted((*task.seen, *task.unseen))
    check = np.concatenate([task.check_seen, task.check_unseen])
    factor = calibrate(
        bench.scores(second, check, order),
        np.searchsorted(order, features.labels[check]),
        [order.index(k) for k in task.unseen],
    )
    every = np.concatenate([rows.test_seen, rows.test_unseen])
    final = factor.apply(bench.scores(model, every, range(len(split.names))), unseen)
    tuning = {
        "factor": factor.factor,
        "temperature": factor.temperature,
        "pseudo_unseen": [split.names[k] for k in task.unseen],
    }
    return ClipScores(zero_shot, final, tuning)
