import json
import pickle

import numpy as np
import pytest

from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.manifest import Record
from ski_data.video.cache import FRAMES, INDEX, META, VideoStore, VideoStoreError, write_video_store
from ski_data.video.decode import VideoError, read_all


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    sizes = {"wide": (12, 64, 96), "tall": (20, 96, 64), "long": (32, 64, 64)}
    for name, (frames, height, width) in sizes.items():
        write_video(folder / f"{name}.mp4", frames=frames, height=height, width=width)
    return [
        Record(name, video=folder / f"{name}.mp4", label=label)
        for name, label in zip(sizes, (2, None, 0), strict=True)
    ]


@pytest.fixture(scope="module")
def store(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores") / "store"
    return write_video_store(folder, records, short_side=32, max_frames=24, progress=False)


def test_content(store, records):
    assert store.names == ["wide", "tall", "long"]
    assert len(store) == 3
    assert store.index["label"].tolist() == [2, -1, 0]
    assert store.index["frames"].tolist() == [12, 20, 24]
    assert store.index["source_frames"].tolist() == [12, 20, 32]
    for i, record in enumerate(records):
        expected = read_all(record.video, 24, short_side=32)
        np.testing.assert_array_equal(store.clip(i), expected)
        np.testing.assert_array_equal(store.frames(record.name, [5, 0, 5]), expected[[5, 0, 5]])
    assert store.clip("tall").shape == (20, 48, 32, 3)
    assert store.length("wide") == 12
    store.verify()


def test_frames_are_a_copy(store):
    frames = store.frames(0, [0, 1])
    assert type(frames) is np.ndarray
    frames[:] = 0
    assert store.clip(0).any()
    with pytest.raises(ValueError, match="read-only"):
        store.clip(0)[:] = 0


def test_workers_do_not_change_the_content(store, records, tmp_path):
    other = write_video_store(
        tmp_path / "s", records, short_side=32, max_frames=24, workers=2, progress=False
    )
    assert other.sha256 == store.sha256
    assert (other.folder / FRAMES).read_bytes() == (store.folder / FRAMES).read_bytes()


def test_pickled_stores_map_the_file_again(store):
    data = pickle.dumps(store)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).clip(1), store.clip(1))


def test_unknown_clips_and_frames(store):
    for which in ("none", 3, -1):
        with pytest.raises(InputError, match="clip"):
            store.clip(which)
    for indices in ([12], [-1], []):
        with pytest.raises(InputError, match=r"frames 0\.\.11"):
            store.frames("wide", indices)


def test_nothing_is_overwritten(store, records):
    with pytest.raises(ExistingOutputError, match="there already"):
        write_video_store(store.folder, records)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_video_leaves_nothing_behind(workers, records, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    bad = [*records[:1], Record("bad", video=tmp_path / "bad.mp4")]
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        write_video_store(tmp_path / "s", bad, workers=workers, progress=False)
    with pytest.raises(MissingFileError, match=r"gone\.mp4"):
        write_video_store(
            tmp_path / "s", [Record("a", video=tmp_path / "gone.mp4")], progress=False
        )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


def test_bad_requests(records, tmp_path):
    with pytest.raises(InputError, match="at least one"):
        write_video_store(tmp_path / "s", [])
    with pytest.raises(InputError, match="has no video"):
        write_video_store(tmp_path / "s", [Record("a")])
    with pytest.raises(InputError, match="used twice"):
        write_video_store(tmp_path / "s", [records[0]] * 2)
    with pytest.raises(InputError, match="at least 1"):
        write_video_store(tmp_path / "s", records, short_side=0)


def damaged(store, tmp_path, part, change):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (FRAMES, INDEX, META):
        data = (store.folder / name).read_bytes()
        (folder / name).write_bytes(change(data) if name == part else data)
    return folder


@pytest.mark.parametrize("part", [FRAMES, INDEX, META])
def test_cut_stores_are_refused(store, tmp_path, part):
    with pytest.raises(VideoStoreError, match="copy"):
        VideoStore(damaged(store, tmp_path, part, lambda data: data[: len(data) // 2]))


def test_changed_stores_fail_verification(store, tmp_path):
    folder = damaged(store, tmp_path, FRAMES, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(VideoStoreError, match="clip long does not fit"):
        VideoStore(folder).verify()


def test_other_formats_are_refused(store, tmp_path):
    def newer(data):
        return json.dumps(json.loads(data) | {"format": 3}).encode()

    with pytest.raises(VideoStoreError, match="format 3"):
        VideoStore(damaged(store, tmp_path, META, newer))
    with pytest.raises(MissingFileError, match="no such video store"):
        VideoStore(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"meta\.json is missing"):
        VideoStore(tmp_path / "empty")


def test_command(records, tmp_path, capsys):
    manifest = tmp_path / "list.csv"
    manifest.write_text("".join(f"{record.video},1\n" for record in records))
    out = tmp_path / "store"
    arguments = ["cache", str(manifest), str(out), "--short_side", "16", "--workers", "1"]
    assert main(arguments) == 0
    assert "3 clips, 64 frames" in capsys.readouterr().out
    assert VideoStore(out).short_side == 16
    assert main(arguments) == 2
    assert "there already" in capsys.readouterr().err
    manifest.write_text("gone.mp4,0\n")
    assert main(["cache", str(manifest), str(tmp_path / "other")]) == 2
    assert "gone.mp4: no such video" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
