from __future__ import annotations

import csv
import http.server
import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from students_of_every_kind import KINDS, of_kind
from tiny_videos import ACTIONS, write_clips

from ski_data.synthetic.dataset import encode
from ski_data.video.probe import VideoError
from ski_vlm import Recognizer, load
from ski_vlm.calibration import score_of
from ski_vlm.cli import main
from ski_vlm.errors import ConfigError
from ski_vlm.stream import Feed, Stream, StreamConfig, Windows
from ski_vlm.stream_command import ended_by_ctrl_c

RNG = np.random.default_rng(0)


def video(path, seconds):
    """Patterns that change every second, 15 frames each."""
    patterns = RNG.integers(0, 256, (seconds, 1, 40, 48, 3), dtype=np.uint8)
    encode(path, np.repeat(patterns, 15, 0).reshape(-1, 40, 48, 3))
    return path


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    return video(tmp_path_factory.mktemp("video") / "long.mp4", 6)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_over_all_of_a_clip_predicts_the_same(sizes, long_video, names, kind):
    recognizer = Recognizer(of_kind(kind, sizes))
    config = StreamConfig(window=6.0, stride=6.0)
    (segment,) = Stream(recognizer, names, config).segments(str(long_video))
    best = recognizer.predict(long_video, names)[0]
    assert (segment.start, segment.end) == (0.0, pytest.approx(6.0))
    assert segment.label == best.label
    assert segment.score == pytest.approx(best.probability, abs=1e-5)


def ticks(count, size=32, step=0.5):
    rng = np.random.default_rng(2)
    for i in range(count):
        yield (i + 0.5) * step, rng.integers(0, 256, (size, size, 3), dtype=np.uint8), 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_kept_features_change_nothing(sizes, names, kind):
    recognizer = Recognizer(of_kind(kind, sizes))
    config = StreamConfig(window=2.0, stride=0.5, smoothing="none")
    if not kind.startswith("vifi"):
        with pytest.raises(ConfigError, match="together"):
            Windows(recognizer, names, config, cache=True)
        return
    answers = []
    for cache in (True, False):
        windows = Windows(recognizer, names, config, cache=cache)
        answers.append(
            [windows.cosines() for tick in ticks(12) if windows.add(*tick) and windows.due]
        )
    assert len(answers[0]) == 9
    np.testing.assert_allclose(*answers, atol=1e-6)


def test_every_frame_goes_through_the_tower_once(folder, names):
    recognizer, seen = load(folder), []
    recognizer.model.image.conv1.register_forward_hook(lambda _, x, __: seen.append(len(x[0])))
    config = StreamConfig(window=2.0, stride=0.5)
    list(Stream(recognizer, names, config).run(ticks(20), live=False))
    assert sum(seen) == 20


def test_windows_at_every_stride_and_at_the_end(folder, names):
    running = Stream(load(folder), names, StreamConfig(window=2.0, stride=1.0))
    found = list(running.run(ticks(15), live=False))
    assert running.stats.windows == 7  # at 4, 6, ... 14 frames, and at the 15th
    assert running.stats.seconds == pytest.approx(7.5)
    assert found[-1].end == pytest.approx(7.5)


def test_a_video_shorter_than_a_window(folder, names):
    running = Stream(load(folder), names, StreamConfig(window=2.0, stride=1.0))
    (segment,) = running.run(ticks(2), live=False)
    assert (segment.start, segment.end) == (0.0, pytest.approx(1.0))


class Counting(torch.nn.Module):
    """In the place of an image tower: no work, so that ten hours pass quickly."""

    def __init__(self, width):
        super().__init__()
        self.width, self.image_size = width, 32

    def forward(self, frames):
        return frames.mean((1, 2, 3))[:, None].expand(-1, self.width)


def test_ten_hours_hold_no_more_frames_than_two_windows(folder, names):
    recognizer = load(folder)
    recognizer.model.image = Counting(16)
    running = Stream(recognizer, names, StreamConfig(window=40.0, stride=20.0))
    frame, most = np.zeros((32, 32, 3), np.uint8), 0

    def hours():
        nonlocal most
        for i in range(3600):
            yield 10 * i + 5.0, frame, 0.0
            most = max(most, len(running.windows.ring) + len(running._feed or ()))

    for _ in running.run(hours(), live=False):
        pass
    assert running.stats.seconds == pytest.approx(36_000)
    assert 4 <= most <= 4 + 16
    assert len(running._latencies) <= 10_000


def test_a_live_source_that_is_too_fast_loses_frames_not_memory():
    feed = Feed(iter(range(1000)), 8, drop=True)
    feed._thread.join()
    assert feed.take() == list(range(992, 1000))
    assert feed.dropped == 992
    assert feed.take() == []


def test_a_file_waits_for_the_model():
    given = []
    feed = Feed((given.append(i) or i for i in range(1000)), 8, drop=False)
    time.sleep(0.1)
    assert len(given) <= 9
    taken = []
    while items := feed.take():
        taken += items
    assert taken == list(range(1000))


