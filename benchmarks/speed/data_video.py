"""Speed of video clips: 16 frames at 224 from 1080p files and from a cache of clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np

from benchmarks.speed.measure import Row, best
from ski_data.manifest import Record
from ski_data.video.cache import write_video_store
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import VideoTransformConfig, test_transform

_FRAMES, _CLIP, _SIZE = 90, 16, 224
_HEIGHT, _WIDTH = 1080, 1920


_QUICK = 20, 256, 448
"""Frames, height and width of toy videos."""


def write_avi(path: Path, seed: int, *, frames: int, height: int, width: int) -> None:
    """An AVI (MPEG-4, 30 frames/s) of soft texture that moves, as NTU's videos are packed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (height // 8, width // 8 + frames, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate, stream.time_base = 8_000_000, Fraction(1, 30)
        for t in range(frames):
            image = coarse[:, t : t + width // 8].repeat(8, axis=0).repeat(8, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def measure_video(folder: Path, *, quick: bool = False) -> list[Row]:
    """Rows on clips of 16 frames; files, of toy size if ``quick``, are made in ``folder``."""
    length, height, width = _QUICK if quick else (_FRAMES, _HEIGHT, _WIDTH)
    files = [folder / f"v{i}.avi" for i in range(2)]
    for i, file in enumerate(files):
        write_avi(file, i, frames=length, height=height, width=width)
    indices = test_indices(length, _CLIP)
    for file in files:
        probe(file)  # once per file and process; not part of a clip's cost

    def ours() -> None:
        for file in files:
            read_frames(file, indices, short_side=_SIZE)

    def bare() -> None:
        for file in files:
            reader = decord.VideoReader(str(file), num_threads=1)
            reader.get_batch(indices).asnumpy()

    def bare_small() -> None:
        for file in files:
            reader = decord.VideoReader(
                str(file), num_threads=1, width=_SIZE * width // height, height=_SIZE
            )
            reader.get_batch(indices).asnumpy()

    from_file, decoder, small = (len(files) / best(f, 3) for f in (ours, bare, bare_small))
    records = [Record(file.stem, video=file) for file in files]
    store = write_video_store(folder / "cache", records, short_side=256, progress=False)
    names = [record.name for record in records]
    config = VideoTransformConfig(size=_SIZE)
    frames = [store.frames(name, indices) for name in names]

    def cached() -> None:
        for name in names:
            store.frames(name, indices)

    def cached_and_cropped() -> None:
        for name in names:
            test_transform(store.frames(name, indices), config)

    from_cache = len(names) / best(cached, 50)
    cropped = len(names) / best(cached_and_cropped, 20)
    copied = len(names) / best(lambda: [np.copy(clip) for clip in frames], 50)
    what = f"{_CLIP} frames at {_SIZE} from {height}p AVI"
    return [
        Row(what, from_file, "clips/s", "bare decord, full size", decoder, plain=True),
        Row(what, from_file, "clips/s", f"bare decord, decoding to {_SIZE}", small),
        Row(f"{_CLIP} frames from the cache (256)", from_cache, "clips/s", "memcpy", copied),
        Row(
            f"{_CLIP} frames from the cache, cropped to {_SIZE}",
            cropped,
            "clips/s",
            "bare decord, full size",
            decoder,
            plain=True,
        ),
        Row(
            f"{_CLIP} frames from the cache, cropped to {_SIZE}",
            cropped,
            "clips/s",
            "memcpy of the uncropped frames",
            copied,
        ),
    ]
