"""Caches that know where people are: person crops, blurred heads, joints alone."""

import json

import numpy as np
import pytest

from ski_data.cli import main
from ski_data.errors import InputError
from ski_data.manifest import Record, write_manifest
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.poses import extract
from ski_data.poses.estimator import Estimate
from ski_data.store import SkeletonStore
from ski_data.video.cache import META, VideoStore, write_video_store
from ski_data.video.decode import VideoError, read_all

SIZE = {"colour_size": (128, 96)}


def upright(frames, x, y, height):
    """Colour coordinates (T, 25, 2) of somebody with the feet at ``y``."""
    rng = np.random.default_rng(5)
    points = np.full((frames, 25, 2), (x, y - 0.5 * height), float)
    points += rng.uniform(-0.2, 0.2, (25, 2)) * height
    for joint, share in {3: 1.0, 2: 0.85, 0: 0.5, 15: 0.0, 19: 0.0}.items():
        points[:, joint] = x, y - share * height
    return points


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_noise):
    folder = tmp_path_factory.mktemp("people")
    records = []
    for i, (x, y, height) in enumerate([(40, 80, 60), (100, 90, 40)]):
        name = f"S001C001P00{i + 1}R001A00{i + 1}"
        write_noise(folder / f"{name}_rgb.mp4", 20, i)
        joints = np.random.default_rng(i).standard_normal((20, 25, 3)).cumsum(0)
        write_skeleton(
            folder / f"{name}.skeleton", joints, colour=upright(20, x, y, height).round(2)
        )
        records.append(
            Record(
                name,
                video=folder / f"{name}_rgb.mp4",
                skeleton=folder / f"{name}.skeleton",
                label=i,
            )
        )
    return records