def test_windows_are_skipped_while_the_model_is_busy(folder, names):
    recognizer, gate = load(folder), threading.Event()
    running = Stream(recognizer, names, StreamConfig(window=2.0, stride=0.5))

    def camera():
        for i, tick in enumerate(ticks(16)):
            yield tick
            if i == 15:
                gate.set()

    answer = running._answer
    running._answer = lambda: gate.wait(5) and answer()
    list(running.run(camera(), live=True))
    stats = running.stats
    assert stats.windows + stats.skipped >= 13
    assert stats.skipped > 0


def test_a_break_forgets_the_frames_before(folder, names):
    recognizer = load(folder)
    windows = Windows(recognizer, names, StreamConfig(window=2.0, stride=0.5))
    for tick in ticks(4):
        assert windows.add(*tick)
    assert not windows.add(60.0, np.zeros((32, 32, 3), np.uint8), 0.0)
    assert len(windows.ring) == 1
    assert not windows.due


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0.0},
        {"window": float("nan")},
        {"stride": 0.0},
        {"stride": 4.0},
        {"span": 0},
        {"window": 1e9},
    ],
)
def test_unusable_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        StreamConfig(**wrong)


def streamed(capsys, folder, source, *more, code=0, classes="sit,clap"):
    argv = ["stream", str(source), "--model", str(folder), "--classes", classes, *more]
    assert main(argv) == code
    return capsys.readouterr()


def test_command_writes_segments_in_order(folder, long_video, tmp_path, capsys):
    told = streamed(capsys, folder, long_video, "--window=1", "--stride=0.5")
    rows = list(csv.DictReader(told.out.splitlines()))
    edges = [float(row[key]) for row in rows for key in ("start", "end")]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (0.0, 6.0)
    assert "latency p50" in told.err
    out = tmp_path / "segments.jsonl"
    told = streamed(
        capsys, folder, long_video, "--window=1", "--stride=0.5", "--json", f"--out={out}"
    )
    assert told.out == ""
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in again] == [row["label"] for row in rows]
    told = streamed(capsys, folder, long_video, f"--out={out}", code=2)
    assert "already there" in told.err


def test_predict_streams_when_it_is_told_to(folder, long_video, capsys):
    argv = [str(long_video), "--model", str(folder), "--classes=sit,clap", "--threshold=0"]
    assert main(["predict", "--stream", *argv]) == 0
    told = capsys.readouterr().out
    assert told.startswith("start,end,label,score\n0.0")
    assert main(["stream", *argv]) == 0
    assert capsys.readouterr().out == told


def test_everything_is_rejected_above_the_highest_probability(folder, long_video, capsys):
    told = streamed(capsys, folder, long_video, "--threshold=1")
    assert told.out == "start,end,label,score\n"


