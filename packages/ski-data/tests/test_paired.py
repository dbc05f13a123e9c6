import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import av
import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import KINECT25
from ski_data.manifest import Record
from ski_data.ntu.prepare import prepare_rows, rows_to_clip
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.paired import PairedDataset
from ski_data.skeleton import FeederConfig, feed
from ski_data.store import StoreWriter
from ski_data.video.cache import write_video_store
from ski_data.video.decode import VideoError, read_frames
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import VideoTransformConfig, test_transform

VIDEO, FEEDER = VideoTransformConfig(size=28), FeederConfig(window=16)


def write_noise(path, frames, seed):
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(frames):
            image = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    made = []
    for number, frames in enumerate((20, 5, 31)):
        video, skeleton = folder / f"{number}.mp4", folder / f"{number}.skeleton"
        write_noise(video, frames, number)
        joints = np.random.default_rng(number).normal(size=(frames, 25, 3))
        write_skeleton(skeleton, joints)
        made.append(Record(f"clip{number}", video=video, skeleton=skeleton, label=number))
    made[2] = replace(made[2], label=None)
    return made


@pytest.fixture(scope="module")
def stores(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    with StoreWriter(folder / "skeletons", KINECT25) as writer:
        for record in records:
            writer.add(record.name, rows_to_clip(prepare_rows(record.skeleton)))
    from ski_data.store import SkeletonStore

    videos = write_video_store(folder / "videos", records, short_side=32, progress=False)
    return SkeletonStore(folder / "skeletons"), videos


def dataset(records, train=True, **changes):
    given = {"frames": 8, "video": VIDEO, "feeder": FEEDER, "seed": 3} | changes
    return PairedDataset(records, train=train, **given)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])


def test_sample(records):
    data = dataset(records)
    assert len(data) == 3
    assert data.labels.tolist() == [0, 1, -1]
    sample = data[1]
    assert (sample["index"], sample["label"], data[2]["label"]) == (1, 1, -1)
    assert sample["video"].shape == (8, 28, 28, 3)
    assert sample["video"].dtype == np.uint8
    assert sample["skeleton"].shape == (3, 16, 25, 2)
    assert sample["skeleton"].dtype == np.float32
    with pytest.raises(IndexError):
        data[3]


def test_only_what_is_asked_for(records):
    both = dataset(records)[0]
    video, skeleton = dataset(records, feeder=None)[0], dataset(records, video=None)[0]
    assert video.keys() == {"index", "label", "video"}
    assert skeleton.keys() == {"index", "label", "skeleton"}
    assert_same(both, video | skeleton)


def test_testing_takes_the_middle_without_chance(records):
    data = dataset(records, train=False)
    sample = data[2]
    data.set_epoch(1)
    assert_same(sample, data[2])
    assert_same(sample, dataset(records, train=False, seed=9)[2])
    frames = read_frames(records[2].video, test_indices(31, 8))
    np.testing.assert_array_equal(sample["video"], test_transform(frames, VIDEO))
    clip = np.zeros((3, 31, 25, 2), np.float32)
    clip[..., :1] = rows_to_clip(prepare_rows(records[2].skeleton))
    np.testing.assert_array_equal(sample["skeleton"], feed(clip, FEEDER, None))


def test_short_videos_repeat_frames(records):
    sample = dataset(records, train=False)[1]
    first = read_frames(records[1].video, [0, 0, 1, 2, 2, 3, 4, 4])
    np.testing.assert_array_equal(sample["video"], test_transform(first, VIDEO))


def test_chance_depends_on_seed_epoch_and_number_alone(records):
    data, again = dataset(records), dataset(records)
    samples = [data[i] for i in range(3)]
    for i in (2, 0, 1):
        assert_same(again[i], samples[i])
    data.set_epoch(1)
    for other in (data[0], dataset(records, seed=4)[0]):
        assert not np.array_equal(other["video"], samples[0]["video"])
        assert not np.array_equal(other["skeleton"], samples[0]["skeleton"])
    data.set_epoch(0)
    assert_same(data[0], samples[0])
    with pytest.raises(InputError, match="from 0"):
        data.set_epoch(-1)


def test_stores_give_what_the_files_give(records, stores):
    skeletons, videos = stores
    for train in (True, False):
        stored = dataset(records, train, skeletons=skeletons, videos=videos)
        for i in range(3):
            assert_same(stored[i], dataset(records, train)[i])


_data = None


def _start(data):
    global _data
    _data = data


def _sample(i):
    return _data[i]


