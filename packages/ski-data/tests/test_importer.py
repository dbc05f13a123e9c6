import json

import numpy as np
import pytest

from ski_data.check import check
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
from ski_data.importer import (
    ImportMapping,
    RejectedRowsError,
    import_names,
    import_skeletons,
    read_mapping,
)
from ski_data.layouts import Validity
from ski_data.manifest import read_manifest
from ski_data.ntu.archive import PROTOCOLS, write_archive
from ski_data.paired import PairedDataset
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore, StoreWriter
from ski_data.video.transforms import VideoTransformConfig


def write_source(path, rng, **changes):
    arrays = {
        "joints": rng.uniform(0, 160, size=(12, 25, 3)).astype(np.float32),
        "offsets": np.array([0, 5, 12]),
        "label": np.array([1, 0], np.int16),
        "who": np.array([7, 8]),
        "side": np.array(["left", "right"]),
        "fps": np.float32(30),
        "class_names": np.array(["sit down", "wave"]),
    } | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


MAPPING = """
layout: kinect25
units: centimetres
axes: [x, z, -y]
subject: who
class_names: class_names
fields: {side: side, fps: fps}
name: "{class_name}-{subject}-{side}"
"""


def test_import_with_a_mapping(tmp_path, rng):
    arrays = write_source(tmp_path / "own.npz", rng)
    (tmp_path / "own.yaml").write_text(MAPPING)
    import_skeletons(str(tmp_path / "own.npz"), str(tmp_path / "out"), str(tmp_path / "own.yaml"))
    store = SkeletonStore(tmp_path / "out")
    assert store.names == ["wave-7-left", "sit-down-8-right"]
    assert store.index["subject"].tolist() == [7, 8]
    assert store.index["fps"].tolist() == [30, 30]
    assert store.classes.names == ("sit down", "wave")
    clip = store.clip(1)
    source = arrays["joints"][5:] * np.float32(0.01)
    np.testing.assert_allclose(clip[0, ..., 0], source[..., 0], atol=1e-6)
    np.testing.assert_allclose(clip[1, ..., 0], source[..., 2], atol=1e-6)
    np.testing.assert_allclose(clip[2, ..., 0], -source[..., 1], atol=1e-6)


def test_defaults_need_no_mapping(tmp_path, rng):
    write_source(tmp_path / "own.npz", rng, joints=rng.uniform(0, 1.6, (12, 25, 3)))
    import_skeletons(str(tmp_path / "own.npz"), str(tmp_path / "out"))
    assert SkeletonStore(tmp_path / "out").names == ["0", "1"]
    with pytest.raises(ExistingOutputError):
        import_skeletons(str(tmp_path / "own.npz"), str(tmp_path / "out"))


def test_every_bad_row_is_explained(tmp_path, rng):
    joints = rng.uniform(0, 1.6, (12, 25, 3))
    joints[6, 3, 1] = np.nan
    write_source(tmp_path / "a.npz", rng, joints=joints, offsets=np.array([0, 0, 12]))
    with pytest.raises(InputError) as caught:
        import_skeletons(str(tmp_path / "a.npz"), str(tmp_path / "out"))
    text = str(caught.value)
    assert "2 of 2 rows" in text
    assert "row 1: " in text
    assert "row 2: 1 coordinates are not finite numbers, first: frame 6, joint head" in text
    assert "missing: nan" in text
    assert [rejected.row for rejected in caught.value.rejected] == [1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joints": None}, "no array 'joints'"),
        ({"label": None}, "no array 'label'"),
        ({"offsets": np.array([0, 5, 11])}, "rise from 0 to 12"),
        ({"offsets": np.array([0, 13, 12])}, "rise from 0 to 12"),
        ({"offsets": np.array([0.0, 12.0])}, "whole numbers"),
        ({"label": np.array([0, 1, 2])}, r"2 clips, not \(3,\)"),
        ({"label": np.array([0.5, 1])}, "whole numbers"),
        ({"joints": np.ones((12, 22, 3))}, "row 1, row 2: 22 joints, layout kinect25 has 25"),
        ({"joints": np.ones((12, 25, 2))}, "row 1: .*lifted to 3D"),
        ({"joints": np.full((12, 25, 3), "x")}, "row 1: .*numbers expected"),
    ],
)
def test_bad_arrays(tmp_path, rng, changes, words):
    write_source(tmp_path / "a.npz", rng, **changes)
    with pytest.raises(InputError, match=words) as caught:
        import_skeletons(str(tmp_path / "a.npz"), str(tmp_path / "out"))
    assert "a.npz" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_label_beyond_the_class_names(tmp_path, rng):
    write_source(tmp_path / "a.npz", rng, label=np.array([0, 2]))
    (tmp_path / "m.yaml").write_text("class_names: class_names\n")
    with pytest.raises(InputError, match=r"row 2: label 2 is out of range; allowed: 0..1"):
        import_skeletons(str(tmp_path / "a.npz"), str(tmp_path / "out"), str(tmp_path / "m.yaml"))


