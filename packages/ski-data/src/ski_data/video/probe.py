"""What a video file holds, found by going through its packets without decoding them.

Headers are not believed: files that were cut promise more frames than there are, and a lie about
them ends or misleads some readers. Only ordinary files in video containers are opened, never what
a name such as ``concat:a.mp4`` or a playlist inside the file points to.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from ski_data.errors import InputError, MissingFileError
from ski_data.video.endings import fragments_are_whole, matroska_is_short

MAX_FRAMES = 1_000_000
"""Longest video that is read; more than nine hours at 30 frames per second."""
MAX_PIXELS = 1 << 25
"""Largest picture that is read, in pixels: 7680 x 4320 and a little more."""
COMPLETE = 0.9
"""A file with less than this share of the frames that its header promises is refused as cut off;
one with more is read up to where its frames are known to be whole."""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg"
_VERSION = tuple(int(part) for part in av.__version__.split(".")[:2])
# Titles and the like are not read; PyAV 19 no longer fails at them.
_METADATA = {"metadata_errors": "replace"} if _VERSION < (19, 0) else {}
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
# Of these one packet is one frame, so that packets may be counted and picked instead of frames.
_FRAME_PER_PACKET = frozenset(
    ("av1", "ffv1", "h264", "hevc", "mjpeg", "mpeg4", "png", "prores", "qtrle", "rawvideo", "vp9")
)
# Where decord 0.6 gave PyAV's frames for any choice of them. It gives others with odd sizes, with
# fields, with B frames of other codecs than H.264, and where frames that are shown before a key
# frame come after it in the file (open GOP).
_DECORD_CODECS = {
    "mov": ("h264", "hevc", "mpeg4", "mjpeg", "vp9"),
    "matroska": ("h264", "hevc", "mpeg4", "mjpeg", "vp9"),
    "avi": ("mpeg4", "mjpeg"),
}
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
        decord: Whether decord is installed and known to give this file's frames exactly.
    """

    frames: int
    width: int
    height: int
    fps: float
    codec: str
    rotation: int
    decord: bool


@dataclass(frozen=True)
class Packets:
    """Where the frames of an undamaged file are; P packets in the order of the file.

    Attributes:
        pts: When each packet's frame is shown, in ticks of the stream; int64 (P,), all different.
        keys: Packets from which decoding can start; int64 (K,), the first is 0.
        order: The packet of each frame; int64 (T = P,).
    """

    pts: np.ndarray
    keys: np.ndarray
    order: np.ndarray

    def place(self, pts: int | None) -> int:
        """The packet shown at that time; T if there is none."""
        if pts is None:
            return len(self.pts)
        rank = int(np.searchsorted(self.pts, pts, sorter=self.order))
        found = rank < len(self.pts) and self.pts[self.order[rank]] == pts
        return int(self.order[rank]) if found else len(self.pts)


@dataclass(frozen=True)
class Scan:
    """Result of going through a file; ``packets`` where single frames can be picked by them."""

    info: VideoInfo
    packets: Packets | None


def probe(path: Path | str) -> VideoInfo:
    """Look through a file; remembered until the file changes.

    Raises:
        MissingFileError: There is no such file.
        VideoError: A folder, pipe or empty file; not a video; cut off or damaged; too large.
    """
    return _probe(*regular_file(path))


def frame_times(path: Path | str) -> np.ndarray:
    """When each frame is shown, in seconds from the first: float64 (T,), rising.

    For files of variable frame rate, see :func:`ski_data.video.sampling.time_indices`. Files whose
    packets do not tell are decoded once; where not even frames tell, the mean rate counts.

    Raises:
        MissingFileError: There is no such file.
        VideoError: See :func:`probe`.
    """
    key = regular_file(path)
    found = scan(*key)
    with opened(key[0]) as (container, stream):
        tick = float(stream.time_base or 0)
        if found.packets is not None:
            ticks = found.packets.pts[found.packets.order]
        else:
            frames = decoded(container, stream, key[0])
            times = [frame.pts for _, frame in zip(range(found.info.frames), frames, strict=False)]
            if None in times or (np.diff(np.array(times)) <= 0).any():
                return np.arange(found.info.frames) / (found.info.fps or 1.0)
            ticks = np.array(times)
    return (ticks - ticks[0]) * tick


