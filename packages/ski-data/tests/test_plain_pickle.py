import io
import os
import pickle
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data import plain_pickle
from ski_data.errors import MissingFileError
from ski_data.plain_pickle import PickleError, read_plain_pickle, write_plain_pickle


def load(tmp_path, data):
    (tmp_path / "a.pkl").write_bytes(data)
    return read_plain_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays(tmp_path, rng, protocol):
    value = {
        "a": [rng.normal(size=(2, 3, 4)).astype(np.float16), np.float32(2.5), np.int64(-3)],
        "f": np.asfortranarray(rng.normal(size=(3, 2))),
        "in": (np.arange(3), 1),
        "t": ((1080, 1920), None, True, 1.5, "é"),
    }
    got = load(tmp_path, pickle.dumps(value, protocol))
    assert np.array_equal(got["a"][0], value["a"][0])
    assert got["a"][0].dtype == np.float16
    assert got["a"][1:] == [2.5, -3]
    assert np.array_equal(got["f"], value["f"])
    assert got["t"] == value["t"]
    assert got["in"][0].tolist() == [0, 1, 2]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.binary(min_size=1),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN, protocol=st.integers(3, 5))
def test_plain_values(tmp_path, value, protocol):
    assert load(tmp_path, pickle.dumps(value, protocol)) == value


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damage_gives_a_value_or_one_kind_of_error(tmp_path, at, value, cut):
    data = bytearray(pickle.dumps([{"a": np.ones(3)}, "text", np.float32(1)], 4))
    data[at % len(data)] = value
    try:
        load(tmp_path, bytes(data[: cut % (2 * len(data))]))
    except PickleError:
        return
    assert value >= 0


class Call:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_are_refused(tmp_path, protocol):
    mark = tmp_path / "ran"
    with pytest.raises(PickleError, match=r"refused, it asks for 'posix\.system'|nt\.system"):
        load(tmp_path, pickle.dumps(Call(os.system, (f"touch {mark}",)), protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"cnumpy.testing\nrundocs\n.",
        b"c_codecs\ndecode\n.",
        b"\x8c\x05numpy\x8c\x09ndarray.x\x93.",
        b"(S'x'\nios\nsystem\n.",
        b"Pid\n.",
        b"\x82\x01.",
        b"cnumpy\nndarray\n)\x81.",
        b"cnumpy\nndarray\n)R.",
        b"cnumpy\ndtype\n\x8c\x02O8\x85R.",
        b"]}b.",
        b"]K\x01\x85R.",
        b"]a.",
        b"h\x05.",
        b"(.",
        b"t.",
    ],
)
def test_other_tricks_are_refused(tmp_path, data):
    with pytest.raises(PickleError, match=r"a\.pkl: "):
        load(tmp_path, b"\x80\x04" + data)


@pytest.mark.parametrize(
    "data",
    [
        b"X" + struct.pack("<I", 2**31),
        b"B" + struct.pack("<I", 2**32 - 1),
        b"\x8d" + struct.pack("<Q", 2**40),
        b"\x8e" + struct.pack("<Q", 2**40),
        b"\x96" + struct.pack("<Q", 2**40),
        b"\x8b" + struct.pack("<i", 2**31 - 1),
        b"\x8b" + struct.pack("<i", -1),
    ],
)
def test_promised_lengths_are_held_against_the_file(tmp_path, data):
    with pytest.raises(PickleError):
        load(tmp_path, data)


def test_unfolding_is_bounded(tmp_path):
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(PickleError, match="far more than its size"):
        load(tmp_path, b"\x80\x02" + text + again * 40 + b".")


def test_nesting_and_count_are_bounded(tmp_path, monkeypatch):
    with pytest.raises(PickleError, match="too many or too deeply"):
        load(tmp_path, b"(" * 1000 + b"t" * 1000 + b".")
    assert isinstance(load(tmp_path, b")" + b"\x85" * 100_000 + b"."), tuple)
    monkeypatch.setattr(plain_pickle, "MAX_OPCODES", 10)
    with pytest.raises(PickleError, match="too many"):
        load(tmp_path, pickle.dumps(list(range(20)), 4))