def test_python_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", joints=np.array([{}], object), offsets=np.array([0, 1]))
    with pytest.raises(InputError, match="never loaded"):
        import_skeletons(str(tmp_path / "a.npz"), str(tmp_path / "out"))


def test_manifest_of_arrays(tmp_path, rng):
    one, two = rng.uniform(0, 1.6, (4, 22, 3)), rng.uniform(0, 1.6, (2, 6, 22, 3))
    np.save(tmp_path / "one.npy", one)
    np.savez(tmp_path / "two.npz", joints=two)
    (tmp_path / "list.jsonl").write_text(
        '{"skeleton": "one.npy", "label": "jump", "subject": 4}\n'
        '{"skeleton": "two.npz", "label": 0}\n'
    )
    (tmp_path / "m.yaml").write_text(
        "layout: kinect22\ntarget: keep\nbodies: 2\nclasses: [run, jump]\n"
    )
    source, out = str(tmp_path / "list.jsonl"), str(tmp_path / "out")
    import_skeletons(source, out, str(tmp_path / "m.yaml"))
    store = SkeletonStore(out)
    assert store.layout.name == "kinect22"
    assert store.names == ["one", "two"]
    assert store.index["label"].tolist() == [1, 0]
    np.testing.assert_allclose(store.clip(0)[..., 0], one.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_allclose(store.clip(1), two.transpose(3, 1, 2, 0), atol=1e-6)


def test_manifest_of_missing_arrays(tmp_path):
    (tmp_path / "list.csv").write_text("a.npy,0\nb.npy,1\n")
    (tmp_path / "b.npy").write_text("no")
    with pytest.raises(InputError) as caught:
        import_skeletons(str(tmp_path / "list.csv"), str(tmp_path / "out"))
    assert "row 1 (line 1): " in str(caught.value)
    assert "a.npy: no such file" in str(caught.value)
    assert "b.npy: not a readable" in str(caught.value)


def test_community_archive(tmp_path, rng):
    names = ["S001C001P001R001A010", "S001C002P003R001A060"]
    rows = {name: rng.normal(size=(3, 75 * (i + 1))) for i, name in enumerate(names)}
    write_archive(tmp_path / "NTU60_CS.npz", rows, PROTOCOLS["ntu60/xsub"], frames=10)
    import_skeletons(str(tmp_path / "NTU60_CS.npz"), str(tmp_path / "out"))
    store = SkeletonStore(tmp_path / "out")
    assert store.names == names
    assert store.index["split"].tolist() == ["train", "test"]
    assert store.index["label"].tolist() == [9, 59]
    assert store.index["frames"].tolist() == [3, 3]
    assert store.index["bodies"].tolist() == [1, 2]
    assert store.index["subject"].tolist() == [1, 3]
    with pytest.raises(InputError, match="no mapping"):
        import_skeletons(str(tmp_path / "NTU60_CS.npz"), str(tmp_path / "o"), "hdm05")


@pytest.mark.parametrize("name", import_names())
def test_shipped_mappings_are_readable(name):
    mapping = read_mapping(name)
    assert mapping.name is not None
    assert mapping.target == "kinect25"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layout: coco\n", "kinect25"),
        ("axes: [x, z, y]\n", "mirror"),
        ("joint: a\n", "joint"),
        ("units: feet\n", "metres"),
        ("units: pixels\n", "lift them to 3D"),
        ("order: TVX\n", "CTVM"),
        ("order: TVNC\n", "come first"),
        ("order: TTVC\n", "once"),
        ("frames: [5, 5]\n", "first < end"),
        ("joints: {nose: 1}\n", "nose not in layout kinect25"),
        ("joints: {head: 1}\n", "write null"),
        ("confidence: {threshold: 0.3}\n", "channel: 3"),
        ("confidence: {name: a, channel: -1}\n", "0 or more"),
        ("table: {coordinates: x}\n", "{joint} and {axis}"),
        ("table: {coordinates: '{joint}{axis}', header: false}\n", "must be a header"),
        ("pattern: '('\n", "no regular expression"),
        ("fields: {a: b}\nconstants: {a: 1}\n", "keep one"),
        ("fields: {source: b, label: c}\n", "cannot be named source, label"),
        ("constants: {frames: 1}\n", "cannot be named frames"),
        ("constants: {subject: x}\n", "whole number"),
        ("bodies: 0\n", "at least 1"),
        ("class_names: a\nclasses: [b]\n", "not both"),
        ("layout: [\n", "YAML"),
    ],
)
def test_bad_mappings_name_the_file(tmp_path, text, words):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_mapping(str(path))
    assert "m.yaml" in str(caught.value)


