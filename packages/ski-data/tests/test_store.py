import json
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ski_data import store as store_module
from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.layouts import KINECT22, KINECT25, Validity
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
    assert (opened.joint_validity == Validity.MEASURED).all()
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


@pytest.mark.parametrize("part", ["joints.npy", "index.arrow", "meta.json"])
def test_missing_parts(store, part):
    (store / part).unlink()
    with pytest.raises(MissingFileError, match=part):
        SkeletonStore(store)


@pytest.mark.parametrize("part", ["joints.npy", "index.arrow", "meta.json"])
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


def write_batches(store, *batches):
    (store / "index.arrow").unlink()
    with pa.ipc.new_file(str(store / "index.arrow"), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def change_column(batch, name, values):
    columns = {key: batch.column(key) for key in batch.schema.names}
    return pa.record_batch(columns | {name: values})


def test_index_of_another_store(store):
    batch = pa.ipc.open_file((store / "index.arrow").read_bytes()).get_batch(0)
    for batches, words in [
        ([batch, batch], "2 record batches"),
        ([pa.record_batch({"name": ["a"]})], "columns are missing"),
        ([change_column(batch, "label", pa.array([0.0, 1, 0]))], r"label \(int64 expected\)"),
        ([change_column(batch, "by_name", pa.array([0, 1, 9], pa.int32()))], "order of the names"),
        ([change_column(batch, "offset", pa.array([0, 4, 4]))], "do not follow each other"),
        ([change_column(batch, "frames", pa.array([4, 5, 7]))], "rows expected"),
        ([change_column(batch, "bodies", pa.array([1, 2, 9]))], "make the store again"),
    ]:
        write_batches(store, *batches)
        with pytest.raises(StoreError, match=words):
            SkeletonStore(store)


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
@example(at=4754, value=128)  # in the name of a column
def test_a_damaged_index_is_an_error_or_readable(tmp_path_factory, at, value):
    folder = tmp_path_factory.mktemp("s") / "s"
    write(folder, [(f"c{i}", np.ones((3, 2, 25, 1), np.float32), {"split": "x"}) for i in range(3)])
    data = bytearray((folder / "index.arrow").read_bytes())
    data[at % len(data)] = value
    (folder / "index.arrow").write_bytes(data)
    try:
        opened = SkeletonStore(folder)
    except StoreError:
        return
    assert len(opened) == 3
    assert len([opened.clip(i) for i in range(3)] + opened.names) == 6
    assert "gone" not in opened


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=1, unique=True))
def test_clips_are_found_by_name(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("s") / "s"
    write(folder, [(name, np.ones((3, 1, 25, 1), np.float32), {}) for name in names])
    opened = SkeletonStore(folder)
    assert [opened.row(name) for name in names] == list(range(len(names)))
    assert all(name in opened for name in names)
    assert "other" not in opened or "other" in names
    assert 0 not in opened
    assert opened.name(0) == names[0]


def test_names_that_no_file_can_hold(tmp_path):
    with pytest.raises(InputError, match="column name"):
        write(tmp_path / "s", [("\ud800", np.ones((3, 1, 25, 1)), {})])
    clips = [(name, np.ones((3, 1, 25, 1)), {"split": name or 1}) for name in ("", "b")]
    with pytest.raises(InputError, match="column split"):
        write(tmp_path / "s", clips)
    assert not list(tmp_path.iterdir())


def test_the_index_is_read_only(store):
    index = SkeletonStore(store).index
    assert set(index) == {
        *("name", "label", "subject", "camera", "setup", "replication"),
        *("frames", "bodies", "offset", "source", "split"),
    }
    assert len(index) == len(list(index))
    with pytest.raises(ValueError, match="read-only"):
        index["label"][0] = 5
    with pytest.raises(KeyError):
        index["by_name"]


def test_blocks_are_the_whole_store(store, monkeypatch):
    monkeypatch.setattr(store_module, "_BLOCK_ROWS", 7)
    opened = SkeletonStore(store)
    joints, codes = zip(*opened.blocks(), strict=True)
    assert [len(block) for block in joints] == [7, 7, 6]
    assert np.array_equal(np.concatenate(joints), np.load(store / "joints.npy"))
    assert (np.concatenate(codes) == Validity.MEASURED).all()


def test_a_store_that_is_replaced_stays_readable(store, tmp_path, rng):
    opened = SkeletonStore(store)
    clip = opened.clip(2)
    shutil.rmtree(store)
    write(store, [("other", random_clip(rng), {})])
    assert np.array_equal(opened.clip("clip2"), clip)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 1}, r"format 1, this version reads 2; make the store again"),
        ({"layout": "x"}, "kinect25"),
        ({"rows": None}, "rows"),
        ({"validity": [3] * 24}, "each of 25 joints"),
        ({"validity": [3] * 24 + [4]}, "validity or classes"),
    ],
)
def test_other_meta(store, change, words):
    meta = json.loads((store / "meta.json").read_text()) | change
    (store / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=words):
        SkeletonStore(store)


def codes_of(rng, clip):
    return rng.integers(0, 4, clip.shape[1:], dtype=np.uint8)


