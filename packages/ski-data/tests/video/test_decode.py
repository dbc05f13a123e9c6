import json
import os
import shutil
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError, MissingFileError
from ski_data.video import decode
from ski_data.video.decode import VideoError, probe, read_all, read_frames, scaled_size

VARIANTS = {
    "h264.mp4": ({}, "decord"),
    "h264.mkv": ({}, "decord"),
    "h264.avi": ({"options": {"g": "6"}}, "pyav"),
    "closed.mp4": ({"options": {"bf": "3", "g": "7"}}, "decord"),
    "open.mp4": ({"options": {"g": "6", "x264-params": "open-gop=1:bframes=3"}}, "pyav"),
    "mpeg4.avi": ({"codec": "mpeg4"}, "decord"),
    "mpeg4_b.avi": ({"codec": "mpeg4", "options": {"bf": "2"}}, "pyav"),
    "mpeg4_b.mp4": ({"codec": "mpeg4", "options": {"bf": "2"}}, "pyav"),
    "mjpeg.avi": ({"codec": "mjpeg", "pixels": "yuvj420p"}, "decord"),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}, "decord"),
    "stream.ts": ({}, "pyav"),
    "full_colour.mp4": ({"pixels": "yuv444p"}, "pyav"),
    "odd.mp4": ({"pixels": "yuv444p", "height": 51, "width": 67}, "pyav"),
    "narrow.mp4": ({"width": 16}, "pyav"),
    "small.mp4": ({"width": 48}, "pyav"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_any_choice_of_frames_is_exact(name, tmp_path, write_video, numbers):
    options, _ = VARIANTS[name]
    path = write_video(tmp_path / name, **options)
    info = probe(path)
    assert info.frames == 32
    assert info.fps == pytest.approx(30, rel=0.01)
    rng = np.random.default_rng(1)
    for _ in range(5):
        indices = rng.integers(0, 32, rng.integers(1, 9))
        frames = read_frames(path, indices)
        assert frames.shape == (len(indices), info.height, info.width, 3)
        assert frames.dtype == np.uint8
        assert numbers(frames) == indices.tolist()


@pytest.mark.parametrize("name", VARIANTS)
def test_reader_is_chosen_by_what_the_file_holds(name, tmp_path, write_video):
    pytest.importorskip("decord")
    options, backend = VARIANTS[name]
    assert probe(write_video(tmp_path / name, **options)).backend == backend


def test_gray(tmp_path, write_video):
    path = write_video(tmp_path / "gray.mp4", pixels="gray", frames=4)
    frames = read_frames(path, [3, 0])
    np.testing.assert_array_equal(frames, read_all(path)[[3, 0]])
    assert (frames[..., 0] == frames[..., 2]).all()
    assert frames[0].mean() > frames[1].mean() + 10


def test_av1_needs_pyav(tmp_path, write_video, numbers):
    path = write_video(tmp_path / "a.mp4", frames=6, codec="libsvtav1", options={"preset": "12"})
    assert (probe(path).codec, probe(path).backend) == ("av1", "pyav")
    assert numbers(read_frames(path, [5, 0])) == [5, 0]


def test_backends_agree(clip_file):
    pytest.importorskip("decord")
    one, other = (read_frames(clip_file, [3, 9, 9, 1], backend=b) for b in ("decord", "pyav"))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="unknown video backend"):
        read_frames(clip_file, [0], backend="gpu")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(degrees, tmp_path, write_video):
    path = write_video(tmp_path / "turned.mp4", frames=3, rotation=degrees)
    info = probe(path)
    assert (info.height, info.width) == ((64, 96) if degrees == 180 else (96, 64))
    assert info.backend == "pyav"
    frame = read_frames(path, [1])[0]
    flat = read_frames(write_video(tmp_path / "flat.mp4", frames=3), [1])[0]
    np.testing.assert_array_equal(frame, np.rot90(flat, info.rotation // 90))
    small = read_frames(path, [1], short_side=32)
    assert small.shape == ((1, 32, 48, 3) if degrees == 180 else (1, 48, 32, 3))


def test_rotation_as_decord_reads_it(tmp_path, write_video):
    pytest.importorskip("decord")
    path = write_video(tmp_path / "turned.mp4", frames=3, rotation=90)
    same = read_frames(path, [0, 2], backend="decord") == read_frames(path, [0, 2])
    assert same.all()


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


@pytest.mark.parametrize("content", ["hello\n", "ffconcat version 1.0\nfile clip.mp4\n"])
def test_text_named_mp4_is_not_followed(content, tmp_path, clip_file):
    shutil.copy(clip_file, tmp_path / "clip.mp4")
    (tmp_path / "list.mp4").write_text(content)
    with pytest.raises(VideoError, match="not a readable video"):
        probe(tmp_path / "list.mp4")


def test_playlist_is_not_followed(tmp_path, clip_file):
    shutil.copy(clip_file, tmp_path / "clip.mp4")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match="not a readable video"):
        probe(tmp_path / "list.mp4")


def test_protocol_like_names_are_plain_names(tmp_path, monkeypatch, clip_file, numbers):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip_file, "concat:clip.mp4")
    assert numbers(read_frames("concat:clip.mp4", [7])) == [7]
    shutil.copy(clip_file, "clip.mp4")
    with pytest.raises(MissingFileError):
        probe("concat:clip.mp4|clip.mp4")


