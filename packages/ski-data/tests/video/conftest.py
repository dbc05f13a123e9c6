"""Small videos: frames that tell their number, and moving texture that no two frames share."""

import contextlib
import os
from fractions import Fraction

import av
import numpy as np
import pytest


def picture(number, height, width):
    """Gray level 20 + 7 * number; the upper left quarter is red, so that turns can be seen."""
    image = np.full((height, width, 3), 20 + 7 * number, np.uint8)
    image[: height // 4, : width // 4] = (250, 10, 10)
    return image


def write_video(
    path,
    frames=32,
    height=64,
    width=96,
    codec="libx264",
    pixels="yuv420p",
    options=None,
    rotation=0,
    container_options=None,
    rate=30,
):
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.bit_rate = 4_000_000
        if rotation:
            set_rotation(stream, rotation)
        for number in range(frames):
            image = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


def set_rotation(stream, degrees):
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write how pictures are turned")
    stream.set_display_rotation(degrees)


def texture(number, height, width):
    """Smooth colours that move by a few pixels from frame to frame."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [
        np.sin((x + 3 * number) / (5 + channel)) + np.cos((y * (1 + channel) - 2 * number) / 9)
        for channel in range(3)
    ]
    return np.clip(128 + 55 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


@contextlib.contextmanager
def ordinary_priority():
    """Give this thread its scheduling back: of root's, SVT-AV1 makes a real-time thread."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def write_texture(
    path,
    frames=40,
    height=64,
    width=112,
    codec="libx264",
    pixels="yuv420p",
    options=None,
    rotation=0,
    times=None,
    alpha=False,
):
    """Moving texture; ``times`` are the frames' own times in 1/90 s."""
    with ordinary_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.bit_rate = 3_000_000
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 90)
        if rotation:
            set_rotation(stream, rotation)
        for number in range(frames):
            picture = texture(number, height, width)
            if alpha:
                level = np.full((height, width, 1), 100 + number, np.uint8)
                picture = np.concatenate([picture, level], axis=2)
            frame = av.VideoFrame.from_ndarray(picture, format="rgba" if alpha else "rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), Fraction(1, 90)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session", name="write_texture")
def _write_texture():
    return write_texture


@pytest.fixture(scope="session")
def every_frame():
    """All frames of a file as PyAV decodes it from start to end, turned to be shown."""

    def read(path):
        with av.open(str(path)) as container:
            return [
                np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                for frame in container.decode(video=0)
            ]

    return read


@pytest.fixture(scope="session", name="write_video")
def _write_video():
    return write_video


@pytest.fixture
def numbers():
    """The frame numbers that decoded frames tell, rounded."""

    def read(frames):
        height, width = frames.shape[1:3]
        level = frames[:, height // 2 :, width // 2 :].mean(axis=(1, 2, 3))
        return np.rint((level - 20) / 7).astype(int).tolist()

    return read


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory):
    """32 frames of 64 x 96, H.264 in mp4 with its index in front."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_video(path, container_options={"movflags": "faststart"})


@pytest.fixture(scope="session")
def avi_file(tmp_path_factory):
    """32 frames of 64 x 96, MPEG-4 in AVI."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.avi", codec="mpeg4")
