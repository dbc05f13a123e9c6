import errno
import os
import pickle

import numpy as np
import pytest

from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, SkiDataError
from ski_data.layouts import KINECT15, KINECT25
from ski_data.ntu import pyskl
from ski_data.ntu.pyskl import export_pyskl, import_pyskl
from ski_data.store import SkeletonStore, StoreWriter

A, B = "S001C001P001R001A001", "S002C003P002R001A050"


@pytest.fixture
def data(rng):
    joints = rng.normal(size=(2, 2, 6, 25, 3)).astype(np.float16)
    joints[0, 1] = 0
    return {
        "split": {"xsub_train": [A], "xsub_val": [B], "xview_train": [B]},
        "annotations": [
            {"frame_dir": name, "label": label, "keypoint": keypoint, "total_frames": 6}
            for name, label, keypoint in zip((A, B), (0, np.int64(49)), joints, strict=True)
        ],
    }


def save(tmp_path, data, protocol=4):
    path = tmp_path / "ntu60_3danno.pkl"
    path.write_bytes(pickle.dumps(data, protocol))
    return str(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_store_holds_the_joints_and_the_splits(tmp_path, data, protocol):
    assert main(["import-pyskl", save(tmp_path, data, protocol), str(tmp_path / "s")]) == 0
    store = SkeletonStore(tmp_path / "s")
    assert store.names == [A, B]
    assert store.index["label"].tolist() == [0, 49]
    assert store.index["bodies"].tolist() == [1, 2]
    assert store.index["camera"].tolist() == [1, 3]
    assert store.index["xsub"].tolist() == ["train", "val"]
    assert store.index["xview"].tolist() == ["", "train"]
    for i in range(2):
        keypoint = data["annotations"][i]["keypoint"].astype(np.float32)
        assert np.array_equal(store.clip(i), keypoint.transpose(3, 1, 2, 0))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("keypoint", np.zeros((1, 6, 17, 2), np.float16), "17 joints of 2 coordinates"),
        ("keypoint", np.zeros((1, 6, 25, 3), np.float16), "no body"),
        ("keypoint", [1], "must be floats"),
        ("keypoint", np.full((1, 6, 25, 3), np.nan, np.float16), "finite"),
        ("label", "drink", "whole number"),
        ("frame_dir", None, "frame_dir"),
        ("total_frames", 7, "total_frames says 7"),
        ("total_frames", np.zeros(3), "total_frames must be"),
        ("frame_dir", "a" * 300, "frame_dir"),
        ("frame_dir", B, "not there"),
    ],
)
def test_bad_annotations_are_named(tmp_path, data, key, value, text):
    data["annotations"][0][key] = value
    with pytest.raises(InputError, match=rf"ntu60_3danno\.pkl.*{text}"):
        import_pyskl(save(tmp_path, data), str(tmp_path / "s"))
    assert [path.name for path in tmp_path.iterdir()] == ["ntu60_3danno.pkl"]


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"xsub_train": [A], "xsub_val": [A]}, "in train and val of xsub"),
        ({"label_train": [A]}, "cannot be a column"),
        ([A], "dictionary of lists"),
        ({f"x_{i}": [A] for i in range(65)}, "65 splits"),
        ({"xsub_train": ["a" * 300]}, "names of clips"),
    ],
)
def test_bad_splits(tmp_path, data, split, text):
    data["split"] = split
    with pytest.raises(InputError, match=text):
        import_pyskl(save(tmp_path, data), str(tmp_path / "s"))


def test_hostile_pickle_runs_nothing(tmp_path, capsys):
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    assert main(["import-pyskl", save(tmp_path, Call()), str(tmp_path / "s")]) == 2
    assert "refused" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_value_that_folds_out_is_not_printed(tmp_path, data):
    fold = []
    for _ in range(60):
        fold = [fold, fold]
    data["annotations"][0]["total_frames"] = fold
    with pytest.raises(InputError, match="total_frames must be a whole number"):
        import_pyskl(save(tmp_path, data), str(tmp_path / "s"))


