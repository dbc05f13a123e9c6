"""Small videos whose frames tell their number."""

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
):
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            image = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


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
