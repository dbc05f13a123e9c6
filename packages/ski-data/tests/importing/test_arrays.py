from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError, MissingFileError
from ski_data.importing.arrays import load_arrays, read_arrays
from ski_data.importing.mapping import ImportMapping


def test_only_the_wanted_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(2), b=np.ones(3))
    assert set(load_arrays(tmp_path / "a.npz")) == {"a", "b"}
    assert set(load_arrays(tmp_path / "a.npz", {"b", "c"})) == {"b"}
    with pytest.raises(InputError, match="no array 'joints', found a, b"):
        read_arrays(tmp_path / "a.npz", ImportMapping(), "joints")
    with pytest.raises(MissingFileError, match="no such file"):
        load_arrays(tmp_path / "b.npz")


def test_names_of_joints(tmp_path, rng):
    joints, names = rng.random((4, 3, 3)), np.array(["a", "b", "c"])
    np.savez(tmp_path / "a.npz", joints=joints, names=names)
    found = read_arrays(tmp_path / "a.npz", ImportMapping(joint_names="names"), "joints")
    assert found.names == ("a", "b", "c")
    found = read_arrays(tmp_path / "a.npz", ImportMapping(joint_names=("x", "y", "z")), "joints")
    assert found.names == ("x", "y", "z")
    for wanted, words in (("gone", "no array 'gone' with joint names"), ("joints", "must hold")):
        with pytest.raises(InputError, match=words):
            read_arrays(tmp_path / "a.npz", ImportMapping(joint_names=wanted), "joints")


@pytest.mark.parametrize("array", [np.array([{}], object), np.array(["a"]), np.ones(3, complex)])
def test_no_numbers(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"never loaded|numbers expected"):
        read_arrays(tmp_path / "a.npy", ImportMapping(), "joints")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_random_damage_is_refused_or_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("arrays")
    ending = data.draw(st.sampled_from(["npy", "npz"]))
    path = folder / f"a.{ending}"
    array = np.arange(150.0).reshape(2, 25, 3)
    np.save(path, array) if ending == "npy" else np.savez(path, joints=array)
    whole = path.read_bytes()
    at = data.draw(st.one_of(st.integers(0, 200), st.integers(0, len(whole) - 1)))
    byte = bytes([data.draw(st.integers(0, 255))])
    path.write_bytes(
        whole[:at] if data.draw(st.booleans()) else whole[:at] + byte + whole[at + 1 :]
    )
    with suppress(InputError):
        assert read_arrays(path, ImportMapping(), "joints").joints.shape[-1] == 3
