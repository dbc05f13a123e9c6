import gc
import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.video import decode
from ski_data.video import probe as probing
from ski_data.video.decode import VideoError, probe, read_all, read_frames, scaled_size

REALTIME = {"deadline": "realtime", "cpu-used": "8", "g": "10"}
X265 = "log-level=none:keyint=8:bframes=3"
# Settings of the encoder, and whether single frames are picked by their packets.
VARIANTS = {
    "h264.mp4": ({}, True),
    "h264.mkv": ({}, True),
    "h264_b.avi": ({}, False),
    "h264.avi": ({"options": {"g": "6", "bf": "0"}}, True),
    "closed.mp4": ({"options": {"bf": "3", "g": "7"}}, True),
    "open.mp4": ({"options": {"x264-params": "open-gop=1:bframes=3:keyint=8"}}, True),
    "pyramid.mkv": ({"options": {"x264-params": "bframes=8:ref=6:keyint=20"}}, True),
    "refresh.mp4": ({"options": {"x264-params": "intra-refresh=1:keyint=10"}}, False),
    "fields.mp4": ({"options": {"x264-params": "interlaced=1"}}, True),
    "hevc.mp4": ({"codec": "libx265", "options": {"x265-params": X265}}, True),
    "hevc_open.mkv": (
        {"codec": "libx265", "options": {"x265-params": X265 + ":open-gop=1:temporal-layers=2"}},
        True,
    ),
    "mpeg4.avi": ({"codec": "mpeg4"}, True),
    "mpeg4_b.avi": ({"codec": "mpeg4", "options": {"bf": "2"}}, False),
    "mpeg4_b.mp4": ({"codec": "mpeg4", "options": {"bf": "2", "g": "9"}}, True),
    "mjpeg.avi": ({"codec": "mjpeg", "pixels": "yuvj420p"}, True),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": REALTIME}, True),
    "hidden.webm": (
        {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "lag-in-frames": "16"}},
        True,
    ),
    "vp8.webm": ({"codec": "libvpx", "options": REALTIME | {"lag-in-frames": "16"}}, False),
    "av1.mp4": ({"codec": "libsvtav1", "options": {"preset": "12", "g": "9"}}, True),
    "stream.ts": ({}, True),
    "mpeg2.mpg": ({"codec": "mpeg2video", "options": {"bf": "2"}}, False),
    "variable.mp4": ({"times": np.cumsum(np.arange(40) % 7 + 1)}, True),
    "variable.mkv": ({"times": np.cumsum(np.arange(40) % 5 + 2)}, True),
    "odd.mp4": ({"pixels": "yuv444p", "height": 51, "width": 67}, True),
    "odd.avi": ({"codec": "mpeg4", "height": 53, "width": 117}, True),
    "narrow.mp4": ({"width": 16}, True),
    "alpha.webm": (
        {"codec": "libvpx-vp9", "pixels": "yuva420p", "alpha": True, "options": REALTIME},
        True,
    ),
    "alpha_png.mov": ({"codec": "png", "pixels": "rgba", "alpha": True}, True),
    "alpha_rle.mov": ({"codec": "qtrle", "pixels": "argb", "alpha": True}, True),
    "gray.mp4": ({"pixels": "gray"}, True),
    "gray.mkv": ({"codec": "ffv1", "pixels": "gray"}, True),
    "ten_bit.mp4": ({"pixels": "yuv420p10le"}, True),
    "ten_bit.mov": ({"codec": "prores_ks", "pixels": "yuv422p10le"}, True),
    "turned90.mp4": ({"rotation": 90}, True),
    "turned180.mp4": ({"rotation": 180}, True),
    "turned270.mp4": ({"rotation": 270}, True),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_frames_are_those_of_a_full_decode(name, tmp_path, write_texture, every_frame, monkeypatch):
    options, picked = VARIANTS[name]
    path = write_texture(tmp_path / name, **options)
    expected = every_frame(path)
    info = probe(path)
    assert info.frames == len(expected) == 40
    assert (info.height, info.width) == expected[0].shape[:2]
    in_order = []
    real = decode._read_in_order
    monkeypatch.setattr(
        decode, "_read_in_order", lambda *args: (in_order.append(args), real(*args))
    )
    rng = np.random.default_rng(1)
    for backend in ("auto", "decord") if info.decord else ("auto",):
        for count in (1, 1, 2, 5, 9):
            indices = rng.integers(0, 40, count)
            frames = read_frames(path, indices, backend=backend)
            assert frames.shape == (count, *expected[0].shape)
            assert frames.dtype == np.uint8
            for frame, index in zip(frames, indices, strict=True):
                np.testing.assert_array_equal(frame, expected[index])
    np.testing.assert_array_equal(read_all(path), expected)
    assert bool(in_order) != picked


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux alone has it")
def test_no_encoder_leaves_a_real_time_thread(tmp_path, write_texture):
    """Threads of such a process starve all others, and each other."""
    before = os.sched_getscheduler(0)
    write_texture(tmp_path / "av1.mp4", **VARIANTS["av1.mp4"][0])
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize("name", ["open.mp4", "hevc.mp4", "h264.avi", "odd.avi", "narrow.mp4"])
def test_decord_is_refused_where_it_is_not_exact(name, tmp_path, write_texture):
    pytest.importorskip("decord")
    path = write_texture(tmp_path / name, **VARIANTS[name][0])
    assert not probe(path).decord
    with pytest.raises(VideoError, match="decord is not exact"):
        read_frames(path, [0], backend="decord")


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "mjpeg.avi", "vp9.webm"])
def test_decord_reads_what_it_can(name, tmp_path, write_texture):
    pytest.importorskip("decord")
    path = write_texture(tmp_path / name, **VARIANTS[name][0])
    one, other = (
        read_frames(path, [3, 9, 9, 1], short_side=32, backend=b) for b in ("decord", "pyav")
    )
    np.testing.assert_array_equal(one, other)


