import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_data.video.decode import VideoError, probe, read_all, read_frames
from ski_data.video.guarded import GuardedReader

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")


@pytest.fixture(scope="module")
def reader():
    with GuardedReader(timeout=60) as reader:
        yield reader


def hang(reader):
    """Stop the child, so that it answers nothing."""
    os.kill(reader._child.pid, signal.SIGSTOP)


def test_the_same_as_in_this_process(reader, clip_file, avi_file):
    for path in (clip_file, avi_file):
        assert reader.probe(path) == probe(path)
        frames = reader.read_frames(path, [7, 0, 7], short_side=32)
        np.testing.assert_array_equal(frames, read_frames(path, [7, 0, 7], short_side=32))
        assert frames.flags.writeable
        frames = reader.read_all(path, 5, size=(20, 30))
        np.testing.assert_array_equal(frames, read_all(path, 5, size=(20, 30)))
    assert reader.read_frames(clip_file, np.array([3])).shape == (1, 64, 96, 3)


def test_one_child_serves_many_files(reader, clip_file, avi_file):
    reader.probe(clip_file)
    child = reader._child.pid
    for path in (clip_file, avi_file):
        reader.read_frames(path, [0])
    assert reader._child.pid == child


def test_errors_are_those_of_the_plain_reader(reader, clip_file, tmp_path):
    for kind, path in (
        (MissingFileError, tmp_path / "none.mp4"),
        (VideoError, tmp_path),
        (VideoError, "nul\0byte.mp4"),
    ):
        with pytest.raises(kind) as plain:
            probe(path)
        with pytest.raises(kind) as guarded:
            reader.probe(path)
        assert str(guarded.value) == str(plain.value)
    for indices in ([32], [-1], []):
        with pytest.raises(InputError, match=r"clip\.mp4: frames"):
            reader.read_frames(clip_file, indices)
    with pytest.raises(InputError, match="whole numbers"):
        reader.read_frames(clip_file, [0.5])
    with pytest.raises(InputError, match="not both"):
        reader.read_frames(clip_file, [0], short_side=3, size=(3, 3))


