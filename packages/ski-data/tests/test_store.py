import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.layouts import KINECT22, KINECT25
from ski_data.store import SkeletonStore, StoreError, StoreWriter


def random_clip(rng, frames=4, bodies=1, joints=25):
    return rng.normal(size=(3, frames, joints, bodies)).astype(np.float32)


def write(folder, clips, classes=None):
    with StoreWriter(folder, KINECT25, classes=classes) as writer:
        for name, clip, fields in clips:
            writer.add(name, clip, **fields)


@pytest.fixture
def store(tmp_path, rng):
    with StoreWriter(tmp_path / "store", KINECT25, classes=ClassSet.from_names(["a", "b"])) as w:
        for i in range(3):
            w.add(f"clip{i}", random_clip(rng, 4 + i, 1 + i % 2), label=i % 2, subject=i, split="x")
    return tmp_path / "store"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=5))
def test_round_trip(tmp_path_factory, sizes):
    rng = np.random.default_rng(len(sizes))
    clips = [random_clip(rng, frames, bodies, 22) for frames, bodies in sizes]
    folder = tmp_path_factory.mktemp("store") / "s"
    with StoreWriter(folder, KINECT22, bodies=3) as writer:
        for i, clip in enumerate(clips):
            writer.add(f"c{i}", clip)
    opened = SkeletonStore(folder)
    assert len(opened) == len(clips)
    assert opened.layout is KINECT22
    for i, clip in enumerate(clips):
        got = opened.clip(i)
        assert got.dtype == np.float32
        assert got.shape == (*clip.shape[:3], 3)
        assert np.array_equal(got[..., : clip.shape[3]], clip)
        assert not got[..., clip.shape[3] :].any()
        assert np.array_equal(got, opened.clip(f"c{i}"))
    opened.verify()


def test_index(store):
    opened = SkeletonStore(store)
    assert opened.names == ["clip0", "clip1", "clip2"]
    assert opened.index["label"].tolist() == [0, 1, 0]
    assert opened.index["camera"].tolist() == [-1, -1, -1]
    assert opened.index["frames"].tolist() == [4, 5, 6]
    assert opened.index["split"].tolist() == ["x", "x", "x"]
    assert opened.classes.names == ("a", "b")
    assert opened.measured.all()
    assert [p.name for p in store.parent.iterdir()] == ["store"]


def test_single_body_can_be_repeated(tmp_path, rng):
    with StoreWriter(tmp_path / "s", KINECT25, single_body="repeat") as writer:
        writer.add("one", random_clip(rng))
        writer.add("switched", np.concatenate([random_clip(rng), np.zeros((3, 4, 25, 1))], axis=3))
    opened = SkeletonStore(tmp_path / "s")
    assert np.array_equal(opened.clip(0)[..., 0], opened.clip(0)[..., 1])
    assert not opened.clip("switched")[..., 1].any()


def test_a_clip_is_a_copy(store):
    opened = SkeletonStore(store)
    opened.clip(0)[:] = 0
    assert opened.clip(0).any()


def test_workers_get_the_folder_not_the_numbers(store):
    opened = SkeletonStore(store)
    sent = pickle.dumps(opened)
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent).clip(2), opened.clip(2))


def test_joints_are_plain_npy(store):
    joints = np.load(store / "joints.npy")
    assert joints.shape == (4 + 2 * 5 + 6, 25, 3)
    assert joints.dtype == np.float32


def test_unknown_clips(store):
    opened = SkeletonStore(store)
    with pytest.raises(InputError, match="'gone'"):
        opened.clip("gone")
    with pytest.raises(InputError, match=r"0\.\.2"):
        opened.clip(3)


@pytest.mark.parametrize(
    ("clip", "fields", "words"),
    [
        (np.ones((3, 4, 22, 1)), {}, "25"),
        (np.ones((3, 0, 25, 1)), {}, "no frame with a body"),
        (np.zeros((3, 4, 25, 1)), {}, "no frame with a body"),
        (np.full((3, 4, 25, 1), np.inf), {}, "finite"),
        (np.ones((3, 4, 25, 3)), {}, "3 bodies"),
        (np.ones((3, 4, 25, 1)), {"label": 2}, r"label 2 is out of range; allowed: 0\.\.1"),
        (np.ones((3, 4, 25, 1)), {"offset": 1}, "offset"),
        (np.ones((3, 4, 25, 1)), {"style": 1}, "style"),
    ],
)
def test_bad_clips_leave_no_store(tmp_path, rng, clip, fields, words):
    classes = ClassSet.from_names(["a", "b"])
    good = ("good", random_clip(rng), {})
    with pytest.raises(InputError, match=words) as caught:
        write(tmp_path / "s", [good, ("wrong", clip, fields)], classes)
    assert "clip wrong" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_names_are_unique_and_stores_not_empty(tmp_path, rng):
    with pytest.raises(InputError, match="used twice"):
        write(tmp_path / "s", [("a", random_clip(rng), {})] * 2)
    with pytest.raises(InputError, match="no clips"):
        write(tmp_path / "s", [])
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(store):
    with pytest.raises(ExistingOutputError, match="store"):
        StoreWriter(store, KINECT25)


@pytest.mark.parametrize("part", ["joints.npy", "index.parquet", "meta.json"])
def test_missing_parts(store, part):
    (store / part).unlink()
    with pytest.raises(MissingFileError, match=part):
        SkeletonStore(store)


@pytest.mark.parametrize("part", ["joints.npy", "index.parquet", "meta.json"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_cut_parts(store, part, keep):
    data = (store / part).read_bytes()
    (store / part).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(StoreError, match=part):
        SkeletonStore(store)


def test_changed_content(store):
    data = bytearray((store / "joints.npy").read_bytes())
    data[-3] ^= 1
    (store / "joints.npy").write_bytes(data)
    with pytest.raises(StoreError, match="checksum"):
        SkeletonStore(store).verify()


def test_index_of_another_store(store):
    table = pq.read_table(store / "index.parquet")
    pq.write_table(table.slice(0, 2), store / "index.parquet")
    with pytest.raises(StoreError, match="make the store again"):
        SkeletonStore(store)
    pq.write_table(pa.table({"name": ["a"]}), store / "index.parquet")
    with pytest.raises(StoreError, match="columns are missing"):
        SkeletonStore(store)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": 9}, "format 9"), ({"layout": "x"}, "kinect25"), ({"rows": None}, "rows")],
)
def test_other_meta(store, change, words):
    meta = json.loads((store / "meta.json").read_text()) | change
    (store / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=words):
        SkeletonStore(store)
