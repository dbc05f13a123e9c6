"""Chosen frames of a video file as an array.

:func:`probe` goes through a file's packets first. That tells the true number of frames, which
reader is exact for the file, and from which packets a frame can be decoded, so that only those are.
Reading runs in the calling process: for files from strangers see :mod:`ski_data.video.guarded`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np

from ski_data.errors import InputError
from ski_data.video.probe import (
    Packets,
    Scan,
    VideoError,
    VideoInfo,
    damaged,
    decoded,
    opened,
    probe,
    regular_file,
    scan,
)
from ski_data.video.sampling import test_indices

__all__ = ["VideoError", "VideoInfo", "probe", "read_all", "read_frames", "scaled_size"]

Backend = Literal["auto", "decord", "pyav"]
Size = tuple[int, int]

MAX_BYTES = 1 << 33
"""Largest array that one call returns."""

_JUMP = 512  # packets to be dropped that are worth finding another place in the file
_REORDERED = 16  # frames by which decoding and showing may differ
_SKIPPABLE = ("h264", "mpeg4")  # decoders that know which frames no other is predicted from


def read_frames(
    path: Path | str,
    indices: Sequence[int] | np.ndarray,
    *,
    short_side: int | None = None,
    size: Size | None = None,
    backend: Backend = "auto",
) -> np.ndarray:
    """Chosen frames of a file in the order asked for; each is decoded once.

    Args:
        path: The file.
        indices: Frame numbers from 0; any order, repeats allowed.
        short_side: Scale so that the shorter side has this many pixels.
        size: Or scale to exactly (height, width). Shrinking averages areas, enlarging is bilinear.
        backend: ``auto`` is PyAV: it reads all files and decodes only what the chosen frames need.
            ``decord`` takes only files where it is exact (:attr:`VideoInfo.decord`); its frames
            are the same, and it may be faster where all frames of small pictures are wanted.

    Returns:
        uint8 (T, H, W, 3) RGB, turned as the file's rotation says.

    Raises:
        MissingFileError: There is no such file.
        VideoError: See :func:`probe`; or a frame cannot be decoded.
        InputError: Frame numbers beyond the video, or sizes that make no sense.
    """
    key = regular_file(path)
    found = scan(*key)
    wanted = _check_indices(indices, found.info, path)
    target = _target(found.info, short_side, size)
    unique, inverse = np.unique(wanted, return_inverse=True)
    _check_bytes(path, len(wanted), target or (found.info.height, found.info.width))
    if backend == "decord":
        frames = _read_decord(key[0], unique, found.info)
        if target is not None:
            frames = np.stack([_scale(frame, target) for frame in frames])
    elif backend in ("auto", "pyav"):
        frames = _read_pyav(key[0], unique, found, target)
    else:
        raise InputError(f"unknown video backend {backend!r}; known: auto, decord, pyav")
    return frames if len(unique) == len(wanted) and (unique == wanted).all() else frames[inverse]


def read_all(
    path: Path | str,
    max_frames: int | None = None,
    *,
    short_side: int | None = None,
    size: Size | None = None,
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


def scaled_size(height: int, width: int, short_side: int) -> Size:
    """(height, width) with the shorter side ``short_side`` and the other in proportion, rounded."""
    short = min(height, width)
    if short_side < 1:
        raise InputError(f"a short side must have at least 1 pixel, not {short_side}")
    return tuple((2 * side * short_side + short) // (2 * short) for side in (height, width))  # type: ignore[return-value]


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


def _check_bytes(path: Path | str, frames: int, size: Size) -> None:
    total = 3 * frames * size[0] * size[1]
    if total > MAX_BYTES:
        raise VideoError(
            f"{path}: {frames} frames of {size[1]}x{size[0]} are {total / 1e9:.1f} GB, more than "
            f"{MAX_BYTES / 1e9:.1f} GB at once; choose fewer frames, or smaller ones by short_side"
        )


def _target(info: VideoInfo, short_side: int | None, size: Size | None) -> Size | None:
    if short_side is not None and size is not None:
        raise InputError("give short_side or size, not both")
    if size is not None and min(size) < 1:
        raise InputError(f"a size is (height, width) of at least 1 pixel, not {size}")
    target = size
    if short_side is not None:
        target = scaled_size(info.height, info.width, short_side)
    return None if target == (info.height, info.width) else target


def _scale(frame: np.ndarray, target: Size) -> np.ndarray:
    shrinks = target[0] * target[1] < frame.shape[0] * frame.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, target[::-1], interpolation=how)


def _read_decord(path: str, unique: np.ndarray, info: VideoInfo) -> np.ndarray:
    if importlib.util.find_spec("decord") is None:
        raise InputError("decord is not installed here; use backend 'pyav'")
    if not info.decord:
        raise VideoError(f"{path}: decord is not exact for such a file; use backend 'pyav'")
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = None
    try:
        reader = decord.VideoReader(path, num_threads=1)
        counted = len(reader)
        frames = reader.get_batch(unique).asnumpy() if counted == info.frames else None
    except decord.DECORDError as error:
        reason = str(error).strip().splitlines()[0]
        raise VideoError(
            f"{path}: decord cannot read it; get it again, or use backend 'pyav' ({reason})"
        ) from None
    finally:
        del reader  # it reads ahead without end while it lives
    if frames is None or frames.shape[1:3] != (info.height, info.width):
        raise VideoError(f"{path}: decord counts its frames otherwise; use backend 'pyav'")
    return frames


def _read_pyav(path: str, unique: np.ndarray, found: Scan, target: Size | None) -> np.ndarray:
    height, width = target or (found.info.height, found.info.width)
    out = np.empty((len(unique), height, width, 3), np.uint8)
    if found.packets is not None:
        for jumps in (True, False) if len(found.packets.pts) > _JUMP else (False,):
            if _picked(path, unique, found, target, out, jumps=jumps):
                return out
    _read_in_order(path, unique, found, target, out)
    return out


def _read_in_order(
    path: str, unique: np.ndarray, found: Scan, target: Size | None, out: np.ndarray
) -> None:
    """Decode from the start and count; goes on to the next key frame to see damage around."""
    times = None if found.packets is None else found.packets.pts[found.packets.order]
    filled = 0
    used = broken = False  # since the last key frame
    with opened(path) as (container, stream):
        for number, frame in enumerate(decoded(container, stream, path)):
            if frame.key_frame:
                used = broken = False
            if filled == len(unique) and (not used or number > unique[-1] + _REORDERED):
                return
            if filled < len(unique) and number == unique[filled]:
                out[filled] = _to_rgb(frame, found.info, target)
                filled += 1
                used = True
                broken = broken or (times is not None and frame.pts != times[number])
            broken = broken or frame.is_corrupt
            if used and broken:
                raise VideoError(damaged(path, number))
    if filled < len(unique):
        raise VideoError(
            f"{path}: frame {unique[filled]} of {found.info.frames} cannot be decoded; get the "
            "file again, or re-encode it"
        )


def _picked(
    path: str,
    unique: np.ndarray,
    found: Scan,
    target: Size | None,
    out: np.ndarray,
    *,
    jumps: bool,
) -> bool:
    """Decode no other packets than the frames need; False if a frame did not come out whole.

    Packets in between are read and dropped; with ``jumps`` the file is not read where many are.
    """
    packets = found.packets
    assert packets is not None
    wanted = packets.order[unique]
    rows = {int(packets.pts[place]): row for row, place in enumerate(wanted)}
    runs = _runs(packets, wanted)
    start, stop = next(runs)
    ready: list[av.VideoFrame] = []
    with opened(path) as (container, stream):
        context = stream.codec_context
        skips = context.codec.canonical_name in _SKIPPABLE
        place, goal = -1, 0
        lost = False  # after a jump, until the next packet
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                place += 1
                if lost:
                    place, lost = packets.place(packet.pts), False
                if place < start:
                    if jumps and start != goal and start - place > _JUMP:
                        container.seek(int(packets.pts[start]), stream=stream)
                        goal, lost = start, True
                    continue
                if place >= len(packets.pts) or packet.pts != packets.pts[place]:
                    return False
                if skips:  # frames that no other frame is predicted from
                    context.skip_frame = "DEFAULT" if packet.pts in rows else "NONREF"
                ready = context.decode(packet)
                if place == stop:
                    ready += context.decode(None)
                    context.flush_buffers()
                    start, stop = next(runs, (len(packets.pts), -1))
                for frame in ready:
                    if frame.is_corrupt:
                        return False  # and what is predicted from it
                    row = rows.pop(frame.pts, None)
                    if row is not None:
                        out[row] = _to_rgb(frame, found.info, target)
                if not rows:
                    return True
        except av.FFmpegError:
            return False  # decoding from the start decides, and says what is wrong
    return False


def _runs(packets: Packets, wanted: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last packet of each stretch that must be decoded for the wanted ones, rising.

    A frame needs all packets from the last key frame that is shown not later than it. (What comes
    before a key frame in showing and after it in the file may need the key frame before.)
    """
    before = np.searchsorted(packets.keys, wanted, side="right") - 1
    shown = np.searchsorted(packets.pts[packets.keys], packets.pts[wanted], side="right") - 1
    starts = packets.keys[np.maximum(np.minimum(before, shown), 0)]
    first = np.lexsort((wanted, starts))
    begin, end = -1, -1
    for start, stop in zip(starts[first].tolist(), wanted[first].tolist(), strict=True):
        if start > end:
            if begin >= 0:
                yield begin, end
            begin = start
        end = max(end, stop)
    yield begin, end


@lru_cache(maxsize=1)
def _one_thread() -> dict[str, int]:
    """Older PyAV converts colours in one thread and has no such option."""
    try:
        av.VideoFrame(2, 2, "rgb24").reformat(threads=1)
    except TypeError:
        return {}
    return {"threads": 1}


def _to_rgb(frame: av.VideoFrame, info: VideoInfo, target: Size | None) -> np.ndarray:
    turns = info.rotation // 90
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    rgb = frame.to_ndarray(format="rgb24", width=width, height=height, **_one_thread())
    rgb = np.rot90(rgb, turns)
    return rgb if target is None else _scale(np.ascontiguousarray(rgb), target)
