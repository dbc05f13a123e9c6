from __future__ import annotations

import http.server
import threading

import av
import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_data.video import live
from ski_data.video.decode import read_frames
from ski_data.video.live import is_live, public_name, sampled_frames
from ski_data.video.probe import VideoError, frame_times
from ski_data.video.sampling import shown_at, test_indices


@pytest.fixture
def clip(tmp_path, write_texture):
    return write_texture(tmp_path / "a.mp4", frames=33)


@pytest.mark.parametrize("count", [1, 3, 8, 33, 50])
def test_the_frames_of_segments(clip, count):
    moments, frames = zip(*sampled_frames(str(clip), count * 30 / 33), strict=True)
    np.testing.assert_array_equal(np.stack(frames), read_frames(clip, test_indices(33, count)))
    np.testing.assert_allclose(moments, (np.arange(count) + 0.5) * 33 / 30 / count)


def test_frames_of_variable_rate_are_those_on_display(tmp_path, write_texture):
    times = np.cumsum([0, 3, 3, 60, 3, 9, 3])
    path = write_texture(tmp_path / "a.mp4", frames=7, times=times)
    moments, frames = zip(*sampled_frames(str(path), 20.0), strict=True)
    wanted = shown_at(frame_times(path), np.array(moments))
    np.testing.assert_array_equal(np.stack(frames), read_frames(path, wanted))
    assert len(frames) == pytest.approx(20 * times[-1] / 90, abs=2)


def test_turned_as_shown(tmp_path, write_texture):
    path = write_texture(tmp_path / "a.mp4", frames=3, rotation=90)
    _, frame = next(sampled_frames(str(path), 10.0))
    np.testing.assert_array_equal(frame, read_frames(path, [1])[0])


@pytest.fixture
def server(tmp_path, write_texture):
    whole = write_texture(tmp_path / "a.ts", frames=90, height=240, width=320).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole if "whole" in self.path else whole[: len(whole) // 2])

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://me:secret@127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def test_an_address_gives_its_frames(server):
    assert len(list(sampled_frames(f"{server}/whole.ts", 10.0))) == 30


def test_a_lost_connection_is_one_error_without_the_password(server):
    frames = sampled_frames(f"{server}/cut.ts", 10.0)
    with pytest.raises(VideoError, match="connection lost after 1") as error:
        list(frames)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "kind", "word"),
    [
        ("absent.mp4", MissingFileError, "no such"),
        ("57", VideoError, "camera"),
        ("ftp://me:secret@host/a", InputError, "rtsp"),
        ("file:///etc/passwd", InputError, "path"),
        ("http://me:secret@127.0.0.1:9/a", VideoError, "address"),
        ("rtsp://127.0.0.1:9/a", VideoError, "refused"),
    ],
)
def test_unusable_sources(source, kind, word):
    with pytest.raises(kind, match=word) as error:
        next(sampled_frames(source, 5.0, timeout=2.0))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("rate", "timeout"), [(0, 1), (-1, 1), (5, 0), (float("nan"), 1)])
def test_unusable_settings(clip, rate, timeout):
    with pytest.raises(InputError):
        sampled_frames(str(clip), rate, timeout=timeout)


def test_not_a_video(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"a\.mp4"):
        next(sampled_frames(str(tmp_path / "a.mp4"), 5.0))


class Frame:
    """What the sampling looks at."""

    rotation = 0

    def __init__(self, number, time):
        self.number, self.time = number, time

    def to_ndarray(self, **_):
        return np.full((2, 2, 3), self.number, np.uint8)


class Stream:
    average_rate = 10


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([5.0, 5.1, 5.2, 5.3], [0, 1, 2, 3]),
        ([5.0, 5.1, 0.0, 0.1], [0, 1, 2, 3]),  # the camera started anew
        ([5.0, 5.1, 9e4, 9e4 + 0.1], [0, 1, 2, 3]),
        ([0.0, 0.3, 0.4], [0, 0, 0, 1, 2]),
    ],
)
def test_clocks_of_cameras(monkeypatch, times, wanted):
    frames = [Frame(i, t) for i, t in enumerate(times)]

    class Connected:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return None, Stream()

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(live, "_connected", Connected)
    monkeypatch.setattr(live, "_decoded", lambda *_: iter(frames))
    assert [int(f[0, 0, 0]) for _, f in sampled_frames("0", 10.0)] == wanted


class Packet:
    def __init__(self, time):
        self.time = time

    def decode(self):
        if self.time is None:
            raise av.error.InvalidDataError(1, "damaged")
        return [Frame(0, self.time)]


class Container:
    def __init__(self, times):
        self.times = times

    def demux(self, _):
        return (Packet(time) for time in self.times)


def test_damaged_pieces_are_left_out_and_counted(caplog):
    times = [0.0, None, 0.2, None, 0.4]
    with caplog.at_level("WARNING"):
        assert [f.time for f in live._decoded(Container(times), None, "0")] == [0.0, 0.2, 0.4]
    assert "2 damaged pieces" in caplog.text
    with pytest.raises(VideoError, match="damaged"):
        list(live._decoded(Container([0.0] + [None] * 1000), None, "0"))


def test_what_is_live():
    assert [s for s in ("0", "a.mp4", "rtsp://a/b", "0.mp4", "video=Cam") if is_live(s)] == [
        "0",
        "rtsp://a/b",
        "video=Cam",
    ]
    assert public_name("rtsp://me:secret@host/a") == "rtsp://host/a"