def test_a_list_in_itself(tmp_path):
    value = []
    value.append(value)
    got = load(tmp_path, pickle.dumps(value, 4))
    assert got[0] is got


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError):
        read_plain_pickle(tmp_path / "gone.pkl")


def peak_of(tmp_path, data):
    """Bytes that reading took at most, whether or not it was refused."""
    tracemalloc.start()
    try:
        with suppress(PickleError):
            load(tmp_path, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MANY = 1 << 15
DOUBLED = b"]q\x00" + b"".join(b"](h%ch%ce" % (i, i) + b"q%c" % (i + 1) for i in range(60))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**33)[:6],
        b"\x80\x04)" + b"\x94" * MANY + b".",
        b"\x80\x04](" + b"}" * MANY + b"e.",
        b"\x80\x04](" + b"M\x01\x02" * MANY + b"e.",
        b"\x80\x04]" + b"Na" * MANY + b".",
        b"\x80\x04}(" + b"".join(b"J%sN" % struct.pack("<i", i) for i in range(MANY // 8)) + b"u.",
        b"\x80\x04" + DOUBLED + b".",
        b"\x80\x04X"
        + struct.pack("<I", MANY + 4)
        + "\N{GRINNING FACE}".encode()
        + b"a" * MANY
        + b".",
    ],
    ids=["9 bytes", "memo", "dicts", "numbers", "items", "keys", "folded", "wide text"],
)
def test_memory_is_bounded_by_the_file(tmp_path, monkeypatch, data):
    monkeypatch.setattr(plain_pickle, "_FREE_BYTES", MANY)
    assert peak_of(tmp_path, data) < 8 * len(data) + 10 * MANY


PLAIN_CODES = b"(]})tldeasu\x85\x86\x87N\x88\x9402Rb\x93"
LONG_CODES = (
    *(b"K\x01", b"M\x01\x02", b"J\x00\x00\x00\x40", b"\x8a\x04\x00\x00\x00\x40", b"C\x01a"),
    *(b"q\x01", b"h\x00", b"h\x01", b"\x8c\x01a", b"\x8c\x02f8", b"\x8c\x06latin1"),
    *(b"\x8e" + b"\xff" * 8, b"\x96" + b"\x10" * 8, b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"),
    *(b"c_codecs\nencode\n", b"cnumpy.core.multiarray\n_reconstruct\n"),
    *(b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.numeric\n_frombuffer\n"),
)
OPCODES = st.sampled_from([*(bytes([code]) for code in PLAIN_CODES), *LONG_CODES])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(codes=st.lists(OPCODES, max_size=40))
def test_any_opcodes_give_a_value_or_one_kind_of_error_in_little_memory(tmp_path, codes):
    assert peak_of(tmp_path, b"\x80\x04" + b"".join(codes) + b".") < 1 << 20


WRITTEN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(value=WRITTEN)
def test_what_is_written_is_read(value):
    file = io.BytesIO()
    write_plain_pickle(file, value)
    assert pickle.loads(file.getvalue()) == value


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", plain_pickle._DTYPES)
def test_arrays_are_written(tmp_path, rng, kind):
    array = (100 * rng.normal(size=(2, 3, 4))).astype(kind)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    with (tmp_path / "a.pkl").open("wb") as file:
        write_plain_pickle(file, [array, iter((array.T, swapped)), np.int64(3)])
    for got in (read_plain_pickle(tmp_path / "a.pkl"), pickle.loads(file_bytes(tmp_path))):
        assert got[0].dtype == array.dtype
        assert np.array_equal(got[0], array)
        assert np.array_equal(got[1][0], array.T)
        assert np.array_equal(got[1][1], array)
        assert got[2] == 3


def file_bytes(tmp_path):
    return (tmp_path / "a.pkl").read_bytes()


@pytest.mark.parametrize("value", [1.5, b"a", 2**31, object(), np.zeros(2, object), {1.5: 2}])
def test_other_values_are_not_written(value):
    with pytest.raises(PickleError, match="written"):
        write_plain_pickle(io.BytesIO(), value)
