import errno
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
from ski_data.layouts import KINECT25
from ski_data.ntu import prepare as prepare_module
from ski_data.ntu.prepare import archive, prepare, prepare_store, recording_rows
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.skeleton import valid_frames
from ski_data.store import SkeletonStore, StoreWriter


@pytest.fixture
def raw(tmp_path, rng):
    folder = tmp_path / "raw"
    (folder / "part").mkdir(parents=True)
    for name in ("S001C001P001R001A003", "part/S001C002P003R001A002", "S020C001P045R001A070"):
        write_skeleton(folder / f"{name}.skeleton", rng.normal(size=(4, 25, 3)))
    return folder


def test_store_holds_every_recording(raw, tmp_path):
    prepare("ntu60", str(raw), str(tmp_path / "store"), workers=1)
    store = SkeletonStore(tmp_path / "store")
    assert store.names == ["S001C001P001R001A003", "S001C002P003R001A002"]
    assert store.index["label"].tolist() == [2, 1]
    assert store.index["camera"].tolist() == [1, 2]
    assert store.classes.names[2] == "brushing teeth"
    clip = store.clip(0)
    assert clip.shape == (3, 4, 25, 2)
    assert not clip[..., 1].any()
    assert not clip[:, 0, 1, 0].any()
    assert valid_frames(clip) == 4


def test_ntu120_repeats_the_only_body(raw, tmp_path):
    prepare("ntu120", str(raw), str(tmp_path / "store"), workers=1)
    store = SkeletonStore(tmp_path / "store")
    assert len(store) == 3
    clip = store.clip("S020C001P045R001A070")
    assert np.array_equal(clip[..., 0], clip[..., 1])


@pytest.mark.parametrize(("dataset", "split"), [("ntu60", "CS"), ("ntu120", "CSub")])
def test_archive_from_store_equals_the_published_scripts(golden, tmp_path, dataset, split):
    prepare(dataset, str(golden / "ntu_raw"), str(tmp_path / "store"), workers=1)
    archive(str(tmp_path / "store"), str(tmp_path / "a.npz"), f"{dataset}/xsub")
    with np.load(tmp_path / "a.npz") as archived:
        arrays = {name: archived[name] for name in archived.files}
    with np.load(golden / "ntu_preprocess.npz") as expected:
        for part in ("x_train", "x_test", "y_train", "y_test"):
            assert np.array_equal(arrays[part], expected[f"out_{dataset}_{split}_{part}"])


@pytest.mark.parametrize(("dataset", "protocol"), [("ntu60", "xview"), ("ntu120", "xset")])
def test_archives_come_back_as_they_went(golden, tmp_path, dataset, protocol):
    prepare(dataset, str(golden / "ntu_raw"), str(tmp_path / "s"), workers=1)
    archive(str(tmp_path / "s"), str(tmp_path / "a.npz"), f"{dataset}/{protocol}")
    assert main(["import", str(tmp_path / "a.npz"), str(tmp_path / "t")]) == 0
    archive(str(tmp_path / "t"), str(tmp_path / "b.npz"), f"{dataset}/{protocol}")
    with np.load(tmp_path / "a.npz") as made, np.load(tmp_path / "b.npz") as again:
        assert set(made.files) == {
            f"{key}_{half}" for key in ("x", "y", "files") for half in ("train", "test")
        }
        for name in made.files:
            assert np.array_equal(made[name], again[name])


def test_listed_recordings_are_left_out(raw, tmp_path):
    listed = tmp_path / "missing.txt"
    listed.write_text("S001C001P001R001A003\n")
    prepare("ntu60", str(raw), str(tmp_path / "store"), workers=1, missing=str(listed))
    assert SkeletonStore(tmp_path / "store").names == ["S001C002P003R001A002"]


def test_ntus_own_list_is_the_default(raw, tmp_path):
    (raw / "S001C002P005R002A008.skeleton").write_text("0\n")
    prepare("ntu60", str(raw), str(tmp_path / "store"), workers=1)
    assert len(SkeletonStore(tmp_path / "store")) == 2