def test_names_are_those_of_the_caller(reader, clip_file, tmp_path, monkeypatch):
    (tmp_path / "here.mp4").write_bytes(clip_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert reader.probe("here.mp4").frames == 32
    with pytest.raises(MissingFileError, match=r"gone\.mp4"):
        reader.probe("gone.mp4")


def test_a_file_that_takes_too_long(clip_file):
    with GuardedReader(timeout=60) as reader:
        reader.probe(clip_file)
        hang(reader)
        reader.timeout = 0.3
        start = time.monotonic()
        with pytest.raises(VideoError, match=r"clip\.mp4: not read within 0\.3 s"):
            reader.read_frames(clip_file, [0])
        assert time.monotonic() - start < 20
        reader.timeout = 60
        assert reader.read_frames(clip_file, [0]).shape == (1, 64, 96, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_file_that_ends_the_child(clip_file, reader):
    reader.probe(clip_file)
    hang(reader)
    killer = threading.Timer(0.2, os.kill, (reader._child.pid, signal.SIGSEGV))
    killer.start()
    wake = threading.Timer(0.3, os.kill, (reader._child.pid, signal.SIGCONT))
    wake.start()
    with pytest.raises(
        VideoError, match=r"clip\.mp4: ended the process that read it \(signal 11\)"
    ):
        reader.read_frames(clip_file, [0])
    wake.join()
    assert reader.read_frames(clip_file, [0]).shape == (1, 64, 96, 3)


def test_a_child_that_died_between_calls(clip_file, reader):
    reader.probe(clip_file)
    reader._child.kill()
    reader._child.wait()
    assert reader.probe(clip_file).frames == 32


@linux
def test_memory_of_the_child_is_bounded(tmp_path, write_texture):
    path = write_texture(tmp_path / "large.avi", codec="mpeg4", frames=6, height=1200, width=1600)
    with GuardedReader(timeout=60, memory=32 << 20) as reader:
        with pytest.raises(VideoError, match=r"large\.avi.*memory"):
            reader.read_all(path)
        frames = reader.read_frames(
            write_texture(tmp_path / "small.avi", codec="mpeg4", frames=3), [2]
        )
        assert frames.shape == (1, 64, 112, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused(reader, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="a pipe"):
        reader.probe(tmp_path / "pipe.mp4")


ANSWERS = {
    "silence": b"",
    "no json": b"\x04\x00\x00\x00spam",
    "no object": b"\x02\x00\x00\x00[]",
    "a long head": b"\xff\xff\xff\xff",
    "far too large": b'{"shape": [1000000, 9000, 9000, 3]}',
    "other axes": b'{"shape": [1, 4, 4]}',
    "other frames": b'{"shape": [2, 1, 1, 3]}' + bytes(6),
    "no frames": b"{}",
    "cut pictures": b'{"shape": [1, 64, 96, 3]}' + bytes(99),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_child_that_was_taken_over(name, clip_file):
    """What a child says is not believed: it may run a stranger's code by then."""
    answer = ANSWERS[name]
    if answer.startswith(b"{"):
        answer = (answer.index(b"}") + 1).to_bytes(4, "little") + answer
    code = (
        "import sys; sys.stdin.buffer.read(4); "
        f"sys.stdout.buffer.write({answer!r}); sys.stdout.flush()"
    )
    with GuardedReader(timeout=60) as reader:
        reader._child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        reader._owner = os.getpid()
        with pytest.raises(VideoError, match=r"clip\.mp4: (ended the process|the process that)"):
            reader.read_frames(clip_file, [0])


def test_pickled_readers_start_their_own_child(reader, clip_file):
    reader.probe(clip_file)
    with pickle.loads(pickle.dumps(reader)) as other:
        assert (other.timeout, other.memory) == (reader.timeout, reader.memory)
        assert other._child is None
        assert other.probe(clip_file).frames == 32
        assert other._child.pid != reader._child.pid


def test_threads_take_turns(reader, clip_file, numbers):
    seen = {}

    def read(number):
        seen[number] = numbers(reader.read_frames(clip_file, [number]))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: [number] for number in range(6)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_child_ends_with_its_parent(clip_file):
    code = (
        "import os, sys\n"
        "from ski_data.video.guarded import GuardedReader\n"
        "reader = GuardedReader()\n"
        f"reader.probe({str(clip_file)!r})\n"
        "print(reader._child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], check=True, stdout=-1).stdout)
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                gone = file.read().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            gone = True
        if gone:
            break
        time.sleep(0.05)
    assert gone


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"timeout": float("nan")}, {"memory": 0}])
def test_bad_settings(settings):
    with pytest.raises(InputError, match="above 0"):
        GuardedReader(**settings)


FUZZED = {
    "mpeg4.avi": {"codec": "mpeg4"},
    "h264.mp4": {},
    "h264.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "png.mov": {"codec": "png", "pixels": "rgb24"},
}


def fuzz(reader, path, trials, seed):
    """Wrong bytes, in headers half of the time; every answer is frames or an error."""
    whole, rng = path.read_bytes(), np.random.default_rng(seed)
    for trial in range(trials):
        data = bytearray(whole)
        limit = len(data) if trial % 2 else min(len(data), 2000)
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(limit)] = rng.integers(256)
        if trial % 5 == 0:
            del data[rng.integers(len(data) // 2, len(data)) :]
        bad = path.with_name(f"{trial}_{path.name}")
        bad.write_bytes(data)
        text = f"{bad}: "
        try:
            frames = reader.read_all(bad, 16, short_side=32)
            assert frames.dtype == np.uint8
            assert 1 <= len(frames) <= 16
        except VideoError as error:
            text = str(error)
        assert text.startswith(f"{bad}: ")
        bad.unlink()


@pytest.mark.parametrize("name", FUZZED)
def test_wrong_bytes_do_no_harm(name, reader, tmp_path, write_texture):
    fuzz(reader, write_texture(tmp_path / name, frames=12, **FUZZED[name]), 12, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZED)
def test_many_wrong_bytes_do_no_harm(name, reader, tmp_path, write_texture):
    fuzz(reader, write_texture(tmp_path / name, frames=12, **FUZZED[name]), 400, 1)
