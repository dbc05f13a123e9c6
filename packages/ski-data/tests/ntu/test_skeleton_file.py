import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError, MissingFileError
from ski_data.ntu.skeleton_file import (
    SkeletonFileError,
    parse_skeleton,
    read_skeleton,
    write_skeleton,
)

ID = 72057594037944738


def skeleton_text(bodies_per_frame, newline="\n", rng=None):
    """Text of a recording; bodies_per_frame lists the ids present in each frame."""
    rng = rng or np.random.default_rng(1)
    lines = [str(len(bodies_per_frame))]
    for ids in bodies_per_frame:
        lines.append(str(len(ids)))
        for body in ids:
            lines += [f"{body} 0 1 1 1 1 0 0.1 -0.2 2", "25"]
            for _ in range(25):
                numbers = rng.normal(size=11)
                lines.append(" ".join(f"{n:.7g}" for n in numbers) + " 2")
    return newline.join(lines) + newline


def plain_reading(text):
    """The format read word by word: the oracle of the fast reader."""
    words = iter(text.split())
    joints, ids, frame = [], [], []
    for t in range(int(next(words))):
        for _ in range(int(next(words))):
            ids.append(int(next(words)))
            frame.append(t)
            for _ in range(9):
                next(words)
            joints.append(
                [[float(next(words)) for _ in range(12)][:3] for _ in range(int(next(words)))]
            )
    return np.array(joints, np.float32), ids, frame


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_fast_reader_equals_plain_reading(newline):
    text = skeleton_text([[], [ID], [ID, ID + 1], [], [ID + 1]], newline)
    raw = parse_skeleton(text.encode(), "x.skeleton")
    joints, ids, frame = plain_reading(text)
    assert np.array_equal(raw.joints, joints)
    assert raw.body_id.tolist() == ids
    assert raw.frame.tolist() == frame
    assert raw.frames == 5
    assert (raw.tracking == 2).all()


def test_neighbouring_ids_stay_apart():
    assert float(ID) == float(ID + 1)
    raw = parse_skeleton(skeleton_text([[ID, ID + 1]]).encode(), "x")
    assert len(set(raw.body_id.tolist())) == 2


def test_unusual_spacing_is_read():
    text = skeleton_text([[ID]])
    spaced = "\n".join("  " + line.replace(" ", " \t ") + " " for line in text.splitlines())
    assert np.array_equal(
        parse_skeleton(spaced.encode(), "x").joints, parse_skeleton(text.encode(), "x").joints
    )


def test_write_then_read(tmp_path, rng):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    joints = rng.normal(size=(7, 25, 3)).astype(np.float32)
    write_skeleton(path, joints, body_id=5, colour=rng.uniform(0, 1920, (7, 25, 2)))
    raw = read_skeleton(path)
    assert raw.frames == 7
    assert set(raw.body_id.tolist()) == {5}
    np.testing.assert_allclose(raw.joints, joints, rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "joints", [np.zeros((0, 25, 3)), np.zeros((3, 24, 3)), np.full((3, 25, 3), np.nan)]
)
def test_write_refuses(tmp_path, joints):
    with pytest.raises(InputError, match="joints"):
        write_skeleton(tmp_path / "a.skeleton", joints)
    assert not list(tmp_path.iterdir())


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.skeleton"):
        read_skeleton(tmp_path / "gone.skeleton")


def edited(line, new):
    lines = skeleton_text([[ID], [ID]]).splitlines()
    lines[line - 1] = new(lines[line - 1])
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("\n\n", 1, "empty"),
        ("2\n0\n0\n", 1, "no body"),
        (edited(1, lambda _: "three"), 1, "number of frames"),
        (edited(1, lambda _: "9" * 5000), 1, "number of frames"),
        (edited(3, lambda old: old.replace(str(ID), "9" * 5000)), 3, "body id"),
        (edited(9, lambda old: "1e39" + old[old.index(" ") :]), 9, "not a finite"),
        (edited(1, lambda _: "3"), 57, "ends where"),
        (edited(1, lambda _: "1"), 30, "after the last"),
        (edited(2, lambda _: "2"), 30, "10 values"),
        (edited(2, lambda _: "-1"), 2, "number of bodies"),
        (edited(3, lambda old: old.replace(str(ID), "7.2e16")), 3, "body id"),
        (edited(3, lambda old: old.replace(str(ID), "9" * 30)), 3, "body id"),
        (edited(4, lambda _: "24"), 4, "24 joints"),
        (edited(9, lambda old: old + " 1"), 9, "found 13"),
        (edited(9, lambda old: old.rsplit(" ", 1)[0]), 9, "found 11"),
        (edited(10, lambda old: "abc" + old[old.index(" ") :]), 10, "must be numbers"),
        (edited(10, lambda old: "nan" + old[old.index(" ") :]), 10, "joint 6 is not a finite"),
        (edited(31, lambda old: old + " 3"), 31, "10 values"),
        (edited(33, lambda old: "inf" + old[old.index(" ") :]), 33, "not a finite"),
        (edited(33, lambda old: old[:-1] + "7"), 33, "tracking state"),
        (edited(33, lambda _: ""), 33, "found 0"),
    ],
)
def test_errors_name_file_and_line(text, line, words):
    with pytest.raises(SkeletonFileError, match=words) as caught:
        parse_skeleton(text.encode(), "folder/S001.skeleton")
    assert f"folder/S001.skeleton, line {line}:" in str(caught.value)
    assert "\n" not in str(caught.value)


WHOLE = skeleton_text([[ID], [], [ID, ID + 1]], "\r\n").encode()


def outcome(data):
    """What reading gives, or the text of the typed error."""
    try:
        return parse_skeleton(data, "bad.skeleton"), ""
    except SkeletonFileError as error:
        return None, str(error)


@given(st.integers(0, len(WHOLE) - 1))
def test_truncation_is_always_noticed(length):
    raw, error = outcome(WHOLE[:length])
    if raw is None:
        assert "bad.skeleton, line " in error
    else:  # only the line end is gone
        assert WHOLE[length:] in (b"\n", b"\r\n")
        assert np.array_equal(raw.joints, parse_skeleton(WHOLE, "x").joints)


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3))
def test_damage_gives_a_typed_error_or_finite_numbers(at, garbage):
    damaged = WHOLE[:at] + garbage + WHOLE[at + len(garbage) :]
    raw, error = outcome(damaged)
    if raw is None:
        assert "bad.skeleton, line " in error
    else:
        assert raw.joints.shape[1:] == (25, 3)
        assert np.isfinite(raw.joints).all()


def test_published_names_order(golden):
    files = sorted((golden / "ntu_raw").glob("*.skeleton"))
    assert len(files) == 9
    for path in files:
        joints, ids, frame = plain_reading(path.read_text())
        raw = read_skeleton(path)
        assert np.array_equal(raw.joints, joints)
        assert raw.body_id.tolist() == ids
        assert raw.frame.tolist() == frame
