import importlib.util
import json
import logging
import os
import shutil
import struct

import av
import numpy as np
import pytest

from ski_data.errors import MissingFileError
from ski_data.video import probe as probing
from ski_data.video.decode import read_frames
from ski_data.video.probe import VideoError, frame_times, probe, regular_file, scan

GIVEN_TIMES = np.cumsum(np.random.default_rng(0).integers(1, 9, 40))


def packets(path):
    return scan(*regular_file(path)).packets


def test_a_plain_file(clip_file):
    info = probe(clip_file)
    assert (info.frames, info.width, info.height, info.codec) == (32, 96, 64, "h264")
    assert (info.fps, info.rotation) == (30, 0)
    assert info.decord == (importlib.util.find_spec("decord") is not None)


def test_only_packets_are_read(clip_file, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("all frames are decoded")

    monkeypatch.setattr(probing, "decoded", fail)
    scan.cache_clear()
    assert scan(*regular_file(clip_file)).info.frames == 32


def test_packets_in_order_of_showing(clip_file):
    found = packets(clip_file)
    assert found.keys[0] == 0
    assert sorted(found.order.tolist()) == list(range(32))
    assert (np.diff(found.pts) < 0).any()  # B frames
    assert (np.diff(found.pts[found.order]) > 0).all()
    assert [found.place(pts) for pts in found.pts.tolist()] == list(range(32))
    assert found.place(int(found.pts.max()) + 1) == found.place(None) == 32


def test_avi_with_b_frames_does_not_tell_their_order(tmp_path, write_texture):
    path = write_texture(tmp_path / "b.avi", codec="mpeg4", options={"bf": "2"})
    assert packets(path) is None
    assert probe(path).frames == 40


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_times_of_variable_rate(ending, tmp_path, write_texture):
    path = write_texture(tmp_path / f"v.{ending}", times=GIVEN_TIMES)
    expected = (GIVEN_TIMES - GIVEN_TIMES[0]) / 90
    np.testing.assert_allclose(frame_times(path), expected, atol=0.0011)  # Matroska counts in ms


def test_times_of_constant_rate(tmp_path, clip_file, avi_file, write_texture):
    for path in (clip_file, avi_file):
        np.testing.assert_allclose(frame_times(path), np.arange(32) / 30, atol=1e-6)
    path = write_texture(tmp_path / "b.avi", codec="mpeg4", options={"bf": "2"}, frames=9)
    times = frame_times(path)
    assert len(times) == probe(path).frames == 9
    assert (np.diff(times) > 0).all()


def test_missing(tmp_path):
    for path in (tmp_path / "none.mp4", tmp_path / "none" / "clip.mp4", "concat:none.mp4"):
        with pytest.raises(MissingFileError, match="no such video"):
            probe(path)
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(MissingFileError):
        probe(tmp_path / "dangling.mp4")


def test_not_a_file(tmp_path):
    with pytest.raises(VideoError, match="a folder"):
        probe(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="a pipe"):
        read_frames(tmp_path / "pipe.mp4", [0])
    with pytest.raises(VideoError, match="cannot be looked at"):
        probe("nul\0byte.mp4")


def test_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\.mp4: the file is empty"):
        probe(tmp_path / "empty.mp4")


@pytest.mark.parametrize(
    "content",
    [
        "hello\n",
        "ffconcat version 1.0\nfile clip.mp4\n",
        "#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_text_named_mp4_is_not_followed(content, tmp_path, clip_file):
    shutil.copy(clip_file, tmp_path / "clip.mp4")
    (tmp_path / "list.mp4").write_text(content)
    with pytest.raises(VideoError, match="not a readable video"):
        probe(tmp_path / "list.mp4")


def test_protocol_like_names_are_plain_names(tmp_path, monkeypatch, clip_file, numbers):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:clip.mp4", "pipe:0.mp4"):
        shutil.copy(clip_file, name)
        assert numbers(read_frames(name, [7])) == [7]
    shutil.copy(clip_file, "clip.mp4")
    with pytest.raises(MissingFileError):
        probe("concat:clip.mp4|clip.mp4")


def test_sound_only(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video stream"):
        probe(tmp_path / "sound.mp4")


def test_half_an_avi_is_refused(tmp_path, avi_file):
    path, whole = tmp_path / "half.avi", avi_file.read_bytes()
    path.write_bytes(whole[: (whole.index(b"movi") + whole.index(b"idx1")) // 2])
    with pytest.raises(VideoError, match=r"half\.avi: the header promises 32 frames, the file hol"):
        probe(path)


def test_half_an_mkv_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "clip.mkv", options={"g": "1"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match="cut off"):
        probe(path)


@pytest.mark.parametrize(("count", "rate"), [(1, 15), (1, 1), (2, 1), (3, 1), (20, 10)])
def test_last_frame_without_a_duration(tmp_path, write_video, count, rate):
    """As browsers record: only starts are told, and one frame of a slow webcam is a whole clip."""
    path = write_video(tmp_path / "clip.mkv", frames=count, rate=rate)
    data = path.read_bytes()
    at = data.index(b"\x23\xe3\x83\x84")  # DefaultDuration, 4 bytes long
    path.write_bytes(data[:at] + b"\xec\x86" + bytes(6) + data[at + 8 :])  # now Void
    assert probe(path).frames == count


def test_the_end_of_an_mkv_is_missed(tmp_path, write_texture, caplog):
    path = write_texture(tmp_path / "clip.mkv")
    with caplog.at_level(logging.WARNING):
        assert probe(path).frames == 40
        assert not caplog.records
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rindex(b"\x1c\x53\xbb\x6b") - 1])  # up to its index (Cues)
        assert 30 <= probe(path).frames < 40  # what B frames may be missing from is left out
    assert "cut off" in caplog.text
    assert packets(path) is None


def test_a_live_mkv_is_no_cut_one(tmp_path, write_video):
    live = {"live": "1"}
    path = write_video(tmp_path / "live.mkv", frames=9, container_options=live)
    assert probe(path).frames == 9
    assert packets(path) is not None


def _with_frame_count(avi, count):
    data = bytearray(avi)
    header, stream = data.index(b"avih"), data.index(b"strh")
    struct.pack_into("<I", data, header + 8 + 16, count)  # dwTotalFrames
    struct.pack_into("<I", data, stream + 8 + 32, count)  # dwLength
    return bytes(data)


def test_absurd_frame_count(tmp_path, avi_file):
    path = tmp_path / "lie.avi"
    path.write_bytes(_with_frame_count(avi_file.read_bytes(), 2**31 - 1))
    for backend in ("auto", "decord"):
        with pytest.raises(VideoError, match="promises 2147483647 frames"):
            read_frames(path, [0], backend=backend)


def test_slightly_wrong_frame_count_is_set_right(tmp_path, avi_file, numbers):
    for promised in (33, 30):
        path = tmp_path / f"lie{promised}.avi"
        path.write_bytes(_with_frame_count(avi_file.read_bytes(), promised))
        assert probe(path).frames == 32
        assert not probe(path).decord
        assert packets(path) is not None  # without B frames nothing can be missing in between
        assert numbers(read_frames(path, [31, 0])) == [31, 0]


@pytest.mark.parametrize("box", [b"stsz", b"stts"])
def test_absurd_tables_in_mp4(box, tmp_path, clip_file):
    data = bytearray(clip_file.read_bytes())
    place = data.index(box) + 4
    if box == b"stsz":  # every sample of one byte, and very many
        struct.pack_into(">II", data, place + 4, 1, 2**31 - 1)
    else:  # very many samples of the first duration
        struct.pack_into(">I", data, place + 8, 2**31 - 1)
    path = tmp_path / "lie.mp4"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"lie\.mp4"):
        read_frames(path, [0, 31])


def test_a_claim_of_ten_hours(tmp_path, clip_file):
    data = bytearray(clip_file.read_bytes())
    for box, offset in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
        scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
        struct.pack_into(">I", data, data.index(box) + 4 + offset, 36_000 * scale)
    path = tmp_path / "long.mp4"
    path.write_bytes(data)
    assert probe(path).frames == 32


def test_too_long_and_too_large(clip_file, tmp_path, monkeypatch):
    shutil.copy(clip_file, tmp_path / "a.mp4")
    shutil.copy(clip_file, tmp_path / "b.mp4")
    monkeypatch.setattr(probing, "MAX_FRAMES", 31)
    with pytest.raises(VideoError, match="more than 31 frames"):
        probe(tmp_path / "a.mp4")
    monkeypatch.setattr(probing, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(VideoError, match="pictures of 96x64"):
        probe(tmp_path / "b.mp4")


def test_a_large_picture_in_a_small_header(tmp_path, write_texture):
    """A PNG stream whose pictures are of 30000 x 30000, though the container says 112 x 64."""
    path = write_texture(tmp_path / "large.mov", codec="png", pixels="rgb24", frames=2)
    data, at = bytearray(path.read_bytes()), 0
    while (at := data.find(b"IHDR", at + 1)) >= 0:
        struct.pack_into(">II", data, at + 4, 30000, 30000)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"large\.mov"):
        probe(path)


def test_probe_sees_changed_files(tmp_path, write_video):
    path = write_video(tmp_path / "clip.mp4", frames=5)
    assert probe(path).frames == 5
    path.unlink()
    write_video(path, frames=7)
    assert probe(path).frames == 7


def test_real_clips(shared):
    folder = shared / "data" / "rgb_pose_clips"
    if not folder.is_dir():
        pytest.skip("no folder data/rgb_pose_clips in `shared`")
    for clip in json.loads((folder / "clips.json").read_text(encoding="utf-8")):
        path = folder / clip["file"]
        info = probe(path)
        found = (info.frames, info.width, info.height, info.fps)
        assert found == (clip["frames"], clip["width"], clip["height"], clip["fps"]), path
        frames = read_frames(path, [0, 5], short_side=64)
        assert min(frames.shape[1:3]) == 64
        assert 0 < frames.mean() < 255
