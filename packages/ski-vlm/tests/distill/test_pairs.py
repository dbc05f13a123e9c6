"""Distillation with drawn pairs: the samples, the losses and a run that was killed in an epoch."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ski_data.layouts import KINECT25
from ski_data.manifest import Record
from ski_data.paired import PairedDataset
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore, StoreWriter
from ski_data.video.transforms import VideoTransformConfig
from ski_skeleton.train import TrainConfig, fit
from ski_vlm.distill import ScdConfig, SkeletonDistillation


class Clips:
    """Six clips of noise under the interface of a video store."""

    folder = "clips"

    def __contains__(self, name):
        return True

    def length(self, name):
        return 8

    def frames(self, name, chosen):
        rng = np.random.default_rng(int(name))
        return rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)[np.asarray(chosen)]


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    records = [Record(str(i), label=i % 3) for i in range(6)]
    with StoreWriter(tmp_path / "store", KINECT25, bodies=1) as writer:
        for record in records:
            writer.add(record.name, rng.normal(size=(3, 12, 25, 1)), label=record.label)
    return PairedDataset(
        records,
        skeletons=SkeletonStore(tmp_path / "store"),
        videos=Clips(),
        frames=4,
        video=VideoTransformConfig(size=32, short_side=32),
        feeder=FeederConfig(window=8, min_crop=4),
        train=True,
        seed=2,
        pairing="class",
        pair_dropout=0.5,
    )


CONFIG = TrainConfig(epochs=3, batch_size=2, balanced=True, log_every=1, checkpoint_seconds=0.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_in_an_epoch_ends_with_the_same_weights(
    tmp_path, monkeypatch, student, teacher, names, source, workers
):
    def run(folder):
        task = SkeletonDistillation(
            copy.deepcopy(student), copy.deepcopy(teacher), names, ScdConfig(alpha=1.0)
        )
        fit(task, source, replace(CONFIG, workers=workers), folder)
        return task.state_dict()

    left = iter(range(4))

    def stop(self, batch, whole=SkeletonDistillation.losses):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(self, batch)

    whole = run(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(SkeletonDistillation, "losses", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b")
    resumed = run(tmp_path / "b")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert 0 < sum(source[i]["paired"] for i in range(6)) < 6
