import errno
import json
import pickle
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
from ski_data.manifest import Record
from ski_data.processes import locked
from ski_data.video import cache_run
from ski_data.video.cache import FRAMES, INDEX, META, VideoStore, VideoStoreError, write_video_store
from ski_data.video.clips import CacheConfig, read_clip
from ski_data.video.decode import VideoError, read_all


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    sizes = {"wide": (12, 64, 96), "tall": (20, 96, 64), "long": (32, 64, 64)}
    for name, (frames, height, width) in sizes.items():
        write_video(folder / f"{name}.mp4", frames=frames, height=height, width=width)
    return [
        Record(name, video=folder / f"{name}.mp4", label=label)
        for name, label in zip(sizes, (2, None, 0), strict=True)
    ]


@pytest.fixture(scope="module")
def store(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores") / "store"
    return write_video_store(folder, records, short_side=32, max_frames=24, progress=False)


def test_content(store, records):
    assert store.names == ["wide", "tall", "long"]
    assert len(store) == 3
    assert store.index["label"].tolist() == [2, -1, 0]
    assert store.index["frames"].tolist() == [12, 20, 24]
    assert store.index["source_frames"].tolist() == [12, 20, 32]
    for i, record in enumerate(records):
        expected = read_all(record.video, 24, short_side=32)
        np.testing.assert_array_equal(store.clip(i), expected)
        np.testing.assert_array_equal(store.frames(record.name, [5, 0, 5]), expected[[5, 0, 5]])
    assert store.clip("tall").shape == (20, 48, 32, 3)
    assert store.length("wide") == 12
    store.verify()


def test_frames_are_a_copy(store):
    frames = store.frames(0, [0, 1])
    assert type(frames) is np.ndarray
    frames[:] = 0
    assert store.clip(0).any()
    with pytest.raises(ValueError, match="read-only"):
        store.clip(0)[:] = 0


def test_workers_do_not_change_the_content(store, records, tmp_path):
    other = write_video_store(
        tmp_path / "s", records, short_side=32, max_frames=24, workers=2, progress=False
    )
    assert other.sha256 == store.sha256
    assert (other.folder / FRAMES).read_bytes() == (store.folder / FRAMES).read_bytes()


def test_pickled_stores_map_the_file_again(store):
    data = pickle.dumps(store)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).clip(1), store.clip(1))


def test_unknown_clips_and_frames(store):
    for which in ("none", 3, -1):
        with pytest.raises(InputError, match="clip"):
            store.clip(which)
    for indices in ([12], [-1], []):
        with pytest.raises(InputError, match=r"frames 0\.\.11"):
            store.frames("wide", indices)


