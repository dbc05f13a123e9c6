from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_skeleton.zeroshot.features import FeatureSet, load_features, save_features


def small(**changed):
    numbers = np.array([0, 1, 1])
    values = {
        "names": ("a", "b", "ü"),
        "labels": numbers,
        "subjects": numbers,
        "cameras": numbers,
        "setups": numbers,
        "classes": ("sit", "wave"),
        "features": np.eye(3, dtype=np.float32),
        "trained_on": ("sit",),
        "meta": {"encoder": "x"},
    }
    return FeatureSet(**(values | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"trained_on": None},
        {"trained_on": ()},
        {
            "maps": np.ones((3, 3, 2, 4), np.float32),
            "masked": np.zeros((3, 2, 3), np.float32),
        },
        {"columns": {"style": np.array([4, 0, 1])}},
    ],
)
def test_round_trip(tmp_path, changed):
    features = small(**changed)
    path = save_features(features, tmp_path / "new" / "f.safetensors")
    found = load_features(path)
    for name in ("names", "classes", "trained_on", "meta"):
        assert getattr(found, name) == getattr(features, name)
    for name in ("labels", "subjects", "cameras", "setups", "features", "maps", "masked"):
        ours, theirs = getattr(found, name), getattr(features, name)
        assert (ours is None) == (theirs is None)
        assert ours is None or np.array_equal(ours, theirs)
    assert {k: v.tolist() for k, v in found.columns.items()} == {
        k: v.tolist() for k, v in features.columns.items()
    }
    with pytest.raises(ExistingOutputError, match="already there"):
        save_features(features, path)
    assert [p.name for p in path.parent.iterdir()] == ["f.safetensors"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"names": ("a", "a", "b")}, "two clips of one name"),
        ({"classes": ("x", "x")}, "two classes"),
        ({"columns": {"style": np.array([4.0, 0, 1])}}, "column style must be 3 whole numbers"),
        ({"labels": np.array([0, 1, 2])}, r"labels must be in 0\.\.1"),
        ({"subjects": np.array([1.0, 2, 3])}, "subjects must be 3 whole"),
        ({"features": np.eye(3)}, "features must be float32"),
        ({"features": np.full((3, 2), np.nan, np.float32)}, "NaN"),
        ({"masked": np.zeros((3, 1, 2), np.float32)}, "2 wide, the others 3"),
        ({"maps": np.zeros((2, 3, 2, 2), np.float32)}, "maps must be"),
    ],
)
def test_what_does_not_fit_together(changed, text):
    with pytest.raises(InputError, match=text):
        small(**changed)


def test_numbers_by_column():
    features = small(columns={"style": np.array([4, 0, 1])})
    assert features.column("style").tolist() == [4, 0, 1]
    assert features.column("setup").tolist() == [0, 1, 1]
    with pytest.raises(InputError, match="no column 'take' of whole numbers; they have subject"):
        features.column("take")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        load_features(tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="give such a name"):
        save_features(small(), tmp_path / "f.npz")
    broken = tmp_path / "f.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        load_features(broken)
    safetensors.numpy.save_file({"features": np.eye(3)}, broken, metadata={"ski": "{}"})
    with pytest.raises(InputError, match="of this version"):
        load_features(broken)
    safetensors.numpy.save_file({"features": np.eye(3)}, broken)
    with pytest.raises(InputError, match="no file of features"):
        load_features(broken)


def test_changed_content_names_the_file(tmp_path):
    path = save_features(small(), tmp_path / "f.safetensors")
    with safetensors.safe_open(path, "np") as file:
        header, arrays = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    safetensors.numpy.save_file(arrays | {"labels": arrays["labels"] + 1}, path, header)
    with pytest.raises(InputError, match=r"f\.safetensors: features: labels must be"):
        load_features(path)
    assert replace(small(), names=["p", "q", "r"]).names == ("p", "q", "r")
