import pytest

from ski_data.video.endings import fragments_are_whole, matroska_is_short


@pytest.fixture
def check(tmp_path):
    def run(function, data):
        path = tmp_path / "file"
        path.write_bytes(data)
        return function(str(path), len(data))

    return run


def box(kind, content=b"", *, long=False):
    if long:
        return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8, "big") + content
    return (8 + len(content)).to_bytes(4, "big") + kind + content


@pytest.mark.parametrize("long", [False, True])
def test_fragments(check, long):
    data = box(b"moof", b"abc") + box(b"mdat", b"defg", long=long) + box(b"mfra", b"h")
    assert check(fragments_are_whole, data)
    for length in range(len(data)):
        assert not check(fragments_are_whole, data[:length])


def test_fragments_of_nonsense(check):
    for size in (0, 2, 7):
        assert not check(fragments_are_whole, size.to_bytes(4, "big") + b"mfra" + bytes(8))
    assert not check(fragments_are_whole, b"")


def matroska(size_field, content):
    return b"\x1a\x45\xdf\xa3\x83abc" + b"\x18\x53\x80\x67" + size_field + content


@pytest.mark.parametrize("field", [b"\x85", b"\x40\x05", b"\x01\0\0\0\0\0\0\x05"])
def test_matroska(check, field):
    assert not check(matroska_is_short, matroska(field, b"12345"))
    assert not check(matroska_is_short, matroska(field, b"12345 and more"))
    for length in range(5):
        assert check(matroska_is_short, matroska(field, b"1234"[:length]))


def test_live_matroska_does_not_say(check):
    assert not check(matroska_is_short, matroska(b"\xff", b"12"))
    assert not check(matroska_is_short, matroska(b"\x01" + b"\xff" * 7, b"12"))


def test_other_files_are_not_judged(check):
    for data in (b"", b"\0" * 20, b"\x1a\x45\xdf\xa3", b"\x81" * 3):
        assert not check(matroska_is_short, data)
