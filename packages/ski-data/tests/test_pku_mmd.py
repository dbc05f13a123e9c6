"""PKU-MMD text and temporal labels become a store of single actions."""

import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data import pku_mmd
from ski_data.cli import main
from ski_data.errors import InputError, MissingFileError
from ski_data.pku_mmd import (
    Action,
    PkuMmdError,
    cut,
    prepare_pku_mmd,
    read_actions,
    read_parts,
    read_recording,
    recording_clips,
)
from ski_data.splits import dataset_classes
from ski_data.store import SkeletonStore, StoreWriter

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


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_stopped_run_reads_finished_recordings_no_more(raw, tmp_path, monkeypatch):
    folders = str(raw / "recordings"), str(raw / "labels")
    (raw / "labels" / "0002-M.txt").write_text("51,0,8,1\n1,21,22,1\n12,5,40,2\n")
    whole = recording(seed=1)
    whole[21:22] = 0  # the second action has no body
    write(raw / "recordings" / "0002-M.txt", whole)
    prepare_pku_mmd(*folders, str(raw / "whole"), workers=1)
    assert len(SkeletonStore(raw / "whole")) == 6
    for stop in range(1, 6):
        out = raw / f"out{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(StoreWriter, "add", stopping(StoreWriter.add, stop))
            with pytest.raises(KeyboardInterrupt):
                prepare_pku_mmd(*folders, str(out), workers=1)
        read = []
        with monkeypatch.context() as patch:
            patch.setattr(pku_mmd, "recording_clips", seen_by(read))
            prepare_pku_mmd(*folders, str(out), workers=1)
        assert contents(out) == contents(raw / "whole")
        assert read == ["0002-L", "0002-M", "0003-R"][(stop - 1) // 2 :]


def stopping(add, left):
    """``add`` that is interrupted after some clips."""
    calls = iter(range(left))

    def stop(writer, *arguments, **fields):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        add(writer, *arguments, **fields)

    return stop


def seen_by(read):
    """``recording_clips`` that notes what it reads."""

    def clips(files):
        read.append(files[0].stem)
        return recording_clips(files)

    return clips


@pytest.mark.parametrize("size", [0, 1000, 30_000])
def test_a_full_disk_is_said_and_the_run_goes_on(raw, full_disk, size, capsys):
    command = ["prepare-pku-mmd", str(raw / "recordings"), str(raw / "labels"), "--workers=1"]
    with full_disk(size):
        assert main([*command, str(raw / "b")]) == 2
    assert "b: cannot be written (File too large)" in capsys.readouterr().err
    assert not (raw / "b").exists()
    assert main([*command, str(raw / "b")]) == 0
    assert main([*command, str(raw / "a")]) == 0
    assert contents(raw / "a") == contents(raw / "b")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_at_random_moments_leave_no_trace(raw, kill_until_done, workers):
    for number in range(10, 40):
        write(raw / "recordings" / f"{number:04d}-L.txt", recording(300, seed=number))
        (raw / "labels" / f"{number:04d}-L.txt").write_text("51,0,80,1\n12,50,240,2\n")
    folders = str(raw / "recordings"), str(raw / "labels")
    out = raw / "b"
    assert kill_until_done(out, "prepare-pku-mmd", *folders, str(out), f"--workers={workers}")
    prepare_pku_mmd(*folders, str(raw / "a"), workers=1)
    assert contents(raw / "a") == contents(out)


def test_bad_workers_and_labels(raw):
    folders = str(raw / "recordings"), str(raw / "labels")
    with pytest.raises(InputError, match="--workers must be 0"):
        prepare_pku_mmd(*folders, str(raw / "x"), workers=-1)
    (raw / "labels" / "0003-R.txt").unlink()
    with pytest.raises(MissingFileError, match=r"1 recordings have no label file: .*0003-R\.txt"):
        prepare_pku_mmd(*folders, str(raw / "x"))
    assert not list(raw.glob(".x*"))


CELLS = st.sampled_from(["0", "1.5", "-2e3", "1e39", "nan", "inf", "x", "1_0", "0x1", "\u0661", ""])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(CELLS, max_size=4),
    count=st.integers(145, 151),
    tail=st.text("1 .x\t\r\u2028\u0661", max_size=4),
)
def test_any_line_is_read_whole_or_named(tmp_path, cells, count, tail):
    path = tmp_path / "a.txt"
    good = " ".join(["0.25"] * 150)
    line = " ".join([*cells, *["3"] * count][: max(count, len(cells))])
    path.write_text(f"{good}\n{line} {tail}\n", encoding="utf-8", newline="")
    rows, text = outcome(read_recording, path)
    if rows is None:
        assert text.startswith(f"{path}, line ")
    else:
        assert rows.shape[1] == 150
        assert np.isfinite(rows).all()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("0123456789,.:-\n -abT\u0661", max_size=40))
def test_any_labels_and_protocols_are_read_or_refused_by_name(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    actions, error = outcome(read_actions, path, CLASSES, 30)
    assert actions is not None or error.startswith(f"{path}, line ")
    assert all(0 <= a.start < a.end <= 30 and 0 <= a.label < 51 for a in actions or ())
    parts, error = outcome(read_parts, path)
    assert error.startswith(str(path)) if parts is None else set(parts) == {"train", "test"}


def test_a_number_of_five_thousand_digits(tmp_path):
    (tmp_path / "a.txt").write_text("1,0," + "9" * 5000)
    with pytest.raises(PkuMmdError, match="line 1: expected"):
        read_actions(tmp_path / "a.txt", CLASSES, 30)


def outcome(read, *arguments):
    """What was read, and else the error's text."""
    try:
        return read(*arguments), ""
    except InputError as error:
        return None, str(error)