def test_validity_without_any_of_the_clips(tmp_path, rng):
    default = rng.integers(0, 4, 25).tolist()
    clip = random_clip(rng, 5, 2)
    clip[:, 3, :, 1] = 0
    with StoreWriter(tmp_path / "s", KINECT25, bodies=3, validity=default) as writer:
        writer.add("a", clip)
        writer.add("b", clip, validity=np.tile(np.uint8(default)[:, None], (5, 1, 2)))
    opened = SkeletonStore(tmp_path / "s")
    assert not (tmp_path / "s" / "validity.npy").exists()
    assert opened.joint_validity.dtype == np.uint8
    assert opened.joint_validity.tolist() == default
    got = opened.validity("b")
    assert (got.dtype, got.shape) == (np.uint8, (5, 25, 3))
    assert np.array_equal(got[..., 0], np.tile(default, (5, 1)))
    assert np.array_equal(got[[0, 1, 2, 4], :, 1], np.tile(default, (4, 1)))
    assert not got[3, :, 1].any()
    assert not got[..., 2].any()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 2), st.booleans()), min_size=1, max_size=5)
)
def test_validity_of_clips(tmp_path_factory, sizes):
    rng = np.random.default_rng(len(sizes))
    folder = tmp_path_factory.mktemp("store") / "s"
    default = [Validity.MEASURED] * 20 + [Validity.COPIED] * 5
    expected = []
    with StoreWriter(folder, KINECT25, validity=default) as writer:
        for i, (frames, bodies, own) in enumerate(sizes):
            clip = random_clip(rng, frames, bodies)
            codes = codes_of(rng, clip) if own else None
            writer.add(f"c{i}", clip, validity=codes)
            whole = np.zeros((frames, 25, 2), np.uint8)
            whole[..., :bodies] = np.uint8(default)[:, None] if codes is None else codes
            expected.append(whole)
    opened = SkeletonStore(folder)
    for i, codes in enumerate(expected):
        assert np.array_equal(opened.validity(i), codes)
    opened.verify()
    if any(own for _, _, own in sizes):
        assert np.load(folder / "validity.npy").shape == np.load(folder / "joints.npy").shape[:2]


def test_a_repeated_body_is_as_true_as_the_first(tmp_path, rng):
    clip = random_clip(rng)
    codes = codes_of(rng, clip)
    with StoreWriter(tmp_path / "s", KINECT25, single_body="repeat") as writer:
        writer.add("a", clip, validity=codes)
    assert np.array_equal(SkeletonStore(tmp_path / "s").validity("a"), np.repeat(codes, 2, 2))


@pytest.fixture
def mixed(tmp_path, rng):
    clip = random_clip(rng)
    with StoreWriter(tmp_path / "mixed", KINECT25) as writer:
        writer.add("a", clip)
        writer.add("b", clip, validity=codes_of(rng, clip))
    return tmp_path / "mixed"


def test_damaged_validity(mixed):
    data = bytearray((mixed / "validity.npy").read_bytes())
    (mixed / "validity.npy").write_bytes(data[:-3])
    with pytest.raises(StoreError, match=r"validity.npy: damaged"):
        SkeletonStore(mixed)
    data[-1] = 9
    (mixed / "validity.npy").write_bytes(data)
    with pytest.raises(StoreError, match="checksum"):
        SkeletonStore(mixed).verify()
    with pytest.raises(StoreError, match="clip b has codes over 3"):
        SkeletonStore(mixed).validity("b")
    (mixed / "validity.npy").unlink()
    with pytest.raises(MissingFileError, match=r"validity\.npy"):
        SkeletonStore(mixed)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.full((4, 25, 1), 4), "3 measured"),
        (np.full((4, 25, 1), -1), "do not exist"),
        (np.ones((4, 25, 2), np.uint8), r"\(4, 25, 1\)"),
        (np.ones((4, 25, 1), bool), "whole numbers"),
    ],
)
def test_bad_codes(tmp_path, rng, codes, words):
    with (
        pytest.raises(InputError, match=words) as caught,
        StoreWriter(tmp_path / "s", KINECT25) as writer,
    ):
        writer.add("wrong", random_clip(rng), validity=codes)
    assert "clip wrong" in str(caught.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="validity"):
        StoreWriter(tmp_path / "s", KINECT25, validity=[3] * 24)


def job_of(folder, clips, until=None):
    """Write the clips that are not there yet; stop before clip number ``until``."""
    with StoreWriter(folder, KINECT25, job="one") as writer:
        for i, (clip, codes) in enumerate(clips[len(writer) :], len(writer)):
            if i == until:
                raise KeyboardInterrupt
            writer.add(f"c{i}", clip, validity=codes)


@settings(max_examples=25, deadline=None)
@given(
    own=st.lists(st.booleans(), min_size=4, max_size=4),
    until=st.integers(0, 3),
    lost=st.integers(0, 1200),
    part=st.sampled_from(["validity.npy", "joints.npy"]),
)
def test_an_interrupted_job_with_validity_goes_on(tmp_path_factory, own, until, lost, part):
    rng = np.random.default_rng(until)
    clips = [(clip := random_clip(rng), codes_of(rng, clip) if o else None) for o in own]
    folder = tmp_path_factory.mktemp("jobs")
    job_of(folder / "a", clips)
    with pytest.raises(KeyboardInterrupt):
        job_of(folder / "b", clips, until)
    unfinished = folder / ".b.partial" / "store" / part
    unfinished.write_bytes(unfinished.read_bytes()[: -lost or None])
    job_of(folder / "b", clips)
    files = {path.name: path.read_bytes() for path in (folder / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (folder / "b").iterdir()}
    assert ("validity.npy" in files) == any(own)