def test_missing_things(tmp_path):
    with pytest.raises(MissingFileError, match="ui_prmd"):
        read_mapping("nowhere")
    with pytest.raises(MissingFileError, match="gone"):
        import_skeletons(str(tmp_path / "gone.npz"), str(tmp_path / "out"))
    assert read_mapping(None) == ImportMapping()


@pytest.mark.parametrize(
    ("file", "mapping", "clips", "frames", "classes"),
    [
        ("ui_prmd/ui_prmd_kinect22.npz", "ui_prmd", 2000, 151158, 10),
        ("hdm05_11/hdm05_11class_30fps.npz", "hdm05", 287, 17878, 11),
        (
            "bandai_namco_motion/bandai_namco_motion1_30fps.npz",
            "bandai_namco_1",
            174,
            31914,
            16,
        ),
        (
            "bandai_namco_motion/bandai_namco_motion2_15fps.npz",
            "bandai_namco_2",
            2902,
            193186,
            10,
        ),
    ],
)
def test_real_data(shared, tmp_path, file, mapping, clips, frames, classes):
    source = shared / "data" / file
    if not source.is_file():
        pytest.skip(f"{file} is not there")
    import_skeletons(str(source), str(tmp_path / "out"), mapping)
    store = SkeletonStore(tmp_path / "out")
    assert len(store) == clips
    assert int(store.index["frames"].sum()) == frames
    assert len(store.classes) == classes
    assert store.layout.name == "kinect25"
    clip = store.clip(0)
    assert (clip[1, :, 3] > clip[1, :, 14]).all()  # the head is above the left ankle
    assert check([str(tmp_path / "out")]) == 0


def test_real_clips_with_video(shared, tmp_path):
    source = shared / "data" / "rgb_pose_clips" / "clips.json"
    if not source.is_file():
        pytest.skip("rgb_pose_clips is not there")
    out = tmp_path / "out"
    assert import_skeletons(str(source), str(out), "rgb_pose_clips") == 0
    store = SkeletonStore(out)
    assert (len(store), len(store.classes)) == (29, 23)
    assert int(store.index["frames"].sum()) == 2184  # 2188 but for 4 without a person
    assert "signs the word drink" not in store.classes.names
    assert store.classes.label("does squats") == store.index["label"][20]
    signs, squats = store.validity(0), store.validity("squats__pose_squats")
    knee, wrist = (store.layout.joints.index(name) for name in ("left_ankle", "left_wrist"))
    assert (signs[:, knee] == Validity.ABSENT).all()  # below the desk
    assert (squats[:, knee] == Validity.MEASURED).all()
    assert (signs[:, wrist] == Validity.MEASURED).all()
    assert (signs[:, 0] == Validity.INTERPOLATED).all()
    records = read_manifest(tmp_path / "out.jsonl", store.classes)
    assert [record.name for record in records] == store.names
    assert all(record.video.is_file() for record in records)
    clips = PairedDataset(
        records,
        skeletons=store,
        frames=2,
        video=VideoTransformConfig(size=32),
        feeder=FeederConfig(),
        train=False,
    )
    sample = clips[20]
    assert sample["video"].shape == (2, 32, 32, 3)
    assert sample["skeleton"].shape == (3, 64, 25, 1)
    assert check([str(out)]) == 0
    assert check([str(tmp_path / "out.jsonl")]) == 0


def people(rng, *shape):
    return rng.uniform(0, 1.6, (*shape, 25, 3)).astype(np.float32)


