from __future__ import annotations

import numpy as np
import pytest
from tiny_run import write_store

from ski_data.errors import InputError
from ski_data.layouts import get_layout
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore, StoreWriter
from ski_skeleton.store_clips import StoreClips, TrainRule

FEEDER = FeederConfig(window=8, min_crop=4)


@pytest.fixture
def store(tmp_path):
    return SkeletonStore(write_store(tmp_path / "store"))


def test_rule_takes_people(store):
    chosen = TrainRule(subjects=(1, 3)).rows(store)
    assert set(store.index["subject"][chosen]) == {1, 3}
    assert chosen.sum() == 20


@pytest.mark.parametrize(
    ("numbers", "text"), [((9,), "train no clips"), ((1, 2, 3, 4), "train all clips")]
)
def test_rule_that_leaves_a_part_empty(store, numbers, text):
    with pytest.raises(InputError, match=text):
        TrainRule(subjects=numbers).rows(store)


def test_rule_needs_one_kind():
    with pytest.raises(InputError, match="exactly one"):
        TrainRule()
    with pytest.raises(InputError, match="subjects and cameras"):
        TrainRule(subjects=(1,), cameras=(1,))
    with pytest.raises(InputError, match="subjects and where: style"):
        TrainRule(subjects=(1,), where={"style": (1,)})
    with pytest.raises(InputError, match="style names no values"):
        TrainRule(where={"style": ()})
    assert TrainRule(setups=(2, 4)).column == "setup"


def test_rule_by_a_column_of_ones_own(tmp_path):
    with StoreWriter(tmp_path / "s", get_layout("kinect25"), bodies=1) as writer:
        for number in range(6):
            clip = np.ones((3, 4, 25, 1), np.float32)
            writer.add(f"c{number}", clip, label=0, style=number % 3, part="ab"[number // 4])
    store = SkeletonStore(tmp_path / "s")
    rule = TrainRule(where={"style": (0, 2)})
    assert (rule.column, rule.numbers) == ("style", (0, 2))
    assert rule.rows(store).tolist() == [True, False, True, True, False, True]
    assert TrainRule(where={"part": ("a",)}).rows(store).tolist() == [True] * 4 + [False] * 2
    with pytest.raises(InputError, match="no column 'actor'; it has name, label"):
        TrainRule(where={"actor": (1,)}).rows(store)


def test_samples_depend_on_seed_epoch_and_number(store):
    rows = np.array([4, 7])
    source = StoreClips(store, rows, FEEDER, train=True, labels=np.array([3, 1]))
    first = source[1]
    assert first["label"] == 1
    assert first["index"] == 1
    np.testing.assert_array_equal(first["skeleton"], source[1]["skeleton"])
    source.set_epoch(1)
    assert not np.array_equal(first["skeleton"], source[1]["skeleton"])
    assert source.names == tuple(store.index["name"][rows])
    assert source.people == ("1", "1")


def test_test_clips_are_without_chance(store):
    source = StoreClips(store, np.arange(3), FEEDER, train=False)
    before = source[0]["skeleton"]
    source.set_epoch(5)
    np.testing.assert_array_equal(before, source[0]["skeleton"])
    assert "label" not in source[0]


def test_clips_of_another_layout_are_converted(tmp_path):
    layout = get_layout("kinect22")
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 0.4, (3, 12, len(layout.joints), 1)).astype(np.float32)
    with StoreWriter(tmp_path / "s", layout, bodies=1) as writer:
        writer.add("a", clip, label=0)
    store = SkeletonStore(tmp_path / "s")
    source = StoreClips(store, [0], FEEDER, layout="kinect25", bodies=2, train=False)
    found = source[0]["skeleton"]
    assert found.shape == (3, 8, 25, 2)
    assert not found[..., 1].any()
    plain = StoreClips(store, [0], FEEDER, train=False)[0]["skeleton"]
    neck = layout.joints.index("neck"), source.layout.joints.index("neck")
    np.testing.assert_allclose(found[:, :, neck[1], 0], plain[:, :, neck[0], 0], atol=1e-6)
    assert source.people is None


def test_refusals(store, tmp_path):
    with pytest.raises(InputError, match="no clips chosen"):
        StoreClips(store, [], FEEDER, train=False)
    with pytest.raises(InputError, match="2 clips but 1 labels"):
        StoreClips(store, [0, 1], FEEDER, train=False, labels=np.array([0]))
    with pytest.raises(InputError, match="no map from kinect25 to hdm05-31"):
        StoreClips(store, [0], FEEDER, layout="hdm05-31", train=False)
    two = SkeletonStore(write_store(tmp_path / "two", bodies=2))
    with pytest.raises(InputError, match="of 2 bodies, the encoder takes 1"):
        StoreClips(two, [0], FEEDER, bodies=1, train=False)
