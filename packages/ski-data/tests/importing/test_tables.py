from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError, MissingFileError
from ski_data.importing.mapping import Confidence, TableColumns
from ski_data.importing.tables import TableError, read_coordinates, read_table


def read(path, confidence=None, missing=False, **columns):
    return read_coordinates(path, TableColumns(**columns), confidence, missing=missing)


@pytest.mark.parametrize("mark", [",", ";", "\t", " ", "  "])
@pytest.mark.parametrize("header", [True, False])
def test_all_columns_in_order(tmp_path, rng, mark, header):
    clip = rng.random((4, 2, 3))
    lines = [mark.join(map(str, row)) for row in clip.reshape(4, 6).tolist()]
    if header:
        lines.insert(0, mark.join("abcdef"))
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = read(tmp_path / "a.csv")
    assert found.names is None
    np.testing.assert_array_equal(found.joints, clip[None])
    assert found.present.all()


def test_columns_by_name_with_frame_body_and_confidence(tmp_path):
    (tmp_path / "a.csv").write_text(
        "note,body,frame,Head.X,Head.Y,Head.Z,foot.x,foot.y,foot.z,Head.p,foot.p\n"
        "b,B,11,7,8,9,1,2,3,1,0.4\n"
        '"a, b",A,10,1,2,3,4,5,6,0.5,0.9\n'
        "c,A,11,4,5,6,7,8,9,1,1\n"
    )
    found = read(
        tmp_path / "a.csv",
        Confidence("{joint}.p"),
        coordinates="{joint}.{axis}",
        frame="frame",
        body="body",
    )
    assert found.names == ("Head", "foot")
    assert found.joints.shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(found.joints[1, 0], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found.joints[0, 1], [[7, 8, 9], [1, 2, 3]])
    expected = [[[False, False], [True, False]], [[True, True], [True, True]]]
    np.testing.assert_array_equal(found.present, expected)


def test_numbered_joints_go_by_their_number(tmp_path):
    (tmp_path / "a.csv").write_text("x10,y10,z10,x9,y9,z9\n1,2,3,4,5,6\n")
    found = read(tmp_path / "a.csv", coordinates="{axis}{joint}")
    assert found.names == ("9", "10")
    np.testing.assert_array_equal(found.joints[0, 0], [[4, 5, 6], [1, 2, 3]])


def test_empty_cells_are_nan_if_said(tmp_path):
    (tmp_path / "a.csv").write_text("1,2,3,,nan,6\n")
    with pytest.raises(TableError, match=r"line 1: column 4 is empty.*missing: nan"):
        read(tmp_path / "a.csv")
    found = read(tmp_path / "a.csv", missing=True)
    np.testing.assert_array_equal(found.joints[0, 0, 1], [np.nan, np.nan, 6])


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("", {}, "is empty"),
        ("a,b,c\n", {}, "no line with a frame"),
        ("1,2,3\n\n1,2\n", {}, "line 3: 2 columns, the first line has 3"),
        ("1,2,3\n1,x,3\n", {}, "line 2: column 2 must be a number"),
        ("1;2,5;3\n", {"header": False}, "line 1: column 2 must be a number with a decimal point"),
        ("1,2\n", {}, "2 columns of coordinates are not x, y and z"),
        ("1,2,3,4\n", {"frame": 4}, "no column 4 for frame, columns are 0..3"),
        ("1,2,3,4\n", {"frame": "t"}, "no header with a column 't'"),
        ("a,b,c,d\n1,2,3,4\n", {"frame": "t"}, "no column 't' for frame; found a, b, c, d"),
        ("1,2,3\n", {"coordinates": "{joint}_{axis}"}, "a header expected"),
        ("a_x,a_y,b\n1,2,3\n", {"coordinates": "{joint}_{axis}"}, "joint a lacks x, y or z"),
        ("a,b,c\n1,2,3\n", {"coordinates": "{joint}_{axis}"}, "none found"),
        ("a_x,a_y,a_x\n1,2,3\n", {"coordinates": "{joint}_{axis}"}, "a_x is there twice"),
        ("0,1,2,3\n0,1,2,3\n", {"frame": 0}, "line 2: frame 0 stands already in line 1"),
        ("0,1,2,3\n0,1,2,3\n", {"body": 0}, "need the number of their frame"),
        ('1,"2,3\n', {"header": False}, "line 1: .*check the quotes"),
    ],
)
def test_bad_tables_name_the_line(tmp_path, text, columns, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(TableError, match=words) as caught:
        read(tmp_path / "a.csv", **columns)
    assert "a.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"), [("{joint}_c", "no column 'a_c'"), ("c", "must have {joint} once")]
)
def test_bad_confidence(tmp_path, name, words):
    (tmp_path / "a.csv").write_text("a_x,a_y,a_z\n1,2,3\n")
    with pytest.raises(InputError, match=words):
        read(tmp_path / "a.csv", Confidence(name), coordinates="{joint}_{axis}")


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError, match="no such table"):
        read_table(tmp_path / "a.csv")


TEXT = b"frame,a_x,a_y,a_z,b_x,b_y,b_z\n1,1.5,2,3,4,5,6\n2,1,2,3,4,5,-6e-3\n"


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, len(TEXT) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_random_damage_is_refused_or_read(tmp_path_factory, at, byte, cut):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    path.write_bytes(TEXT[:at] if cut else TEXT[:at] + bytes([byte]) + TEXT[at + 1 :])
    with suppress(InputError):
        found = read(path, coordinates="{joint}_{axis}", frame="frame")
        assert found.joints.shape[2:] in ((1, 3), (2, 3))
