from __future__ import annotations

import pytest

from ski_eval import ExistingOutputError, InputError, MissingFileError
from ski_eval.files import read_bytes, read_json, write_bytes


def test_write_makes_folders_and_leaves_nothing_else(tmp_path):
    path = write_bytes(tmp_path / "a" / "b.txt", b"one")
    assert path.read_bytes() == b"one"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_other_content_is_refused_unless_asked_for(tmp_path):
    path = write_bytes(tmp_path / "b.txt", b"one")
    assert write_bytes(path, b"one") == path
    with pytest.raises(ExistingOutputError, match=r"b\.txt: exists with other content"):
        write_bytes(path, b"two")
    assert path.read_bytes() == b"one"
    assert write_bytes(path, b"two", overwrite=True).read_bytes() == b"two"
    with pytest.raises(ExistingOutputError, match="is a folder"):
        write_bytes(tmp_path, b"two", overwrite=True)


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("ski_eval.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(tmp_path / "b.txt", b"one")
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device", str(self))

    with pytest.raises(MissingFileError, match="is a folder"):
        read_bytes(tmp_path)
    monkeypatch.setattr("ski_eval.files.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space") as found:
        write_bytes(tmp_path / "b.txt", b"one")
    assert found.value.filename == str(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"{", "line 1"),
        (b'{"a":\n1,}', "line 2"),
        (b"\xff\xfe", "not readable as JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "not readable as JSON"),
    ],
)
def test_bad_json_names_the_file(tmp_path, content, text):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="no such file") as caught:
        read_bytes(tmp_path / "no.json")
    assert caught.value.exit_code == 2