def test_sound_only(tmp_path):
    import av

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


def test_sound_beside_pictures_changes_nothing(tmp_path, numbers):
    import av

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


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0, 0.999), kind=st.sampled_from(["clip", "avi"]))
def test_cut_files_fail_or_give_true_frames(
    share, kind, clip_file, avi_file, tmp_path_factory, numbers
):
    whole = (clip_file if kind == "clip" else avi_file).read_bytes()
    path = tmp_path_factory.mktemp("cut") / f"cut.{'mp4' if kind == 'clip' else 'avi'}"
    path.write_bytes(whole[: int(share * len(whole))])
    try:
        info = probe(path)
        frames = read_frames(path, range(info.frames))
    except VideoError as error:
        complaint = str(error)
    else:
        complaint = None
    if complaint is not None:
        assert complaint.startswith(str(path))
        return
    assert decode.COMPLETE * 32 <= info.frames <= 32
    assert numbers(frames)[:-1] == list(range(info.frames - 1))


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


def _with_frame_count(avi, count):
    data = bytearray(avi)
    header, stream = data.index(b"avih"), data.index(b"strh")
    struct.pack_into("<I", data, header + 8 + 16, count)  # dwTotalFrames
    struct.pack_into("<I", data, stream + 8 + 32, count)  # dwLength
    return bytes(data)


def test_absurd_frame_count_does_not_reach_decord(tmp_path, avi_file):
    path = tmp_path / "lie.avi"
    path.write_bytes(_with_frame_count(avi_file.read_bytes(), 2**31 - 1))
    with pytest.raises(VideoError, match="promises 2147483647 frames"):
        probe(path)


def test_slightly_wrong_frame_count_is_set_right(tmp_path, avi_file, numbers):
    for promised in (33, 30):
        path = tmp_path / f"lie{promised}.avi"
        path.write_bytes(_with_frame_count(avi_file.read_bytes(), promised))
        assert probe(path).frames == 32
        assert probe(path).backend == "pyav"
        assert numbers(read_frames(path, [31, 0])) == [31, 0]


def test_too_long_and_too_large(clip_file, tmp_path, monkeypatch):
    shutil.copy(clip_file, tmp_path / "a.mp4")
    shutil.copy(clip_file, tmp_path / "b.mp4")
    monkeypatch.setattr(decode, "MAX_FRAMES", 31)
    with pytest.raises(VideoError, match="more than 31 frames"):
        probe(tmp_path / "a.mp4")
    monkeypatch.setattr(decode, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(VideoError, match="pictures of 96x64"):
        probe(tmp_path / "b.mp4")


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