class Dripping(http.server.BaseHTTPRequestHandler):
    """Gives a video at once, then nothing more, as a camera before which nothing moves."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.video)
        self.wfile.flush()
        self.server.over.wait(600)

    def log_message(self, *args):
        pass


@pytest.fixture
def camera(tmp_path):
    """The address of a source that never ends."""
    source = tmp_path / "camera.ts"
    patterns = RNG.integers(0, 256, (6, 1, 40, 48, 3), dtype=np.uint8)
    encode(source, np.repeat(patterns, 15, 0).reshape(-1, 40, 48, 3))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping) as server:
        server.video, server.over = source.read_bytes(), threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/camera.ts"
        server.over.set()
        server.shutdown()


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to single processes there")
def test_ctrl_c_writes_the_open_segment_and_leaves_with_130(folder, camera, tmp_path):
    out = tmp_path / "segments"
    argv = ["stream", camera, "--model", str(folder), "--classes=sit,clap", f"--out={out}"]
    options = ["--window=1", "--stride=0.5", "--smoothing=none", "--threshold=0", "--timeout=600"]
    argv += [*options, "--json"]
    code = f"import sys; from ski_vlm.cli import main; sys.exit(main({argv!r}))"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(1800):
            if out.exists() and out.read_text().count("\n"):
                break
            time.sleep(0.1)
            assert child.poll() is None, child.stderr.read()
        before = out.read_text()
        time.sleep(1.0)  # it waits for frames that do not come
        child.send_signal(signal.SIGINT)
        told = child.communicate(timeout=180)[1]
    finally:
        child.kill()
    assert child.returncode == 130
    assert "Traceback" not in told
    assert "latency p50" in told
    text = out.read_text()
    assert text.startswith(before)
    rows = [json.loads(line) for line in text.splitlines()]
    assert text.count("\n") > before.count("\n")
    assert [*rows[-1]] == ["start", "end", "label", "score"]
    edges = [row[key] for row in rows for key in ("start", "end")]
    assert edges == sorted(edges)
    assert edges[-1] > 3


def test_stop_gives_up_what_waits(folder, names):
    running = Stream(load(folder), names, StreamConfig(window=2.0, stride=0.5))

    def endless():
        i = 0
        while True:
            yield from ((i * 10 + m, f, t) for m, f, t in ticks(20))
            i += 1

    found = []
    answer = running._answer
    running._answer = lambda: (running.stats.windows == 3 and running.stop()) or answer()
    found += running.run(endless(), live=False)
    assert running.stats.windows == 4
    assert found[-1].end == pytest.approx(3.5)


def test_the_writer_outside_the_main_thread_gets_no_signals(folder, names):
    running, seen = Stream(load(folder), names), []

    def work():
        with ended_by_ctrl_c(running) as ended:
            seen.append(ended)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_a_lost_connection_keeps_what_was_seen(folder, tmp_path, capsys, monkeypatch):
    def lost(source, rate, *, timeout):
        for moment, frame, _ in ticks(6, step=0.25):
            yield moment, frame
        raise VideoError(f"{source}: connection lost")

    monkeypatch.setattr("ski_vlm.stream.sampled_frames", lost)
    out = tmp_path / "segments.csv"
    options = ("--window=1", "--stride=0.5", "--threshold=0", f"--out={out}")
    told = streamed(capsys, folder, "rtsp://camera/1", *options, code=2)
    assert out.read_text().count("\n") == 2
    assert [line for line in told.err.splitlines() if "connection lost" in line] == [
        told.err.splitlines()[-1]
    ]


@pytest.mark.parametrize(
    ("source", "more", "word"),
    [
        ("absent.mp4", (), "absent.mp4"),
        ("text.mp4", (), "text.mp4"),
        ("file:///etc/passwd", (), "path"),
        ("text.mp4", ("--threshold=2",), "0..1"),
        ("text.mp4", ("--calibration=absent.json",), "absent.json"),
        ("text.mp4", ("--calibration=a", "--threshold=1"), "both"),
        ("text.mp4", ("--window=-1",), "window"),
        ("text.mp4", ("--smoothing=mean",), "smoothing"),
        ("text.mp4", ("--classes=a,a",), "twice"),
    ],
)
def test_unusable_input(folder, tmp_path, capsys, monkeypatch, source, more, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    more = (*more, "--out=rows.csv") if more else ("--threshold=0", "--out=rows.csv")
    told = streamed(capsys, folder, source, *more, code=2)
    assert told.out == ""
    assert word in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "rows.csv").exists()


def calibrated(capsys, clips, folder, out, *more, code=0, classes="bow,clap"):
    argv = ["calibrate", str(clips / "clips.jsonl"), "--model", str(folder), "--out", str(out)]
    labels = f"--labels={clips / 'classes.csv'}"
    assert main([*argv, "--classes", classes, labels, *more]) == code
    return capsys.readouterr()


def test_calibrate_then_stream(folder, clips, long_video, tmp_path, capsys):
    out = tmp_path / "calibration.json"
    told = calibrated(capsys, clips, folder, out)
    found = json.loads(out.read_text())
    assert (found["known"], found["unknown"], found["classes"]) == (8, 8, 2)
    assert f"{out}: {found['score']}" in told.out
    use = f"--calibration={out}"
    told = streamed(capsys, folder, long_video, use, "--stride=1", classes="clap,bow", code=2)
    assert "made for --window 3 --stride 0.75" in told.err
    assert streamed(capsys, folder, long_video, use, classes="clap,bow").out.startswith("start")
    told = streamed(capsys, folder, long_video, use, classes="clap,kick", code=2)
    assert "another list" in told.err
    assert "already there" in calibrated(capsys, clips, folder, out, code=2).err


@pytest.mark.parametrize(("area", "warned"), [(0.55, True), (0.9, False)])
def test_a_calibration_that_tells_nothing_apart_is_warned_of(
    folder, clips, tmp_path, capsys, caplog, monkeypatch, area, warned
):
    monkeypatch.setattr("ski_vlm.calibration.auroc", lambda *_: area)
    calibrated(capsys, clips, folder, tmp_path / "calibration.json")
    assert ("hardly tell" in caplog.text) is warned


@pytest.mark.parametrize("smoothing", ["none", "exponential", "median"])
@pytest.mark.parametrize("kind", ["vifi-clip", "x-clip"])
def test_a_calibration_measures_what_a_stream_decides_by(sizes, long_video, names, kind, smoothing):
    recognizer = Recognizer(of_kind(kind, sizes))
    config = StreamConfig(window=1.5, stride=0.5, smoothing=smoothing, score="cosine")
    measured = Stream(recognizer, names, config).cosines(str(long_video))
    running, scores = Stream(recognizer, names, config), []
    add = running._segmenter.add
    running._segmenter.add = lambda *window: scores.append(window[3]) or add(*window)
    assert list(running.segments(str(long_video)))
    np.testing.assert_allclose(score_of(measured, recognizer.scale, "cosine"), scores, atol=1e-6)
    assert len(scores) == running.stats.windows > 3


@pytest.mark.parametrize(
    ("classes", "word"), [(",".join(ACTIONS), "none of them"), ("fly", "none of them")]
)
def test_calibration_needs_both_kinds(folder, clips, tmp_path, capsys, classes, word):
    out = tmp_path / "calibration.json"
    told = calibrated(capsys, clips, folder, out, code=2, classes=classes)
    assert word in told.err
    assert told.err.count("\n") == 1
    assert not out.exists()
