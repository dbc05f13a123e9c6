import os
import pickle

import numpy as np
import pytest

from ski_data.cli import main
from ski_data.errors import InputError
from ski_data.ntu.pyskl import import_pyskl
from ski_data.store import SkeletonStore

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