def test_workers_see_the_epoch_and_give_the_same(records, stores):
    data = dataset(records, skeletons=stores[0], videos=stores[1])
    with ProcessPoolExecutor(1, get_context("fork"), _start, (data,)) as pool:
        assert_same(pool.submit(_sample, 1).result(), data[1])
        data.set_epoch(5)
        assert_same(pool.submit(_sample, 1).result(), data[1])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same(records, stores, workers):
    same = [replace(record, label=0) for record in records]
    settings = {"skeletons": stores[0], "videos": stores[1], "pairing": "class"}
    data = dataset(same, pair_dropout=0.3, **settings)
    data.set_epoch(4)
    expected = [data[i] for i in range(3)]
    with ProcessPoolExecutor(workers, get_context("fork"), _start, (data,)) as pool:
        for got, sample in zip(pool.map(_sample, [2, 0, 1, 2]), (2, 0, 1, 2), strict=True):
            assert_same(got, expected[sample])


def test_copies_keep_their_epoch(records):
    data = dataset(records)
    data.set_epoch(2)
    for other in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert_same(other[0], data[0])


def test_what_is_missing_is_named(records, stores, tmp_path):
    skeletons, videos = stores
    stranger = replace(records[0], name="stranger")
    with pytest.raises(InputError, match="clip stranger: not in skeleton store"):
        dataset([stranger], skeletons=skeletons)
    with pytest.raises(InputError, match="clip stranger: not in video store"):
        dataset([stranger], videos=videos)
    with pytest.raises(InputError, match="clip clip0: the record names no video"):
        dataset([replace(records[0], video=None)])
    with pytest.raises(InputError, match="clip clip0: the record names no skeleton"):
        dataset([replace(records[0], skeleton=None)])
    gone = dataset([replace(records[0], video=tmp_path / "gone.mp4")])
    with pytest.raises(MissingFileError, match=r"clip clip0: .*gone\.mp4"):
        gone[0]
    (tmp_path / "bad.mp4").write_text("text")
    with pytest.raises(VideoError, match=r"clip clip0: .*bad\.mp4"):
        dataset([replace(records[0], video=tmp_path / "bad.mp4")])[0]


def test_bad_requests(records):
    with pytest.raises(InputError, match="video or feeder"):
        dataset(records, video=None, feeder=None)
    with pytest.raises(InputError, match="at least one record"):
        dataset([])
    with pytest.raises(InputError, match="frames must be"):
        dataset(records, frames=0)


def test_pairs_by_class_are_drawn_anew_each_epoch(records, stores):
    same = [replace(record, label=0) for record in records[:2]] + [replace(records[2], label=1)]
    settings = {"skeletons": stores[0], "videos": stores[1], "seed": 5}
    own, drawn = dataset(same, **settings), dataset(same, pairing="class", **settings)
    lengths = {record.name: stores[0].clip(record.name).shape[1] for record in same}
    assert len(set(lengths.values())) == 3
    partners = []
    for epoch in range(12):
        for data in (own, drawn):
            data.set_epoch(epoch)
        for index in range(3):
            np.testing.assert_array_equal(own[index]["video"], drawn[index]["video"])
        np.testing.assert_array_equal(own[2]["skeleton"], drawn[2]["skeleton"])
        partners.append(np.array_equal(own[0]["skeleton"], drawn[0]["skeleton"]))
        assert_same(drawn[0], drawn[0])
    assert 0 < sum(partners) < 12


def test_dropped_pairs_have_an_empty_skeleton(records, stores):
    settings = {"skeletons": stores[0], "videos": stores[1]}
    whole, dropped = dataset(records, **settings), dataset(records, pair_dropout=0.5, **settings)
    paired = []
    for epoch in range(20):
        whole.set_epoch(epoch)
        dropped.set_epoch(epoch)
        for index in range(3):
            sample = dropped[index]
            paired.append(sample.pop("paired"))
            expected = whole[index]
            expected["skeleton"] *= paired[-1]
            assert_same(sample, expected)
    assert 15 < sum(paired) < 45


def test_settings_of_pairs(records):
    for changes, word in (
        ({"pairing": "any"}, "clip or class"),
        ({"pair_dropout": 1.5}, "0..1"),
        ({"pairing": "class", "train": False}, "for training"),
        ({"pair_dropout": 0.1, "video": None}, "for training"),
        ({"pairing": "class"}, "clip2 has none"),
    ):
        with pytest.raises(InputError, match=word):
            dataset(records, **changes)
