import contextlib
import struct
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data.errors import MissingFileError
from ski_data.ntu import recordings
from ski_data.ntu.recordings import ArchiveError, close_archives, find_recordings, fingerprint

A, B = "S001C001P001R001A001", "S001C001P001R001A002"


@pytest.fixture(autouse=True)
def closed():
    yield
    close_archives()


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_loose_files_and_members_in_order_of_name(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f"{B}.skeleton").write_bytes(b"loose")
    pack(tmp_path / "a.zip", {f"nturgb+d_skeletons/{A}.skeleton": b"packed", "readme.txt": b""})
    found = find_recordings(tmp_path)
    assert [(r.stem, r.read()) for r in found] == [(A, b"packed"), (B, b"loose")]
    assert str(found[0]) == f"{tmp_path}/a.zip/nturgb+d_skeletons/{A}.skeleton"
    assert find_recordings(tmp_path / "a.zip") == found[:1]


def test_fingerprint_follows_the_content(tmp_path):
    path = tmp_path / "a.zip"
    pack(path, {f"{A}.skeleton": b"one"})
    first = fingerprint(find_recordings(path))
    assert fingerprint(find_recordings(path)) == first
    pack(path, {f"{A}.skeleton": b"two"})
    assert fingerprint(find_recordings(path)) != first


@pytest.mark.parametrize("name", ["../x.txt", "/etc/x", "a/../../x", "..\\x", "C:\\x", "c:x"])
def test_members_that_leave_the_archive_are_refused(tmp_path, name):
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"1", name: b"x"})
    with pytest.raises(ArchiveError, match="leads out of the archive"):
        find_recordings(path)


def test_encrypted_members(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=rf"{A}\.skeleton: encrypted"):
        find_recordings(path)


def test_other_packings(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"1"}, zipfile.ZIP_LZMA)
    with pytest.raises(ArchiveError, match="method 14"):
        find_recordings(path)


def test_a_member_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "MEMBER_BYTES", 1000)
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"0" * 1001})
    with pytest.raises(ArchiveError, match=rf"{A}\.skeleton: 1001 bytes unpacked.* 1000"):
        find_recordings(path)


def test_a_member_larger_than_it_says(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"0" * 100_000})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=rf"{A}\.skeleton: damaged"):
        find_recordings(path)[0].read()


def test_members_that_overlap(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"1", f"{B}.skeleton": b"2"})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 20
    data[at : at + 4] = struct.pack("<I", 1 << 20)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="overlap"):
        find_recordings(path)


def test_damage_names_the_member(tmp_path):
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": b"0123456789"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123x56789"))
    with pytest.raises(ArchiveError, match=rf"{A}\.skeleton: damaged in the archive \(Bad CRC"):
        find_recordings(path)[0].read()


def test_a_name_twice(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{A}.skeleton", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr(f"{A}.skeleton", "2")
    with pytest.raises(ArchiveError, match="twice"):
        find_recordings(path)


def test_no_archive(tmp_path):
    (tmp_path / "a.zip").write_text("no zip")
    with pytest.raises(ArchiveError, match=r"a\.zip: not a readable zip archive"):
        find_recordings(tmp_path)
    with pytest.raises(MissingFileError, match="gone"):
        find_recordings(tmp_path / "gone")
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / f"{A}.skeleton").write_text("0")
    found = find_recordings(loose)
    (loose / f"{A}.skeleton").unlink()
    with pytest.raises(MissingFileError, match=A):
        found[0].read()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 399), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_damaged_archives_give_one_kind_of_error(tmp_path, at, value, cut):
    content = bytes(range(200))
    path = pack(tmp_path / "a.zip", {f"{A}.skeleton": content}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[at % len(data)] = value
    path.write_bytes(data[: max(cut, 1)] if cut < 300 else data)
    close_archives()
    with contextlib.suppress(ArchiveError):
        assert all(recording.read() == content for recording in find_recordings(path))
