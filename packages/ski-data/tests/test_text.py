from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError, MissingFileError
from ski_data.text import json_lines, read_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "lines.jsonl"


@given(values=st.lists(VALUES), ascii_=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_json_lines_are_read_as_written(path, values, ascii_, end):
    lines = [json.dumps(value, ensure_ascii=ascii_) for value in values]
    path.write_bytes("".join(line + end for line in lines).encode())
    step = 2 if end == "\n\n" else 1
    assert list(json_lines(path)) == [(1 + step * n, value) for n, value in enumerate(values)]


def test_wrong_line_is_named(path):
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(InputError, match=r"lines\.jsonl, line 3: not JSON"):
        list(json_lines(path))
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="line 1: not JSON"):
        list(json_lines(path))


def test_text_is_utf_8_without_its_mark(path, tmp_path):
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read_text(path) == "a\nb\nc"
    path.write_bytes(b"a\nb\n\xff")
    with pytest.raises(InputError, match="line 3: not UTF-8"):
        read_text(path)
    for missing in (tmp_path / "none", tmp_path, path / "inside"):
        with pytest.raises(MissingFileError, match="no such list"):
            read_text(missing, "list")