def test_a_bad_file_leaves_nothing_behind(raw, tmp_path):
    bad = raw / "S001C001P001R001A009.skeleton"
    bad.write_text("3\n1\n")
    with pytest.raises(InputError, match=r"S001C001P001R001A009\.skeleton, line 2"):
        prepare("ntu60", str(raw), str(tmp_path / "store"), workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_errors(raw, tmp_path):
    out = str(tmp_path / "store")
    with pytest.raises(MissingFileError, match="gone"):
        prepare("ntu60", str(tmp_path / "gone"), out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.skeleton files"):
        prepare("ntu60", str(tmp_path / "empty"), out)
    with pytest.raises(InputError, match="ntu60, ntu120, other"):
        prepare("ntu", str(raw), out)
    shutil.copy(raw / "S001C001P001R001A003.skeleton", raw / "part")
    with pytest.raises(InputError, match="keep one"):
        prepare("ntu60", str(raw), out)
    (tmp_path / "store").mkdir()
    (raw / "part" / "S001C001P001R001A003.skeleton").unlink()
    with pytest.raises(ExistingOutputError):
        prepare("ntu60", str(raw), out)


def test_other_recordings_have_no_missing_list(raw, tmp_path, rng):
    write_skeleton(raw / "S001C002P005R002A008.skeleton", rng.normal(size=(4, 25, 3)))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n" + "".join(f"{i},action {i}\n" for i in range(70)))
    prepare("other", str(raw), str(tmp_path / "s"), classes=str(labels), workers=1)
    store = SkeletonStore(tmp_path / "s")
    assert len(store) == 4
    assert store.classes.names[69] == "action 69"
    prepare_store(raw, tmp_path / "t", workers=1)
    assert SkeletonStore(tmp_path / "t").classes is None


def test_actions_beyond_the_classes(raw, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n0,drink\n1,eat\n")
    with pytest.raises(InputError, match=r"A003\.skeleton: action 3 .*1\.\.2"):
        prepare("ntu60", str(raw), str(tmp_path / "s"), classes=str(labels))


@pytest.mark.slow
def test_processes_give_the_same_store(tmp_path, rng):
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(1, 41):
        write_skeleton(raw / f"S001C001P001R001A{i:03d}.skeleton", rng.normal(size=(3, 25, 3)))
    for workers in (1, 2):
        prepare("ntu60", str(raw), str(tmp_path / str(workers)), workers=workers)
    one, two = (SkeletonStore(tmp_path / str(workers)) for workers in (1, 2))
    assert one.sha256 == two.sha256


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pack(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in files:
            file.write(member, f"nturgb+d_skeletons/{member.name}")


def test_archives_give_the_bytes_of_the_folder(raw, tmp_path):
    prepare("ntu120", str(raw), str(tmp_path / "loose"), workers=1)
    files = sorted(raw.rglob("*.skeleton"))
    pack(tmp_path / "all.zip", files)
    zips = tmp_path / "zips"
    zips.mkdir()
    pack(zips / "s001.zip", files[:2])
    pack(zips / "s018.zip", files[2:])
    for source in (tmp_path / "all.zip", zips):
        out = tmp_path / f"{source.stem}-store"
        prepare("ntu120", str(source), str(out), workers=1)
        assert contents(out) == contents(tmp_path / "loose")


def test_bad_member_is_named_with_its_line(tmp_path):
    bad = tmp_path / "S001C001P001R001A009.skeleton"
    bad.write_text("3\n1\n")
    pack(tmp_path / "raw.zip", [bad])
    where = r"raw\.zip/nturgb\+d_skeletons/S001C001P001R001A009\.skeleton, line 2"
    with pytest.raises(InputError, match=where):
        prepare("ntu60", str(tmp_path / "raw.zip"), str(tmp_path / "store"), workers=1)
    assert not (tmp_path / "store").exists()


KILLED = """
import os, signal, sys
from ski_data.ntu.prepare import prepare
raw, out, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
left = [events]
def audit(frame, event, argument):
    if "ski_data" in frame.f_code.co_filename and "store_" in frame.f_code.co_filename:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return audit
sys.settrace(audit)
prepare("ntu60", raw, out, workers=1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_goes_on(raw, tmp_path, monkeypatch, rng):
    write_skeleton(raw / "S001C001P001R001A004.skeleton", np.ones((40, 25, 3)).cumsum(0))
    prepare("ntu60", str(raw), str(tmp_path / "whole"), workers=1)
    made = []
    monkeypatch.setattr(
        prepare_module, "recording_rows", lambda r: made.append(r.stem) or recording_rows(r)
    )
    for events in (*rng.integers(30, 330, 3), 330):
        out = tmp_path / f"store{events}"
        command = [sys.executable, "-c", KILLED, str(raw), str(out), str(events)]
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
        if not out.exists():
            made.clear()
            journal = tmp_path / f".{out.name}.partial" / "journal.jsonl"
            whole = max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0
            prepare("ntu60", str(raw), str(out), workers=1)
            assert len(made) == 3 - whole
            assert not journal.parent.exists()
        assert contents(out) == contents(tmp_path / "whole")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journal=st.integers(0, 600), joints=st.integers(0, 4000))
def test_any_cut_of_the_unfinished_files_is_mended(raw, tmp_path, journal, joints):
    """What a power failure may leave: either file shorter than it was."""
    for folder in ("a", "b"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    prepare("ntu60", str(raw), str(tmp_path / "a"), workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreWriter, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare("ntu60", str(raw), str(tmp_path / "b"), workers=1)
    work = tmp_path / ".b.partial"
    for path, size in ((work / "journal.jsonl", journal), (work / "store" / "joints.npy", joints)):
        path.write_bytes(path.read_bytes()[:size])
    prepare("ntu60", str(raw), str(tmp_path / "b"), workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def interrupt(*_):
    raise KeyboardInterrupt


def test_other_input_starts_again(raw, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare("ntu60", str(raw), str(tmp_path / "b"), workers=1)
    write_skeleton(raw / "S001C001P001R001A003.skeleton", np.ones((40, 25, 3)).cumsum(0))
    prepare("ntu60", str(raw), str(tmp_path / "a"), workers=1)
    prepare("ntu60", str(raw), str(tmp_path / "b"), workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_full_disk_is_said_and_the_run_goes_on(raw, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "_finish", full)
        with pytest.raises(SkiDataError, match=r"No space left on device.*goes on"):
            prepare("ntu60", str(raw), str(tmp_path / "b"), workers=1)
    assert not (tmp_path / "b").exists()
    prepare("ntu60", str(raw), str(tmp_path / "b"), workers=1)
    SkeletonStore(tmp_path / "b").verify()


@pytest.mark.parametrize("size", [0, 100, 500, 2000, 2500])
def test_where_ever_the_disk_is_full(raw, tmp_path, full_disk, size, capsys):
    """At the joints, the journal or the index: one line, no store, and the next run mends it."""
    command = ["prepare", "ntu60", str(raw), str(tmp_path / "b"), "--workers=1"]
    with full_disk(size):
        assert main(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"ski-data: .*b: cannot be written \(File too large\).*", said[-1])
    assert not (tmp_path / "b").exists()
    assert main(command) == 0
    prepare("ntu60", str(raw), str(tmp_path / "a"), workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_at_random_moments_leave_no_trace(tmp_path, rng, kill_until_done, workers):
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(1, 161):
        name = f"S001C001P001R{1 + i // 61:03d}A{1 + i % 60:03d}.skeleton"
        write_skeleton(raw / name, rng.normal(size=(90, 25, 3)))
    out = tmp_path / "b"
    kills = kill_until_done(out, "prepare", "ntu60", str(raw), str(out), f"--workers={workers}")
    assert kills
    prepare("ntu60", str(raw), str(tmp_path / "a"), workers=1)
    assert contents(tmp_path / "a") == contents(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "raw"]


@pytest.mark.parametrize("size", [0, 2000])
def test_a_full_disk_leaves_no_archive(raw, tmp_path, full_disk, size):
    prepare("ntu60", str(raw), str(tmp_path / "store"), workers=1)
    with full_disk(size), pytest.raises(SkiDataError, match=r"a\.npz: cannot be written"):
        archive(str(tmp_path / "store"), str(tmp_path / "a.npz"), "ntu60/xsub")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "store"]


def test_two_writers_of_one_store(tmp_path):
    with StoreWriter(tmp_path / "b", KINECT25, job="one") as first:
        with (
            pytest.raises(SkiDataError, match="another process"),
            StoreWriter(tmp_path / "b", KINECT25, job="one"),
        ):
            pass
        first.add("a", np.ones((3, 2, 25, 1)))
    assert len(SkeletonStore(tmp_path / "b")) == 1


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_workers_end_with_a_killed_run(tmp_path, rng):
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(1, 121):
        name = f"S001C001P001R{1 + i // 61:03d}A{1 + i % 60:03d}.skeleton"
        write_skeleton(raw / name, rng.normal(size=(300, 25, 3)))
    call = f"prepare('ntu60', {str(raw)!r}, {str(raw)!r} + 's', workers=2)"
    code = f"from ski_data.ntu.prepare import prepare; {call}"
    guarded = tmp_path / "run.py"
    guarded.write_text(f"if __name__ == '__main__':\n    {code}\n")
    run = subprocess.Popen([sys.executable, str(guarded)], stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    until = time.monotonic() + 60
    while (
        len(workers := children.read_text().split()) < 3
        or not (tmp_path / ".raws.partial").exists()
    ) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.5)
    run.kill()
    run.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(workers) >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
