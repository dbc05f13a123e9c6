"""Frames of a video file, from decord where it is known to be exact and from PyAV elsewhere.

A file is first looked through with PyAV, packet by packet: that tells the true number of frames
(headers of cut files promise more than there is, and decord trusts them) and which reader fits.
Only ordinary files in video containers are opened, never what a name such as ``concat:a.mp4`` or
a playlist inside the file points to.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.video.sampling import test_indices

Backend = Literal["auto", "decord", "pyav"]

MAX_FRAMES = 1_000_000
"""Longest video that is read; more than nine hours at 30 frames per second."""
MAX_PIXELS = 1 << 26
"""Largest picture that is read, in pixels."""
COMPLETE = 0.9
"""A file with less than this share of the frames that its header promises is refused as cut off;
one with more is read with the number of frames that it has."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg"
_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles and the like are not read; PyAV 19 no longer fails at them."""
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# Where decord 0.6 gave PyAV's frames for any choice of them.
_DECORD_CONTAINERS = ("mov", "matroska", "avi")
_DECORD_CODECS = ("h264", "hevc", "mpeg4", "mjpeg", "vp8", "vp9")
_DECORD_PIXELS = ("yuv420p", "yuvj420p")
_DECORD_WIDTH = 96  # it fails at some narrower ones (16, 24, 48, 72)

log = logging.getLogger(__name__)


class VideoError(InputError):
    """A video that cannot be read: which file, why, and what to do."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        frames: Number of frames in it, counted, not taken from its header.
        width: Pixels, as shown (after rotation).
        height: Pixels, as shown.
        fps: Mean frames per second; 0 if the file does not tell.
        codec: FFmpeg's name, such as ``h264``.
        rotation: Degrees counterclockwise by which stored frames are turned to be shown.
        backend: The reader that ``auto`` takes.
    """

    frames: int
    width: int
    height: int
    fps: float
    codec: str
    rotation: int
    backend: Literal["decord", "pyav"]


def probe(path: Path | str) -> VideoInfo:
    """Look through a file; remembered until the file changes.

    Raises:
        MissingFileError: There is no such file.
        VideoError: A folder, pipe or empty file; not a video; cut off or damaged; too large.
    """
    return _probe(*_regular_file(path))


def read_frames(
    path: Path | str,
    indices: Sequence[int] | np.ndarray,
    *,
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
    backend: Backend = "auto",
) -> np.ndarray:
    """Chosen frames of a file in the order asked for; each is decoded once.

    Args:
        path: The file.
        indices: Frame numbers from 0; any order, repeats allowed.
        short_side: Scale so that the shorter side has this many pixels.
        size: Or scale to exactly (height, width). Shrinking averages areas, enlarging is bilinear.
        backend: ``auto`` takes what :func:`probe` chose.

    Returns:
        uint8 (T, H, W, 3) RGB, turned as the file's rotation says.

    Raises:
        MissingFileError: There is no such file.
        VideoError: See :func:`probe`; or a frame cannot be decoded.
        InputError: Frame numbers beyond the video, or sizes that make no sense.
    """
    key = _regular_file(path)
    info = _probe(*key)
    wanted = _check_indices(indices, info, path)
    target = _target(info, short_side, size)
    unique, inverse = np.unique(wanted, return_inverse=True)
    chosen = info.backend if backend == "auto" else backend
    frames = None
    if chosen == "decord":
        frames = _read_decord(key[0], unique, info)
        if frames is None and backend == "decord":
            raise VideoError(f"{path}: decord counts its frames otherwise; use backend 'pyav'")
        if frames is not None and target is not None:
            frames = np.stack([_scale(frame, target) for frame in frames])
    elif chosen != "pyav":
        raise InputError(f"unknown video backend {backend!r}; known: auto, decord, pyav")
    if frames is None:
        frames = _read_pyav(key[0], unique, info, target)
    return frames if len(unique) == len(wanted) and (unique == wanted).all() else frames[inverse]


def read_all(
    path: Path | str,
    max_frames: int | None = None,
    *,
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Every frame of a file, or ``max_frames`` spread evenly if it has more.

    Frames are scaled one by one as they are decoded. Arguments, result and errors otherwise as in
    :func:`read_frames`.
    """
    frames = probe(path).frames
    if max_frames is None or frames <= max_frames:
        indices = np.arange(frames)
    else:
        indices = test_indices(frames, max_frames)
    return read_frames(path, indices, short_side=short_side, size=size, backend="pyav")


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) with the shorter side ``short_side`` and the other in proportion, rounded."""
    short = min(height, width)
    if short_side < 1:
        raise InputError(f"a short side must have at least 1 pixel, not {short_side}")
    return tuple((2 * side * short_side + short) // (2 * short) for side in (height, width))  # type: ignore[return-value]


def _regular_file(path: Path | str) -> tuple[str, int, int]:
    try:
        state = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: no such video file") from None
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be looked at ({error})") from None
    if stat.S_ISDIR(state.st_mode):
        raise VideoError(f"{path}: a folder, not a video file; name a file in it")
    if not stat.S_ISREG(state.st_mode):
        raise VideoError(f"{path}: a pipe or device, not a file; save the video as a file first")
    if state.st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); get it again")
    return os.path.abspath(path), state.st_size, state.st_mtime_ns


@contextmanager
def _opened(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    try:
        container = av.open(path, container_options=_OPTIONS, **_METADATA)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise VideoError(f"{path}: may not be read; change its permissions") from None
        raise VideoError(
            f"{path}: not a readable video, or cut off before its index; get it again or convert "
            f"it to mp4 ({_reason(error)})"
        ) from None
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: holds no video stream; name a file with pictures")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{path}: its video codec is not supported; convert it to H.264")
        if not 0 < context.width * context.height <= MAX_PIXELS:
            raise VideoError(
                f"{path}: pictures of {context.width}x{context.height}; at least one and at most "
                f"{MAX_PIXELS} pixels can be read; convert it"
            )
        context.thread_count = 1
        yield container, stream


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@lru_cache(maxsize=8192)
def _probe(path: str, size: int, changed: int) -> VideoInfo:
    del size, changed  # parts of the key only
    packets = shown = 0
    end = 0.0
    first: av.VideoFrame | None = None
    cut = leading = False
    key_time: int | None = None
    with _opened(path) as (container, stream):
        for packet in _packets(container, path):
            if packet.pts is not None and packet.time_base:
                end = max(end, (packet.pts + (packet.duration or 0)) * float(packet.time_base))
            if packet.stream_index != stream.index:
                continue
            if first is None:
                first = next(iter(_try_decode(packet)), None)
            if packet.size == 0:
                continue
            if cut:
                raise VideoError(_damaged(path, packets))
            cut = packet.is_corrupt
            packets += not cut
            if packet.is_keyframe:
                key_time = packet.pts
            if key_time is None or packet.pts is None or packet.pts < key_time:
                leading = True
            shown += not cut and not packet.is_discard
            if packets > MAX_FRAMES:
                raise VideoError(f"{path}: more than {MAX_FRAMES} frames; cut it into clips")
        if first is None:
            raise VideoError(f"{path}: none of its frames can be decoded; get it again")
        kind = container.format.name
        promised = stream.frames
        if "matroska" in kind and container.duration and end < COMPLETE * container.duration / 1e6:
            raise VideoError(
                f"{path}: the header promises {container.duration / 1e6:.1f} s, the file ends "
                f"after {end:.1f} s: it was cut off; get it again"
            )
        if promised > 0 and packets < COMPLETE * promised:
            raise VideoError(
                f"{path}: the header promises {promised} frames, the file holds {packets}: it was "
                "cut off or its header is wrong; get it again, or rewrite it with "
                "`ffmpeg -i FILE -c copy NEW`"
            )
        exact = not cut and shown == packets and promised in (0, packets)
        turn = round(first.rotation / 90) % 4
        width, height = first.width, first.height
        codec = stream.codec_context.codec.canonical_name
        layout = kind.split(",")[0]
        # With B frames decord gives wrong ones in AVI, and wherever frames that are shown before a
        # key frame come after it in the file (open GOP).
        ordered = not leading and (
            not stream.codec_context.has_b_frames or (codec == "h264" and layout != "avi")
        )
        suits_decord = (
            exact
            and turn == 0
            and importlib.util.find_spec("decord") is not None
            and ordered
            and layout in _DECORD_CONTAINERS
            and codec in _DECORD_CODECS
            and first.format.name in _DECORD_PIXELS
            and width >= _DECORD_WIDTH
        )
        return VideoInfo(
            frames=shown if exact else _count(path),
            width=height if turn % 2 else width,
            height=width if turn % 2 else height,
            fps=float(stream.average_rate or 0),
            codec=codec,
            rotation=90 * turn,
            backend="decord" if suits_decord else "pyav",
        )


def _packets(container: av.container.InputContainer, path: str) -> Iterator[av.Packet]:
    try:
        yield from container.demux()
    except av.FFmpegError as error:
        raise VideoError(f"{path}: damaged ({_reason(error)}); get it again") from None


def _try_decode(packet: av.Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return []  # the caller asks the next packet, and says so if none can be decoded


def _damaged(path: str, frame: int) -> str:
    return f"{path}: damaged near frame {frame}; get it again, or re-encode it"


def _count(path: str) -> int:
    with _opened(path) as (container, stream):
        frames = sum(1 for _ in _decoded(container, stream, path))
    if frames == 0:
        raise VideoError(f"{path}: none of its frames can be decoded; get it again")
    return frames


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, path: str
) -> Iterator[av.VideoFrame]:
    """Frames in order of showing; a last packet that is cut is left out, others must be whole."""
    cut = False
    frames = 0
    try:
        for packet in container.demux(stream):
            if packet.size and cut:
                raise VideoError(_damaged(path, frames))
            if packet.is_corrupt:
                cut = True
                continue
            try:
                ready = packet.decode()
            except av.error.InvalidDataError:
                cut = True
                continue
            yield from ready
            frames += len(ready)
            if frames > MAX_FRAMES:
                raise VideoError(f"{path}: more than {MAX_FRAMES} frames; cut it into clips")
    except av.FFmpegError as error:
        raise VideoError(f"{_damaged(path, frames)} ({_reason(error)})") from None


def _check_indices(
    indices: Sequence[int] | np.ndarray, info: VideoInfo, path: Path | str
) -> np.ndarray:
    wanted = np.asarray(indices)
    if wanted.ndim != 1 or len(wanted) == 0 or not np.issubdtype(wanted.dtype, np.integer):
        raise InputError(f"{path}: frames are chosen by a list of whole numbers, not {indices!r}")
    if wanted.min() < 0 or wanted.max() >= info.frames:
        raise InputError(
            f"{path}: frames {wanted.min()}..{wanted.max()} asked for, it has 0..{info.frames - 1}"
        )
    return wanted.astype(np.int64)


def _target(
    info: VideoInfo, short_side: int | None, size: tuple[int, int] | None
) -> tuple[int, int] | None:
    if short_side is not None and size is not None:
        raise InputError("give short_side or size, not both")
    if size is not None and min(size) < 1:
        raise InputError(f"a size is (height, width) of at least 1 pixel, not {size}")
    target = size
    if short_side is not None:
        target = scaled_size(info.height, info.width, short_side)
    return None if target == (info.height, info.width) else target


def _scale(frame: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    shrinks = target[0] * target[1] < frame.shape[0] * frame.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, target[::-1], interpolation=how)


def _read_decord(path: str, unique: np.ndarray, info: VideoInfo) -> np.ndarray | None:
    """The frames, or None if decord does not see ``info.frames`` frames of that size."""
    try:
        import decord
    except ImportError:
        raise InputError("decord is not installed here; use backend 'pyav'") from None
    decord.logging.set_level(decord.logging.QUIET)
    reader = None
    try:
        reader = decord.VideoReader(path, num_threads=1)
        if len(reader) != info.frames:
            return None
        frames = reader.get_batch(unique).asnumpy()
    except decord.DECORDError as error:
        reason = str(error).strip().splitlines()[0]
        raise VideoError(
            f"{path}: decord cannot read it; get it again, or try backend 'pyav' ({reason})"
        ) from None
    finally:
        del reader  # it reads ahead without end while it lives
    return frames if frames.shape[1:3] == (info.height, info.width) else None


def _read_pyav(
    path: str, unique: np.ndarray, info: VideoInfo, target: tuple[int, int] | None
) -> np.ndarray:
    height, width = target or (info.height, info.width)
    out = np.empty((len(unique), height, width, 3), np.uint8)
    filled = decoded = 0
    frame: av.VideoFrame | None = None
    with _opened(path) as (container, stream):
        for frame in _decoded(container, stream, path):
            if decoded == unique[filled]:
                out[filled] = _to_rgb(frame, info, target)
                filled += 1
                if filled == len(unique):
                    return out
            decoded += 1
        if frame is None or decoded < COMPLETE * info.frames:
            raise VideoError(
                f"{path}: only {decoded} of its {info.frames} frames can be decoded; get it again, "
                "or re-encode it"
            )
        log.warning(
            "%s: %d of %d frames decode; the last stands for the rest", path, decoded, info.frames
        )
        out[filled:] = _to_rgb(frame, info, target)
    return out


def _to_rgb(frame: av.VideoFrame, info: VideoInfo, target: tuple[int, int] | None) -> np.ndarray:
    turns = info.rotation // 90
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    rgb = np.rot90(frame.to_ndarray(format="rgb24", width=width, height=height), turns)
    return rgb if target is None else _scale(np.ascontiguousarray(rgb), target)