def test_nothing_is_overwritten(store, records):
    with pytest.raises(ExistingOutputError, match="there already"):
        write_video_store(store.folder, records)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_video_leaves_nothing_behind(workers, records, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    bad = [*records[:1], Record("bad", video=tmp_path / "bad.mp4")]
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        write_video_store(tmp_path / "s", bad, workers=workers, progress=False)
    with pytest.raises(MissingFileError, match=r"gone\.mp4"):
        write_video_store(
            tmp_path / "s", [Record("a", video=tmp_path / "gone.mp4")], progress=False
        )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


def bad_clips(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    return [Record(name, video=tmp_path / f"{name}.mp4", label=1) for name in ("bad", "gone")]


def test_all_bad_videos_are_listed_at_once(records, tmp_path):
    clips = [*bad_clips(tmp_path), *records]
    with pytest.raises(VideoError, match=r"bad\.mp4.*gone\.mp4.*skip_bad"):
        write_video_store(tmp_path / "s", clips, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


def test_bad_videos_are_left_out_on_demand(store, records, tmp_path):
    clips = [*bad_clips(tmp_path), *records]
    options = {"short_side": 32, "max_frames": 24, "progress": False}
    made = write_video_store(tmp_path / "s", clips, skip_bad=True, **options)
    assert made.sha256 == store.sha256
    rejected = tmp_path / "s.rejected.jsonl"
    rows = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [row["name"] for row in rows] == ["bad", "gone"]
    assert "no such video" in rows[1]["reason"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.mp4", "s", "s.rejected.jsonl"]
    rejected.rename(tmp_path / "t.rejected.jsonl")
    with pytest.raises(ExistingOutputError, match="rejected"):
        write_video_store(tmp_path / "t", clips, skip_bad=True, **options)
    with pytest.raises(InputError, match="no clip can be used"):
        write_video_store(tmp_path / "u", clips[:2], skip_bad=True, **options)
    assert not list(tmp_path.glob("*u*"))


def fail_at(monkeypatch, name, error):
    """Let the decoding of one clip fail, after the look at it went well."""

    def read(clip, planned):
        if clip.name == name:
            raise error
        return read_clip(clip, planned)

    monkeypatch.setattr(cache_run, "read_clip", read)


OPTIONS = {"short_side": 32, "max_frames": 24, "progress": False}


def test_videos_that_turn_out_bad_when_decoded(store, records, tmp_path, monkeypatch):
    fail_at(monkeypatch, "tall", VideoError("tall.mp4: damaged near frame 7"))
    with pytest.raises(VideoError, match=r"tall\.mp4: damaged.*are kept for the next run"):
        write_video_store(tmp_path / "s", records, **OPTIONS)
    assert not (tmp_path / "s").exists()
    made = write_video_store(tmp_path / "s", records, skip_bad=True, **OPTIONS)
    assert made.names == ["wide", "long"]
    made.verify()
    np.testing.assert_array_equal(made.clip("long"), store.clip("long"))
    assert made.index["offset"].tolist() == [0, 12 * 32 * 48 * 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "s.rejected.jsonl"]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_full_disk_is_said_and_the_run_goes_on(store, records, tmp_path, monkeypatch):
    done = []

    def full(clip, planned):
        done.append(clip.name)
        if len(done) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return read_clip(clip, planned)

    with monkeypatch.context() as patch:
        patch.setattr(cache_run, "read_clip", full)
        with pytest.raises(SkiDataError, match=r"No space left on device.*goes on") as told:
            write_video_store(tmp_path / "s", records, **OPTIONS)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "s").exists()
    patched = []
    monkeypatch.setattr(
        cache_run, "read_clip", lambda *each: patched.append(each[0].name) or read_clip(*each)
    )
    write_video_store(tmp_path / "s", records, **OPTIONS)
    assert patched == ["tall", "long"]
    assert contents(tmp_path / "s") == contents(store.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes")
@pytest.mark.parametrize("room", [1000, 60_000])
def test_no_room_for_the_frames(records, tmp_path, room):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(SkiDataError, match="cannot be written"):
            write_video_store(tmp_path / "s", records, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_said_before_decoding(records, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache_run.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(SkiDataError, match="free space"):
        write_video_store(tmp_path / "s", records, **OPTIONS)
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from ski_data.manifest import Record
from ski_data.video.cache import write_video_store
left = [int(sys.argv[1])]
def audit(frame, event, argument):
    if frame.f_code.co_filename.endswith(("cache.py", "cache_run.py")):
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return audit
labels = {"wide": 2, "tall": None, "long": 0}
records = [Record(Path(p).stem, video=Path(p), label=labels[Path(p).stem]) for p in sys.argv[3:]]
sys.settrace(audit)
write_video_store(sys.argv[2], records, short_side=32, max_frames=24, progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_goes_on(store, records, tmp_path, monkeypatch, rng):
    redone = []
    monkeypatch.setattr(
        cache_run, "read_clip", lambda *each: redone.append(each[0].name) or read_clip(*each)
    )
    videos = [str(record.video) for record in records]
    kept = 0
    for events in (*rng.integers(150, 500, 3), 560):
        out = tmp_path / f"store{events}"
        command = [sys.executable, "-c", KILLED, str(events), str(out), *videos]
        if subprocess.run(command, capture_output=True).returncode != -signal.SIGKILL:
            assert contents(out) == contents(store.folder)
            continue
        journal = tmp_path / f".{out.name}.partial" / "journal.jsonl"
        whole = journal.read_bytes().count(b"\n") if journal.exists() else 0
        if not out.exists():
            redone.clear()
            write_video_store(out, records, **OPTIONS)
            assert len(redone) == 3 - whole
            kept += whole
        assert contents(out) == contents(store.folder)
        shutil.rmtree(journal.parent, ignore_errors=True)
    assert kept


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(journal=st.integers(0, 400), frames=st.integers(0, 250_000), plan=st.integers(0, 600))
def test_any_cut_of_the_unfinished_files_is_mended(store, records, tmp_path, journal, frames, plan):
    """What a power failure may leave: each file shorter than it was."""
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_run.Run, "_put_together", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_video_store(tmp_path / "s", records, **OPTIONS)
    for part, size in (("journal.jsonl", journal), ("frames.bin", frames), ("plan.json", plan)):
        path = tmp_path / ".s.partial" / part
        path.write_bytes(path.read_bytes()[:size])
    write_video_store(tmp_path / "s", records, **OPTIONS)
    assert contents(tmp_path / "s") == contents(store.folder)


def interrupt(*_):
    raise KeyboardInterrupt


def test_other_settings_start_again(store, records, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_run.Run, "_put_together", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_video_store(tmp_path / "s", records, short_side=16, progress=False)
    write_video_store(tmp_path / "s", records, **OPTIONS)
    assert contents(tmp_path / "s") == contents(store.folder)


def test_a_process_that_dies_costs_its_clip_only(records, tmp_path):
    clips = [Record(str(i), video=tmp_path / f"{i}.mp4") for i in range(12)]
    run = cache_run.Run(tmp_path, clips, CacheConfig(), workers=2, progress=False)
    jobs = dict.fromkeys(range(12), "6 * 7") | {2: "__import__('os')._exit(3)"}
    try:
        results = dict(run._map(eval, jobs))
    finally:
        run.close()
    assert "2.mp4: the process that read it died" in results.pop(2).text
    assert results == {i: 42 for i in range(12) if i != 2}


def test_two_writers_of_one_store(records, tmp_path):
    (tmp_path / ".s.partial").mkdir()
    with (
        locked(tmp_path / ".s.partial" / "lock"),
        pytest.raises(SkiDataError, match="another process"),
    ):
        write_video_store(tmp_path / "s", records, **OPTIONS)
    write_video_store(tmp_path / "s", records, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_bad_requests(records, tmp_path):
    with pytest.raises(InputError, match="at least one"):
        write_video_store(tmp_path / "s", [])
    with pytest.raises(InputError, match="has no video"):
        write_video_store(tmp_path / "s", [Record("a")])
    with pytest.raises(InputError, match="used twice"):
        write_video_store(tmp_path / "s", [records[0]] * 2)
    with pytest.raises(InputError, match="at least 1"):
        write_video_store(tmp_path / "s", records, short_side=0)


def damaged(store, tmp_path, part, change):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (FRAMES, INDEX, META):
        data = (store.folder / name).read_bytes()
        (folder / name).write_bytes(change(data) if name == part else data)
    return folder


@pytest.mark.parametrize("part", [FRAMES, INDEX, META])
def test_cut_stores_are_refused(store, tmp_path, part):
    with pytest.raises(VideoStoreError, match="copy"):
        VideoStore(damaged(store, tmp_path, part, lambda data: data[: len(data) // 2]))


def test_changed_stores_fail_verification(store, tmp_path):
    folder = damaged(store, tmp_path, FRAMES, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(VideoStoreError, match="clip long does not fit"):
        VideoStore(folder).verify()


def test_other_formats_are_refused(store, tmp_path):
    def newer(data):
        return json.dumps(json.loads(data) | {"format": 3}).encode()

    with pytest.raises(VideoStoreError, match="format 3"):
        VideoStore(damaged(store, tmp_path, META, newer))
    with pytest.raises(MissingFileError, match="no such video store"):
        VideoStore(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"meta\.json is missing"):
        VideoStore(tmp_path / "empty")


def test_command(records, tmp_path, capsys):
    manifest = tmp_path / "list.csv"
    manifest.write_text("".join(f"{record.video},1\n" for record in records))
    out = tmp_path / "store"
    arguments = ["cache", str(manifest), str(out), "--short_side", "16", "--workers", "1"]
    assert main(arguments) == 0
    assert "3 clips, 64 frames" in capsys.readouterr().out
    assert VideoStore(out).short_side == 16
    assert main(arguments) == 2
    assert "there already" in capsys.readouterr().err
    manifest.write_text("gone.mp4,0\n")
    assert main(["cache", str(manifest), str(tmp_path / "other")]) == 2
    assert "gone.mp4: no such video" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