def test_skip_bad_writes_the_good_and_lists_the_bad(tmp_path, rng):
    np.save(tmp_path / "good.npy", people(rng, 4))
    np.save(tmp_path / "flat.npy", people(rng, 4) * [1, 1, 0])
    np.save(tmp_path / "long.npy", people(rng, 4) * 100)
    (tmp_path / "list.csv").write_text(
        "skeleton,label,subject\nflat.npy,0,1\ngood.npy,1,2\nlong.npy,0,1\ngone.npy,0,1\n"
        'good.npy,1,2\ngood.npy,1,Ann\ngood.npy\ngood.txt"x,0,1\n'
    )
    source, out = str(tmp_path / "list.csv"), tmp_path / "out"
    with pytest.raises(RejectedRowsError) as caught:
        import_skeletons(source, str(out))
    assert not out.exists()
    assert import_skeletons(source, str(out), skip_bad=True) == 1
    assert SkeletonStore(out).names == ["good"]
    text = (tmp_path / "out.rejected.jsonl").read_text()
    listed = [json.loads(line) for line in text.splitlines()]
    assert [row["row"] for row in listed] == [1, 3, 4, 5, 6, 7, 8]
    for row, told, words in zip(
        listed,
        caught.value.rejected,
        [
            "z is the same for all joints",
            "units: centimetres",
            "gone.npy: no such file",
            r"'good' is that of row 2 (line 3)",
            "subject must be a whole number",
            "1 values, expected 3",
            "out",
        ],
        strict=True,
    ):
        assert words in row["problem"] or row["row"] == 8
        assert row["problem"] == told.problem
    with pytest.raises(ExistingOutputError, match=r"rejected\.jsonl"):
        import_skeletons(source, str(tmp_path / "out"), skip_bad=True)


def test_rows_with_the_same_problem_are_told_together(tmp_path, rng):
    for i in range(30):
        np.save(tmp_path / f"{i:02d}.npy", people(rng, 3) * (100 if i else 1))
    with pytest.raises(RejectedRowsError) as caught:
        import_skeletons(str(tmp_path), str(tmp_path / "out"))
    assert len(caught.value.rejected) == 29
    for i in range(1, 30):
        np.save(tmp_path / f"{i:02d}.npy", people(rng, 3)[:, : i % 2 + 20])
    with pytest.raises(RejectedRowsError) as caught:
        import_skeletons(str(tmp_path), str(tmp_path / "out"))
    first, *lines, hint = str(caught.value).split("\n  ")
    assert "29 of 30 rows cannot be imported, nothing was written" in first
    assert [line.split(": ")[0].split(" more")[0] for line in lines] == [
        "row 2 (01.npy), row 4 (03.npy), row 6 (05.npy), row 8 (07.npy), row 10 (09.npy) and 10",
        "row 3 (02.npy), row 5 (04.npy), row 7 (06.npy), row 9 (08.npy), row 11 (10.npy) and 9",
    ]
    assert "stay out with files" in hint


def test_nothing_good_writes_nothing(tmp_path, rng):
    np.save(tmp_path / "a.npy", people(rng, 3)[:, :20])
    with pytest.raises(RejectedRowsError, match="20 joints"):
        import_skeletons(str(tmp_path / "a.npy"), str(tmp_path / "out"), skip_bad=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_videos_of_a_manifest_are_paired(tmp_path, rng):
    np.save(tmp_path / "a.npy", people(rng, 3))
    (tmp_path / "list.jsonl").write_text(
        '{"video": "v/a.mp4", "skeleton": "a.npy", "label": "run", "subject": 3, '
        '"caption": "Go.", "name": "one", "source": "home"}'
    )
    import_skeletons(str(tmp_path / "list.jsonl"), f"{tmp_path}/out/")
    (record,) = read_manifest(tmp_path / "out.jsonl")
    (same,) = read_manifest(tmp_path / "list.jsonl", SkeletonStore(tmp_path / "out").classes)
    assert record.name == same.name == SkeletonStore(tmp_path / "out").names[0] == "one"
    assert record.source == SkeletonStore(tmp_path / "out").index["source"][0] == "home"
    assert record.video == tmp_path / "v" / "a.mp4"
    assert (record.label, record.subject, record.caption) == (0, 3, "Go.")


def test_frozen_clips_are_told(tmp_path, rng, caplog):
    np.save(tmp_path / "a.npy", np.repeat(people(rng, 1), 5, axis=0))
    caplog.set_level("INFO", "ski_data")
    assert import_skeletons(str(tmp_path / "a.npy"), str(tmp_path / "out")) == 0
    assert "1 clips in which nothing moves: a" in caplog.text


def test_a_failure_at_the_end_leaves_nothing_beside_the_store(tmp_path, rng, monkeypatch):
    np.save(tmp_path / "a.npy", people(rng, 3))
    (tmp_path / "list.csv").write_text("a.mp4,a.npy,0\nb.mp4,b.npy,0\n")

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StoreWriter, "_finish", full)
    with pytest.raises(SkiDataError, match="No space left"):
        import_skeletons(str(tmp_path / "list.csv"), str(tmp_path / "new/out"), skip_bad=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "list.csv"]