def make_store(path, rng, names, layout=KINECT25, **fields):
    with StoreWriter(path, layout) as writer:
        for number, name in enumerate(names):
            clip = rng.normal(size=(3, 4 + number, len(layout.joints), 1 + number % 2))
            writer.add(name, clip.astype(np.float32), **{"label": number, **fields})
    return str(path)


NTU = ("S001C001P001R001A001", "S001C002P003R001A002", "S018C003P002R001A003")


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_any_python_reads_what_is_exported(tmp_path, rng):
    store = make_store(tmp_path / "s", rng, NTU)
    assert main(["export-pyskl", store, str(tmp_path / "a.pkl")]) == 0
    made = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert made["split"] == {
        "xsub_train": [NTU[0]],
        "xsub_val": [NTU[1]],
        "xview_train": [NTU[1]],
        "xview_val": [NTU[0]],
    }
    opened = SkeletonStore(store)
    assert [a["frame_dir"] for a in made["annotations"]] == list(NTU[:2])
    for row, annotation in enumerate(made["annotations"]):
        assert annotation["label"] == row
        assert annotation["total_frames"] == 4 + row
        assert annotation["keypoint"].dtype == np.float32
        assert annotation["keypoint"].flags.writeable
        assert np.array_equal(annotation["keypoint"], opened.tracks(row))
    export_pyskl(store, str(tmp_path / "b.pkl"), "ntu120")
    assert set(pickle.loads((tmp_path / "b.pkl").read_bytes())["split"]) == {
        f"{name}_{half}" for name in ("xsub", "xset") for half in ("train", "val")
    }


def test_import_export_import_changes_nothing(tmp_path, data):
    data["split"]["val"] = [A]
    import_pyskl(save(tmp_path, data), str(tmp_path / "s"))
    export_pyskl(str(tmp_path / "s"), str(tmp_path / "ntu60_3danno.pkl.2"), "other")
    (tmp_path / "ntu60_3danno.pkl").unlink()
    (tmp_path / "ntu60_3danno.pkl.2").rename(tmp_path / "ntu60_3danno.pkl")
    import_pyskl(str(tmp_path / "ntu60_3danno.pkl"), str(tmp_path / "t"))
    stores = [SkeletonStore(tmp_path / name) for name in "st"]
    assert stores[0].sha256 == stores[1].sha256
    assert stores[0].index["split"].tolist() == ["val", ""]


def test_what_cannot_be_exported(tmp_path, rng):
    out = str(tmp_path / "a.pkl")
    other = make_store(tmp_path / "k15", rng, NTU, KINECT15)
    with pytest.raises(InputError, match="not kinect15"):
        export_pyskl(other, out)
    unknown = make_store(tmp_path / "unknown", rng, NTU, label=-1)
    with pytest.raises(InputError, match="no label"):
        export_pyskl(unknown, out)
    store = make_store(tmp_path / "s", rng, NTU)
    with pytest.raises(InputError, match="no column says train"):
        export_pyskl(store, out, "other")
    late = make_store(tmp_path / "late", rng, NTU[2:])
    with pytest.raises(InputError, match="no clip of ntu60"):
        export_pyskl(late, out)
    assert not list(tmp_path.glob("*.pkl"))
    (tmp_path / "a.pkl").touch()
    with pytest.raises(ExistingOutputError):
        export_pyskl(store, out)


def test_a_full_disk_leaves_no_pickle(tmp_path, rng, monkeypatch):
    store = make_store(tmp_path / "s", rng, NTU)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pyskl, "write_plain_pickle", full)
    with pytest.raises(SkiDataError, match=r"a\.pkl: cannot be written \(No space left"):
        export_pyskl(store, str(tmp_path / "a.pkl"))
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