def test_without_decord(clip_file, monkeypatch, numbers):
    monkeypatch.setattr(probing.importlib.util, "find_spec", lambda name: None)
    probing.scan.cache_clear()
    assert numbers(read_frames(clip_file, [4, 2])) == [4, 2]
    with pytest.raises(InputError, match="decord is not installed"):
        read_frames(clip_file, [0], backend="decord")
    monkeypatch.undo()
    probing.scan.cache_clear()


def test_decord_is_imported_only_when_asked_for(clip_file):
    code = (
        "import sys; from ski_data.video.decode import read_frames; "
        f"read_frames({str(clip_file)!r}, [0]); assert 'decord' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_backend(clip_file):
    with pytest.raises(InputError, match="unknown video backend"):
        read_frames(clip_file, [0], backend="gpu")


def test_few_packets_are_decoded_for_few_frames(tmp_path, write_texture, monkeypatch):
    path = write_texture(tmp_path / "clip.avi", codec="mpeg4", frames=40, options={"g": "10"})
    packets = probing.scan(*probing.regular_file(path)).packets
    assert packets.keys.tolist() == [0, 10, 20, 30]
    assert list(decode._runs(packets, np.array([2, 11, 15, 30]))) == [(0, 2), (10, 15), (30, 30)]
    assert list(decode._runs(packets, np.array([9, 10]))) == [(0, 9), (10, 10)]


def test_what_is_shown_before_a_key_frame_needs_the_one_before():
    """Open groups: packets I0 P3 B1 B2 | I6 B4 B5 P9 B7 B8."""
    pts = np.array([0, 3, 1, 2, 6, 4, 5, 9, 7, 8])
    packets = probing.Packets(pts, np.array([0, 4]), np.argsort(pts))
    assert list(decode._runs(packets, np.array([4]))) == [(4, 4)]
    assert list(decode._runs(packets, np.array([5]))) == [(0, 5)]
    assert list(decode._runs(packets, np.array([4, 6, 9]))) == [(0, 9)]
    assert list(decode._runs(packets, np.array([2, 8]))) == [(0, 2), (4, 8)]


@pytest.mark.parametrize("name", ["mpeg4.avi", "closed.mp4", "h264.mkv", "hevc_open.mkv"])
def test_jumps_in_long_files(name, tmp_path, write_texture, every_frame, monkeypatch):
    path = write_texture(tmp_path / name, **VARIANTS[name][0])
    expected = every_frame(path)
    monkeypatch.setattr(decode, "_JUMP", 3)
    for indices in ([39], [0, 38], [1, 19, 35], [30, 5]):
        np.testing.assert_array_equal(
            read_frames(path, indices), [expected[index] for index in indices]
        )


def test_resolution_that_changes_on_the_way(tmp_path, write_texture, monkeypatch):
    """The frames keep the first one's size; too large ones are refused before memory is taken."""
    path = tmp_path / "changing.avi"
    with av.open(str(path), "w") as container:
        first = None
        time = 0
        for number, (height, width) in enumerate([(64, 112), (512, 512)]):
            part = write_texture(
                tmp_path / f"{number}.avi", codec="mpeg4", frames=4, height=height, width=width
            )
            with av.open(str(part)) as source:
                video = source.streams.video[0]
                first = first or container.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.size:
                        packet.stream, packet.pts, packet.dts = first, time, time
                        time += 1
                        container.mux(packet)
    frames = read_all(path)
    assert frames.shape == (8, 64, 112, 3)
    assert abs(frames[7].mean() - frames[3].mean()) < 20
    monkeypatch.setattr(probing, "MAX_PIXELS", 60_000)
    probing.scan.cache_clear()
    assert read_frames(path, [3]).shape == (1, 64, 112, 3)
    with pytest.raises(VideoError, match="damaged near frame 4"):
        read_frames(path, [7])


def test_results_are_bounded(clip_file, monkeypatch):
    monkeypatch.setattr(decode, "MAX_BYTES", 3 * 64 * 96 * 3)
    assert len(read_frames(clip_file, [0, 1, 1])) == 3
    with pytest.raises(VideoError, match=r"4 frames of 96x64 are 0\.0 GB.*short_side"):
        read_frames(clip_file, [0, 1, 1, 1])
    assert len(read_all(clip_file, short_side=16)) == 32
    with pytest.raises(VideoError, match="at once"):
        read_frames(clip_file, [0], short_side=500)


def test_gray_stays_gray(tmp_path, write_texture):
    frames = read_frames(write_texture(tmp_path / "gray.mp4", pixels="gray", frames=4), [3, 0])
    assert (frames[..., 0] == frames[..., 2]).all()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(degrees, tmp_path, write_video):
    path = write_video(tmp_path / "turned.mp4", frames=3, rotation=degrees)
    info = probe(path)
    assert (info.height, info.width) == ((64, 96) if degrees == 180 else (96, 64))
    frame = read_frames(path, [1])[0]
    flat = read_frames(write_video(tmp_path / "flat.mp4", frames=3), [1])[0]
    np.testing.assert_array_equal(frame, np.rot90(flat, info.rotation // 90))
    small = read_frames(path, [1], short_side=32)
    assert small.shape == ((1, 32, 48, 3) if degrees == 180 else (1, 48, 32, 3))


def test_sizes(clip_file):
    assert read_frames(clip_file, [0, 1], short_side=32).shape == (2, 32, 48, 3)
    assert read_frames(clip_file, [0], size=(20, 30)).shape == (1, 20, 30, 3)
    assert read_all(clip_file, short_side=128).shape == (32, 128, 192, 3)
    for backend in ("auto", "pyav"):
        frames = read_frames(clip_file, [4], short_side=32, backend=backend)
        np.testing.assert_array_equal(frames, read_all(clip_file, short_side=32)[4:5])
    with pytest.raises(InputError, match="not both"):
        read_frames(clip_file, [0], short_side=3, size=(3, 3))
    with pytest.raises(InputError, match="at least 1"):
        read_frames(clip_file, [0], size=(0, 3))
    with pytest.raises(InputError, match="at least 1"):
        read_frames(clip_file, [0], short_side=0)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1000))
def test_scaled_size(height, width, side):
    scaled = scaled_size(height, width, side)
    assert min(scaled) == side
    assert scaled == tuple(int(x * side / min(height, width) + 0.5) for x in (height, width))


def test_read_all_thins_long_videos(clip_file, numbers):
    assert numbers(read_all(clip_file)) == list(range(32))
    assert numbers(read_all(clip_file, 32)) == list(range(32))
    assert numbers(read_all(clip_file, 4)) == [4, 12, 20, 28]


@pytest.mark.parametrize("indices", [[], [-1], [32], [0.5], [[0]], "0"])
def test_bad_frame_numbers(clip_file, indices):
    with pytest.raises(InputError, match=r"clip\.mp4"):
        read_frames(clip_file, indices)


def test_the_result_may_be_written_to(clip_file):
    for indices in ([0, 1], [1, 0]):
        frames = read_frames(clip_file, indices)
        assert frames.flags.writeable
        assert frames.flags.c_contiguous


def test_sound_beside_pictures_changes_nothing(tmp_path, numbers):
    from_pictures = tmp_path / "both.mp4"
    with av.open(str(from_pictures), "w") as container:
        video, sound = container.add_stream("libx264", rate=30), container.add_stream("aac", 16000)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for number in range(8):
            image = np.full((64, 96, 3), 20 + 7 * number, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        silence = np.zeros((1, 1024), np.float32)
        for part in range(8):
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * part
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert probe(from_pictures).frames == 8
    assert numbers(read_frames(from_pictures, [6, 2])) == [6, 2]


def test_nothing_stays_open(clip_file, avi_file):
    """Files and memory are given back by the time a call returns."""
    fds = "/proc/self/fd"
    if not os.path.isdir(fds):
        pytest.skip("this system does not list a process's open files")
    read_all(clip_file)
    gc.disable()
    try:
        before = len(os.listdir(fds))
        for path in (clip_file, avi_file):
            frames = read_frames(path, [0, 31])
            assert frames.base is None
            assert len(os.listdir(fds)) == before
    finally:
        gc.enable()


def test_the_main_stream_of_several(tmp_path, write_texture, every_frame):
    parts = [
        write_texture(tmp_path / "one.mp4", frames=9),
        write_texture(tmp_path / "other.mp4", frames=6, height=32, width=48),
    ]
    path = tmp_path / "both.mp4"
    with av.open(str(path), "w") as container:
        sources = [av.open(str(part)) for part in parts]
        streams = [container.add_stream_from_template(s.streams.video[0]) for s in sources]
        for source, stream in zip(sources, streams, strict=True):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)
            source.close()
    expected = every_frame(parts[0])
    info = probe(path)
    assert (info.frames, info.height, info.width) == (9, 64, 112)
    for backend in ("auto", "decord") if info.decord else ("auto",):
        np.testing.assert_array_equal(
            read_frames(path, [8, 2], backend=backend), [expected[8], expected[2]]
        )


# -- files that were cut


CUT = {
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264.avi": {},
    "front.mp4": {},
    "parts.mp4": {},
    "h264.mkv": {},
    "pyramid.mkv": {"options": {"x264-params": "bframes=8:ref=6:keyint=15"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": REALTIME},
}
LAYOUT = {
    "front.mp4": {"movflags": "faststart"},
    "parts.mp4": {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"},
}


@pytest.fixture(scope="module")
def cut_files(tmp_path_factory, write_texture, every_frame):
    folder = tmp_path_factory.mktemp("whole")
    files = {}
    for name, options in CUT.items():
        path = write_texture(folder / name, **options)
        if name in LAYOUT:
            plain = path.rename(folder / "plain.mp4")
            with (
                av.open(str(plain)) as source,
                av.open(str(path), "w", options=LAYOUT[name]) as container,
            ):
                video = source.streams.video[0]
                stream = container.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.size:
                        packet.stream = stream
                        container.mux(packet)
        files[name] = path.read_bytes(), every_frame(path)
    return files


def read_unless_refused(path):
    """All frames, or None after an error that names the file."""
    text = str(path)
    try:
        return read_all(path)
    except VideoError as error:
        text = str(error)
    assert text.startswith(f"{path}: ")
    return None


def check_cut(whole, expected, length, path):
    """The frames of a cut file are the first ones, or there is an error that names it."""
    path.write_bytes(whole[:length])
    frames = read_unless_refused(path)
    if frames is None:
        return 0
    assert 0 < len(frames) == probe(path).frames <= len(expected)
    np.testing.assert_array_equal(frames, expected[: len(frames)])
    last = len(frames) - 1
    np.testing.assert_array_equal(read_frames(path, [last, 0]), frames[[last, 0]])
    return len(frames)


@pytest.mark.parametrize("name", CUT)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(missing=st.floats(0, 1))
def test_cut_files_fail_or_give_true_frames(name, missing, cut_files, tmp_path_factory):
    whole, expected = cut_files[name]
    length = int((1 - missing**3) * len(whole))  # more often near the end
    check_cut(whole, expected, length, tmp_path_factory.mktemp("cut") / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_files_cut_anywhere(name, cut_files, tmp_path):
    whole, expected = cut_files[name]
    lengths = np.unique(np.linspace(0, len(whole), 400).astype(int))
    kept = [
        check_cut(whole, expected, length, tmp_path / f"{length}_{name}")
        for length in lengths.tolist()
    ]
    assert kept[-1] == len(expected)
    assert 0 in kept


# -- files with wrong bytes


@pytest.mark.parametrize("name", ["mpeg4.avi", "mpeg4_b.avi", "front.mp4", "h264.mkv"])
def test_broken_pictures_are_noticed(name, cut_files, tmp_path):
    """The decoders of MPEG-4 and H.264 tell of most breaks (nine in ten here, and more)."""
    whole, expected = cut_files[name]
    rng = np.random.default_rng(0)
    silent = 0
    for trial in range(20):
        data = bytearray(whole)
        for _ in range(4):
            data[rng.integers(len(data) // 4, len(data) * 9 // 10)] ^= 1 << rng.integers(8)
        path = tmp_path / f"{trial}_{name}"
        path.write_bytes(data)
        frames = read_unless_refused(path)
        silent += frames is not None and not np.array_equal(frames, expected)
    assert silent <= 4


def test_only_the_broken_group_is_refused(tmp_path, write_texture, every_frame):
    path = write_texture(tmp_path / "clip.avi", codec="mpeg4", options={"g": "10"})
    expected = every_frame(path)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    position, size = places[14]
    data[position + 20 : position + size - 4] = b"\x55" * (size - 24)
    path.write_bytes(data)
    good = [0, 9, 12, 25, 39]
    np.testing.assert_array_equal(read_frames(path, good), [expected[i] for i in good])
    for bad in ([14], [19], [3, 17]):  # 15 to 19 are predicted from the broken one
        with pytest.raises(VideoError, match=r"clip\.avi: damaged near frame 1\d"):
            read_frames(path, bad)


@pytest.mark.slow
def test_memory_is_given_back(tmp_path, write_texture):
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("this system does not tell a process's memory")

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    path = write_texture(tmp_path / "clip.avi", codec="mpeg4", frames=20, height=720, width=1280)
    for _ in range(5):
        read_frames(path, [0, 10, 19])
    before = resident()
    for _ in range(60):
        read_frames(path, [0, 10, 19])
    assert resident() - before < 80e6  # readers that stay would take several times that


@pytest.mark.slow
def test_every_frame_of_real_clips(shared):
    folder = shared / "data" / "rgb_pose_clips"
    if not folder.is_dir():
        pytest.skip("no folder data/rgb_pose_clips in `shared`")
    for clip in json.loads((folder / "clips.json").read_text(encoding="utf-8")):
        path = folder / clip["file"]
        frames = read_all(path, short_side=64)
        assert len(frames) == clip["frames"]
        some = np.arange(0, len(frames), 9)
        np.testing.assert_array_equal(read_frames(path, some, short_side=64), frames[some])