@pytest.fixture(scope="module")
def write_noise():
    """Writes a video of fixed noise, 96 x 128, that survives coding."""
    import av

    def write(path, frames, seed):
        picture = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"crf": "4"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for _ in range(frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


def write(folder, records, **settings):
    options = {"short_side": 48, "max_frames": 8, "progress": False, **SIZE, **settings}
    return write_video_store(folder, records, **options)


def test_person_crops_by_colour_coordinates(records, tmp_path):
    store = write(tmp_path / "s", records, crop="person")
    assert store.crop == "person"
    assert store.settings["boxes_from"] == "colour"
    assert store.settings["margin"] == 0.1
    assert store.index["crop"].tolist() == ["person"] * 2
    for i, record in enumerate(records):
        x0, y0, x1, y1 = (int(store.index[key][i]) for key in ("x0", "y0", "x1", "y1"))
        assert x1 - x0 == y1 - y0 < 96
        assert store.clip(i).shape == (8, 48, 48, 3)
        whole = read_all(record.video, 8)[:, y0:y1, x0:x1].astype(float)
        means = [clip.mean(axis=(1, 2, 3)) for clip in (store.clip(i), whole)]
        np.testing.assert_allclose(*means, atol=3)
    store.verify()


def test_chunks_do_not_change_the_content(records, tmp_path, monkeypatch):
    from ski_data.video import clips

    one = write(tmp_path / "one", records, crop="person")
    monkeypatch.setattr(clips, "_CHUNK", 3 * 128 * 96 * 3)
    assert write(tmp_path / "two", records, crop="person").sha256 == one.sha256


def test_the_settings_are_part_of_the_checksum(records, tmp_path):
    settings = (
        {},
        {"crop": "person"},
        {"crop": "person", "margin": 0.2},
        {"crop": "person", "privacy": "blur-head"},
        {"privacy": "blur-head"},
        {"short_side": 47},
        {"max_frames": 9},
    )
    stores = [write(tmp_path / str(i), records, **each) for i, each in enumerate(settings)]
    assert len({store.sha256 for store in stores}) == len(stores)
    assert stores[3].privacy == "blur-head"
    path = tmp_path / "0" / META
    meta = json.loads(path.read_text())
    meta["settings"]["crop"] = "person"
    path.write_text(json.dumps(meta))
    with pytest.raises(InputError, match="checksum"):
        VideoStore(tmp_path / "0").verify()


def correlation(one, other):
    return abs(np.corrcoef(np.ravel(one).astype(float), np.ravel(other).astype(float))[0, 1])


@pytest.mark.parametrize("crop", ["full", "person"])
def test_no_pixel_of_a_head_is_stored(records, tmp_path, crop):
    plain = write(tmp_path / "plain", records, crop=crop, short_side=96)
    store = write(tmp_path / "s", records, crop=crop, short_side=96, privacy="blur-head")
    assert store.index["hidden_frames"].tolist() == [0, 0]
    for i, (x, y, height) in enumerate([(40, 80, 60), (100, 90, 40)]):
        x0, y0, x1 = (int(store.index[key][i]) for key in ("x0", "y0", "x1"))
        scale = store.clip(i).shape[2] / (x1 - x0)
        centre = (np.array([x, y - height]) - (x0, y0)) * scale
        reach = 0.17 * height * scale
        place = tuple(slice(max(int(c - reach), 0), int(c + reach)) for c in (centre[1], centre[0]))
        for t in range(8):
            before, after = (each.clip(i)[t][place].astype(float) for each in (plain, store))
            assert before.size > 200
            assert after.std() < 0.5 * before.std()
            detail = [np.diff(picture, axis=1) for picture in (before, after)]
            assert correlation(*detail) < 0.2
    assert correlation(plain.clip(0)[:, 70:], store.clip(0)[:, 70:]) > 0.99  # the rest stays


def test_frames_beyond_the_joints_are_hidden(records, tmp_path):
    short = tmp_path / "short.skeleton"
    write_skeleton(short, np.ones((2, 25, 3)), colour=upright(2, 40, 80, 60))
    record = Record("a", video=records[0].video, skeleton=short)
    store = write(tmp_path / "s", [record], privacy="blur-head", max_frames=20)
    assert store.index["hidden_frames"].tolist() == [3]  # 15 are bridged
    plain = write(tmp_path / "plain", [record], max_frames=20)
    assert correlation(plain.clip(0)[-1], store.clip(0)[-1]) < 0.2


def nobody(tmp_path, records):
    path = tmp_path / "nobody.skeleton"
    write_skeleton(path, np.ones((20, 25, 3)), colour=np.full((20, 25, 2), 9e6))
    return [*records, Record("nobody", video=records[0].video, skeleton=path)]


def test_clips_without_people(records, tmp_path):
    three = nobody(tmp_path, records)
    with pytest.raises(VideoError, match=r"nobody was found in clip nobody.*crop_missing full"):
        write(tmp_path / "s", three, crop="person")
    store = write(tmp_path / "s", three, crop="person", crop_missing="full")
    assert store.index["crop"].tolist() == ["person", "person", "full"]
    assert store.clip(2).shape == (8, 48, 64, 3)
    kept = write(tmp_path / "skipped", three, crop="person", skip_bad=True)
    assert kept.names == store.names[:2]
    listed = (tmp_path / "skipped.rejected.jsonl").read_text()
    assert json.loads(listed)["name"] == "nobody"


def test_a_clip_without_a_head_is_never_written(records, tmp_path):
    path = tmp_path / "headless.skeleton"
    colour = upright(20, 40, 80, 60).round(2)
    colour[:, 3] = 77777
    write_skeleton(path, np.ones((20, 25, 3)), colour=colour)
    path.write_text(path.read_text().replace("77777", "nan"))
    two = [records[0], Record("headless", video=records[1].video, skeleton=path)]
    with pytest.raises(VideoError, match="no head was found"):
        write(tmp_path / "s", two, privacy="blur-head")
    store = write(tmp_path / "s", two, privacy="blur-head", skip_bad=True)
    assert store.names == [records[0].name]


def test_without_joints(records, tmp_path):
    bare = [Record(record.name, video=record.video) for record in records]
    for settings in ({"crop": "person"}, {"privacy": "blur-head"}):
        with pytest.raises(InputError, match=r"no \.skeleton file.*ski-data poses"):
            write(tmp_path / "s", bare, **settings)
    with pytest.raises(InputError, match="skeleton-only"):
        write(tmp_path / "s", bare, privacy="skeleton-only")
    with pytest.raises(InputError, match="crop 'head'"):
        write(tmp_path / "s", bare, crop="head")


@pytest.fixture
def poses(records, tmp_path, monkeypatch):
    """Poses of the records, as if estimated: somebody around x 60, y 20..80."""

    class Estimator:
        name = "fake"

        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def estimate(self, video):
            image = np.full((1, 20, 33, 3), 0.9, np.float32)
            image[..., :2] = np.linspace((55, 20), (65, 80), 33)
            world = np.random.default_rng(0).normal(size=(1, 20, 33, 3)).astype(np.float32)
            return Estimate(image, world, np.ones((1, 20), bool), 128, 96)

    monkeypatch.setattr(extract, "PoseEstimator", Estimator)
    extract.extract_poses(tmp_path / "poses", records, python=tmp_path, progress=False)
    return str(tmp_path / "poses")


def test_person_crops_by_poses(records, tmp_path, poses, caplog):
    bare = [Record(record.name, video=record.video) for record in records]
    store = write(tmp_path / "s", bare, crop="person", privacy="blur-head", poses=poses)
    assert store.settings["boxes_from"] == "poses"
    assert [int(store.index[key][0]) for key in ("x0", "y0", "x1", "y1")] == [24, 14, 96, 86]
    assert "at most 1 people per picture" in caplog.text
    with pytest.raises(VideoError, match="no poses of clip other"):
        write(tmp_path / "t", [Record("other", video=bare[0].video)], crop="person", poses=poses)


def test_joints_alone(records, tmp_path, poses, capsys):
    manifest = tmp_path / "list.jsonl"
    write_manifest(manifest, records)
    out = tmp_path / "out"
    assert main(["cache", str(manifest), str(out), "--privacy", "skeleton-only"]) == 0
    assert "joints of 2 clips, no pictures" in capsys.readouterr().out
    store = SkeletonStore(out)
    assert store.names == [record.name for record in records]
    assert store.index["label"].tolist() == [0, 1]
    again = tmp_path / "again"
    options = ["--privacy", "skeleton-only", "--poses", poses]
    assert main(["cache", str(manifest), str(again), *options]) == 0
    theirs = SkeletonStore(poses)
    np.testing.assert_array_equal(SkeletonStore(again).clip(0), theirs.clip(0))
    np.testing.assert_array_equal(SkeletonStore(again).validity(0), theirs.validity(0))
    pixels = min(20 * 96 * 128 * 3, records[0].video.stat().st_size)
    for folder in (out, again):  # joints and their table, nothing else
        parts = {path.name for path in folder.iterdir()}
        assert parts <= {"joints.npy", "validity.npy", "meta.json", "index.arrow", "index.parquet"}
        assert sum(path.stat().st_size for path in folder.iterdir()) < pixels
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_joints_alone_need_joints(records, tmp_path, poses, capsys):
    manifest = tmp_path / "list.jsonl"
    write_manifest(manifest, [Record("other", video=records[0].video, label=0)])
    for more in ([], ["--poses", poses]):
        command = ["cache", str(manifest), str(tmp_path / "o"), "--privacy", "skeleton-only", *more]
        assert main(command) == 2
        assert "other" in capsys.readouterr().err
    bad = tmp_path / "bad.skeleton"
    bad.write_text("1\n")
    manifest.unlink()
    write_manifest(manifest, [Record("bad", skeleton=bad, label=0), *records])
    assert main(["cache", str(manifest), str(tmp_path / "o"), "--privacy", "skeleton-only"]) == 2
    assert "bad.skeleton, line" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_command(records, tmp_path, capsys):
    manifest = tmp_path / "list.jsonl"
    write_manifest(manifest, nobody(tmp_path, records))
    command = ["cache", str(manifest), str(tmp_path / "s"), "--workers", "1", "--crop", "person"]
    assert main(command) == 2
    assert "say with colour_width" in capsys.readouterr().err
    command += ["--colour_width", "128", "--colour_height", "96", "--skip_bad"]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "1 clips were left out, see" in told.out
    assert VideoStore(tmp_path / "s").crop == "person"
