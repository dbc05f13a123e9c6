import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import MissingFileError
from ski_data.importing.mat import MatError, read_mat

scipy_io = pytest.importorskip("scipy.io")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">f8"]
)
def test_arrays_come_back(tmp_path, rng, kind, compressed):
    arrays = {
        "d_skel": (rng.uniform(0, 9, (20, 3, 7))).astype(kind),
        "one": np.array([[3]], kind),
        "none": np.zeros((0, 3), kind),
    }
    scipy_io.savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.isnative


def test_what_is_no_array_of_numbers_is_left_out(tmp_path):
    content = {"x": np.ones((2, 2)), "t": "text", "s": {"a": 1}, "c": np.ones(2) * 1j}
    scipy_io.savemat(tmp_path / "a.mat", content)
    assert set(read_mat(tmp_path / "a.mat")) == {"x"}


def test_other_formats_say_what_to_do(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(MissingFileError, match="no such MATLAB"):
        read_mat(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform" + bytes(600))
    with pytest.raises(MatError, match=r"save\(file, 'name', '-v7'\)"):
        read_mat(path)
    scipy_io.savemat(path, {"x": np.ones(3)}, format="4")
    with pytest.raises(MatError, match="level 5"):
        read_mat(path)


def test_a_size_that_is_not_there_asks_for_no_memory(tmp_path):
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"x": np.ones(3)})
    head = path.read_bytes()[:128]
    path.write_bytes(head + struct.pack("<II", 14, 0xFFFFFFF0))
    with pytest.raises(MatError, match="longer than the file"):
        read_mat(path)


def _saved(compressed):
    file = io.BytesIO()
    arrays = {"x": np.arange(12.0).reshape(2, 3, 2), "y": np.ones((1, 2))}
    scipy_io.savemat(file, arrays, do_compression=compressed)
    return file.getvalue()


SAVED = [_saved(True), _saved(False)]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_random_damage_is_refused_or_read(tmp_path_factory, data):
    whole = data.draw(st.sampled_from(SAVED))
    at = data.draw(st.integers(100, len(whole) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    damaged = whole[:at] if data.draw(st.booleans()) else whole[:at] + byte + whole[at + 1 :]
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    path.write_bytes(damaged)
    with suppress(MatError):
        assert all(array.dtype.kind in "fiu" for array in read_mat(path).values())
