from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_run import MOVEMENTS, write_store

from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.splits import dataset_classes
from ski_data.store import SkeletonStore
from ski_skeleton.errors import CheckpointError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.loading import load_encoder
from ski_skeleton.train import write_model
from ski_skeleton.zeroshot.extract import (
    ExtractConfig,
    extract_features,
    merge_bodies,
)

CONFIG = HyperformerConfig(heads=1, strides=(1, 2), persons=1, output=None)
FEEDER = FeederConfig(window=8, min_crop=4)


@pytest.fixture
def store(tmp_path):
    return SkeletonStore(write_store(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path):
    meta = {"classes_seen": ["bow", "clap"]}
    return write_model(
        tmp_path / "model", "hyperformer", CONFIG, Hyperformer(CONFIG).state_dict(), meta
    )


def test_every_clip_once_and_as_the_encoder_says(store, folder):
    encoder = load_encoder(folder)
    config = ExtractConfig(maps=True, masked=2, mask_frames=2, batch_size=7)
    found = extract_features(encoder, store, FEEDER, config, meta={"a": 1})
    assert found.names == tuple(store.names)
    assert found.labels.tolist() == store.index["label"].tolist()
    assert found.subjects.tolist() == store.index["subject"].tolist()
    assert found.classes == MOVEMENTS
    assert found.trained_on == ("bow", "clap")
    assert found.meta["store_sha256"] == store.sha256
    width = encoder.module.width
    assert found.maps.shape == (40, width, 4, 25)
    assert found.masked.shape == (40, 2, width)
    assert np.allclose(found.maps.mean((2, 3)), found.features, atol=1e-5)
    assert not np.allclose(found.masked[:, 0], found.masked[:, 1])
    alone = extract_features(encoder, store, FEEDER, ExtractConfig(batch_size=40))
    assert np.allclose(alone.features, found.features, atol=1e-5)
    assert alone.maps is None


def test_classes_come_from_the_store_or_from_outside(tmp_path, folder):
    nameless = SkeletonStore(write_store(tmp_path / "other", named=False))
    encoder = load_encoder(folder)
    with pytest.raises(InputError, match="names no classes"):
        extract_features(encoder, nameless, FEEDER, ExtractConfig())
    whole = dataset_classes("ntu60")
    found = extract_features(encoder, nameless, FEEDER, ExtractConfig(), classes=whole)
    assert found.classes == whole.names


def test_reference_merge_averages_neighbouring_cells():
    x = torch.randn(2, 2, 3, 4, 5)  # (N, M, T, V, D)
    mean = merge_bodies(x, "mean")
    assert mean.shape == (2, 5, 3, 4)
    assert torch.allclose(mean[1, 2], x[1, :, :, :, 2].mean(0))
    flat = x.permute(0, 1, 4, 2, 3).reshape(-1)
    wanted = flat.view(-1, 2).mean(1).view(2, 5, 3, 4)
    assert torch.equal(merge_bodies(x, "reference"), wanted)
    assert not torch.allclose(wanted, mean)
    one = torch.randn(2, 1, 3, 4, 5)
    assert torch.equal(merge_bodies(one, "reference"), merge_bodies(one, "mean"))


@pytest.mark.parametrize(
    ("kind", "meta", "text"),
    [("other", {}, "a other model"), ("hyperformer", {"classes_seen": [3]}, "no list of names")],
)
def test_models_that_are_no_encoders(tmp_path, kind, meta, text):
    folder = write_model(tmp_path / "m", kind, CONFIG, Hyperformer(CONFIG).state_dict(), meta)
    with pytest.raises(CheckpointError, match=text):
        load_encoder(folder)
