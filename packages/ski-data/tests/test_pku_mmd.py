"""PKU-MMD text and temporal labels become a store of single actions."""

import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_data.pku_mmd import (
    Action,
    PkuMmdError,
    cut,
    prepare_pku_mmd,
    read_actions,
    read_parts,
    read_recording,
)
from ski_data.splits import dataset_classes
from ski_data.store import SkeletonStore

CLASSES = dataset_classes("pku-mmd")


def recording(frames=30, second=(10, 20), seed=0):
    rows = np.random.default_rng(seed).uniform(0.1, 3, (frames, 2, 75)).astype(np.float32)
    absent = np.ones(frames, bool)
    absent[slice(*second)] = False
    rows[absent, 1] = 0
    return rows.reshape(frames, 150)


def write(path, rows):
    path.write_text("\n".join(" ".join(f"{v:.6g}" for v in row) for row in rows) + "\n")
    return path


@pytest.fixture
def raw(tmp_path):
    for name in ("recordings", "labels"):
        (tmp_path / name).mkdir()
    for number, name in enumerate(("0002-L", "0002-M", "0003-R")):
        write(tmp_path / "recordings" / f"{name}.txt", recording(seed=number))
        (tmp_path / "labels" / f"{name}.txt").write_text("51,0,8,1\n12,5,40,2\n\n")
    (tmp_path / "cross-view.txt").write_text(
        "Training videos:\n0002-L, 0002-M, \nValidataion videos:\n0003-R, \n"
    )
    return tmp_path


def test_actions_are_cut_moved_and_named(raw):
    prepare_pku_mmd(str(raw / "recordings"), str(raw / "labels"), str(raw / "store"))
    store = SkeletonStore(raw / "store")
    assert list(store.names) == [
        f"{name}-00{k}" for name in ("0002-L", "0002-M", "0003-R") for k in (0, 1)
    ]
    assert store.classes.names[store.index["label"][0]] == CLASSES.names[50]
    rows = read_recording(raw / "recordings" / "0002-L.txt").reshape(30, 2, 25, 3)
    clip = store.clip("0002-L-001")  # from the sixth frame to the last, two bodies for ten frames
    spine = rows[5, 0, 1]
    np.testing.assert_allclose(clip[:, :, :, 0], (rows[5:, 0] - spine).transpose(2, 0, 1))
    np.testing.assert_allclose(clip[:, 5:15, :, 1], (rows[10:20, 1] - spine).transpose(2, 0, 1))
    assert not clip[:, :5, :, 1].any()


def test_a_part_of_a_protocol(raw):
    store, protocol = raw / "train", str(raw / "cross-view.txt")
    folders = str(raw / "recordings"), str(raw / "labels")
    prepare_pku_mmd(*folders, str(store), protocol, "train")
    assert {name[:6] for name in SkeletonStore(store).names} == {"0002-L", "0002-M"}
    with pytest.raises(InputError, match="together"):
        prepare_pku_mmd(str(raw), str(raw), str(raw / "x"), part="train")
    (raw / "recordings" / "0003-R.txt").unlink()
    with pytest.raises(MissingFileError, match="0003-R"):
        prepare_pku_mmd(*folders, str(raw / "x"), protocol, "test")
    assert not (raw / "x").exists()


def test_frames_and_slots_without_a_body_are_left_out():
    rows = recording(12, (0, 0))
    rows[3:6] = 0
    assert cut(rows, Action(0, 2, 8)).shape == (3, 3, 25, 1)
    assert cut(rows, Action(0, 3, 6)) is None
    swapped = rows.reshape(12, 2, 75)[:, ::-1].reshape(12, 150)
    np.testing.assert_array_equal(cut(swapped, Action(0, 2, 8)), cut(rows, Action(0, 2, 8)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("52,0,8,1", "class 52 is not in 1..51"),
        ("0,0,8,1", "class 0 is not"),
        ("1,8,8,1", "hold none"),
        ("1,30,40,1", "hold none of the recording's 30"),
        ("1,0.5,8,1", "expected"),
        ("1 0 8 1", "expected"),
        ("1,-1,8,1", "expected"),
    ],
)
def test_a_wrong_label_names_the_line(tmp_path, text, word):
    (tmp_path / "a.txt").write_text("1,0,8,1\n" + text)
    with pytest.raises(PkuMmdError, match=rf"a\.txt, line 2: .*{word}"):
        read_actions(tmp_path / "a.txt", CLASSES, 30)


def test_a_wrong_recording_leaves_nothing(raw):
    path = raw / "recordings" / "0003-R.txt"
    good = path.read_text().rstrip("\n")
    for bad, word in (
        (good + " 1", "151 values"),
        (good.rpartition(" ")[0] + " nan", "finite"),
        (good + "x", "could not convert"),
    ):
        path.write_text(bad)
        with pytest.raises(PkuMmdError, match=rf"0003-R\.txt, line 30: .*{word}"):
            prepare_pku_mmd(str(raw / "recordings"), str(raw / "labels"), str(raw / "store"))
        assert sorted(p.name for p in raw.iterdir()) == ["cross-view.txt", "labels", "recordings"]
    path.write_text("")
    with pytest.raises(PkuMmdError, match="no frames"):
        read_recording(path)


def test_parts_must_be_two_and_apart(tmp_path):
    path = tmp_path / "p.txt"
    for text, word in (
        ("a, b", "heading"),
        ("Training videos:\na, b", "two lists"),
        ("Training videos:\na, b\nTest:\nb", "training and test: b"),
    ):
        path.write_text(text)
        with pytest.raises(PkuMmdError, match=word):
            read_parts(path)