def regular_file(path: Path | str) -> tuple[str, int, int]:
    """Full path, bytes and time of change of an ordinary file that is not empty."""
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
def opened(path: str) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The file and its main video stream, closed afterwards; decoding in this thread only.

    That is FFmpeg's choice, as decord's: not a cover picture if there is another.
    """
    # Before memory is taken, and for later frames too; decoders add a margin to what is shown.
    bound = {"max_pixels": str(MAX_PIXELS + MAX_PIXELS // 8)}
    at_once = {"options": bound} if _VERSION >= (17, 1) else {}  # before, streams may crash at it
    try:
        container = av.open(path, container_options=_OPTIONS, **at_once, **_METADATA)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise VideoError(f"{path}: may not be read; change its permissions") from None
        raise VideoError(
            f"{path}: not a readable video, or cut off before its index; get it again or convert "
            f"it to mp4 ({_reason(error)})"
        ) from None
    with container:
        stream = container.streams.best("video")
        if stream is None:
            raise VideoError(f"{path}: holds no video stream; name a file with pictures")
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{path}: its video codec is not supported; convert it to H.264")
        if not 0 < context.width * context.height <= MAX_PIXELS:
            raise VideoError(
                f"{path}: pictures of {context.width}x{context.height}; at least one and at most "
                f"{MAX_PIXELS} pixels can be read; convert it"
            )
        context.options = bound
        context.thread_count = 1
        yield container, stream


def decoded(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    path: str,
    *,
    whole: bool = True,
) -> Iterator[av.VideoFrame]:
    """Frames in order of showing; a last packet that is cut is left out, others must be whole.

    Not ``whole`` leaves out the frames that the decoder holds back until the end: others, now
    missing, may have come before them.
    """
    cut = False
    frames = 0
    try:
        for packet in container.demux(stream):
            if packet.size and cut:
                raise VideoError(damaged(path, frames))
            if packet.is_corrupt:
                cut = True
                continue
            if packet.size == 0 and (cut or not whole):
                return
            try:
                ready = packet.decode()
            except av.error.InvalidDataError:
                cut = True
                continue
            yield from ready
            frames += len(ready)
            if frames > MAX_FRAMES:
                raise VideoError(f"{path}: more than {MAX_FRAMES} frames; cut it into clips")
    except av.error.MemoryError:
        raise VideoError(
            f"{path}: too little memory near frame {frames}; choose fewer frames, or smaller ones "
            "by short_side"
        ) from None
    except av.FFmpegError as error:
        raise VideoError(f"{damaged(path, frames)} ({_reason(error)})") from None


def damaged(path: str, frame: int) -> str:
    """Text of an error for a file whose packets are there but not whole."""
    return f"{path}: damaged near frame {frame}; get it again, or re-encode it"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@lru_cache(maxsize=8192)
def _probe(path: str, size: int, changed: int) -> VideoInfo:
    return scan(path, size, changed).info


@dataclass
class _Walk:
    """What the packets of a file tell, in its order."""

    pts: list[int | None] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    first: av.VideoFrame | None = None
    end: float = 0.0  # seconds, of all streams
    cut: bool = False
    discards: bool = False


@lru_cache(maxsize=8)  # a million packets are 24 MB
def scan(path: str, size: int, changed: int) -> Scan:
    """Go through the packets of a file, as :func:`regular_file` names it."""
    del changed  # part of the key only
    with opened(path) as (container, stream):
        walk = _walk(container, stream, path)
        kind = container.format.name.split(",")[0]
        promised, count = stream.frames, len(walk.pts)
        duration = container.duration or 0 if kind == "matroska" else 0
        _check_promises(path, walk, promised, duration, stream.time_base)
        missing = walk.cut or promised > count
        if kind == "matroska":
            missing = missing or matroska_is_short(path, size)
        elif kind == "mov" and promised == 0:
            missing = missing or not fragments_are_whole(path, size)
        context = stream.codec_context
        codec, reordered = context.codec.canonical_name, bool(context.has_b_frames)
        packets = None
        if codec in _FRAME_PER_PACKET and not walk.discards:
            packets = _packet_table(walk.pts, walk.keys)
        if packets is not None:
            reordered = reordered or bool((np.diff(packets.pts) < 0).any())
        if packets is not None and reordered and (missing or kind == "avi"):
            packets = None  # what is missing may come before what is there; AVI tells no order
        fps = float(stream.average_rate or 0)
        first = walk.first or _first_frame(path)
    exact = packets is not None and not missing and promised in (0, count)
    frames = count if packets is not None else _count(path, whole=not missing)
    if missing:
        log.warning("%s: cut off, or its header is wrong: %d whole frames are read", path, frames)
    turn = round(first.rotation / 90) % 4
    info = VideoInfo(
        frames=frames,
        width=first.height if turn % 2 else first.width,
        height=first.width if turn % 2 else first.height,
        fps=fps,
        codec=codec,
        rotation=90 * turn,
        decord=exact and _suits_decord(first, packets, kind, codec, reordered),
    )
    return Scan(info, packets)


def _walk(container: av.container.InputContainer, stream: av.VideoStream, path: str) -> _Walk:
    walk = _Walk()
    for packet in _packets(container, path):
        if packet.pts is not None and packet.time_base:
            end = (packet.pts + (packet.duration or 0)) * float(packet.time_base)
            walk.end = max(walk.end, end)
        if packet.stream_index != stream.index or packet.size == 0:
            continue
        if walk.cut:
            raise VideoError(damaged(path, len(walk.pts)))
        if packet.is_corrupt:
            walk.cut = True
            continue
        if packet.is_keyframe:
            walk.keys.append(len(walk.pts))
            walk.first = walk.first or _decode_alone(stream.codec_context, packet)
        walk.pts.append(packet.pts)
        walk.discards = walk.discards or packet.is_discard
        if len(walk.pts) > MAX_FRAMES:
            raise VideoError(f"{path}: more than {MAX_FRAMES} frames; cut it into clips")
    return walk


def _longest_frame(pts: list[int | None], time_base: Fraction) -> float:
    """Seconds that the last frame may be shown where no packet tells: Matroska's need not.

    The longest time from one frame to the next; a second if there is only one.
    """
    stamps = np.sort([value for value in pts if value is not None])
    return float(np.diff(stamps).max() * time_base) if len(stamps) > 1 else 1.0


def _check_promises(
    path: str, walk: _Walk, frames: int, duration: int, time_base: Fraction
) -> None:
    """Refuse what is far from the frames and microseconds of the header, where it tells (not 0)."""
    promised_end = duration / 1e6
    if duration and walk.end + _longest_frame(walk.pts, time_base) < COMPLETE * promised_end:
        raise VideoError(
            f"{path}: the header promises {promised_end:.1f} s, the file ends after "
            f"{walk.end:.1f} s: it was cut off; get it again"
        )
    if frames > 0 and len(walk.pts) < COMPLETE * frames:
        raise VideoError(
            f"{path}: the header promises {frames} frames, the file holds {len(walk.pts)}: it was "
            "cut off or its header is wrong; get it again, or rewrite it with "
            "`ffmpeg -i FILE -c copy NEW`"
        )


def _suits_decord(
    first: av.VideoFrame, packets: Packets | None, kind: str, codec: str, reordered: bool
) -> bool:
    return (
        packets is not None
        and importlib.util.find_spec("decord") is not None
        and codec in _DECORD_CODECS.get(kind, ())
        and first.format.name in _DECORD_PIXELS
        and first.rotation == 0
        and first.width >= _DECORD_WIDTH
        and not (first.width % 2 or first.height % 2 or first.interlaced_frame)
        and (not reordered or codec == "h264")
        and not _open_groups(packets)
    )


def _packets(container: av.container.InputContainer, path: str) -> Iterator[av.Packet]:
    try:
        yield from container.demux()
    except av.FFmpegError as error:
        raise VideoError(f"{path}: damaged ({_reason(error)}); get it again") from None


def _decode_alone(context: av.VideoCodecContext, packet: av.Packet) -> av.VideoFrame | None:
    """The frame of one packet, if it needs no other; nothing of it stays in the decoder."""
    try:
        ready = [*context.decode(packet), *context.decode(None)]
    except av.FFmpegError:
        ready = []  # the next key packet is asked, then the whole file
    context.flush_buffers()
    return ready[0] if ready else None


def _first_frame(path: str) -> av.VideoFrame:
    with opened(path) as (container, stream):
        for frame in decoded(container, stream, path):
            return frame
    raise VideoError(f"{path}: none of its frames can be decoded; get it again")


def _packet_table(pts: list[int | None], keys: list[int]) -> Packets | None:
    """None where times are missing or equal, or the file does not begin with a key frame."""
    if not pts or None in pts or not keys or keys[0] != 0:
        return None
    times, starts = np.array(pts, np.int64), np.array(keys, np.int64)
    order = np.argsort(times, kind="stable")
    if (np.diff(times[order]) == 0).any() or (np.diff(times[starts]) < 0).any():
        return None
    return Packets(times, starts, order)


def _open_groups(packets: Packets) -> bool:
    """Whether a frame is shown before a key frame that comes before it in the file."""
    counts = np.diff(packets.keys, append=len(packets.pts))
    return bool((packets.pts < np.repeat(packets.pts[packets.keys], counts)).any())


def _count(path: str, *, whole: bool) -> int:
    with opened(path) as (container, stream):
        frames = sum(1 for _ in decoded(container, stream, path, whole=whole))
    if frames == 0:
        raise VideoError(f"{path}: none of its frames can be decoded; get it again")
    return frames
