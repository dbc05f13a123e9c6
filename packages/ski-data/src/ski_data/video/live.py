"""Frames of a camera, a network stream or a very long file, as they come, at an even rate.

Everything goes through PyAV: cameras by FFmpeg's own inputs (``v4l2`` on Linux, ``avfoundation`` on
macOS, ``dshow`` on Windows), so that no second library is needed for them. Nothing is kept but the
frame on display.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np

from ski_data.errors import InputError
from ski_data.video.probe import MAX_PIXELS, VideoError, opened, regular_file

SCHEMES = ("http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "tcp", "udp")
"""Kinds of network addresses that are opened."""
LONGEST_GAP = 60.0
"""Seconds by which a live clock may jump; beyond, it was set anew and frames follow each other."""

_PROTOCOLS = "crypto,http,httpproxy,https,rtmp,rtmps,rtp,rtsp,srtp,tcp,tls,udp"
_MOST_DAMAGED = 250  # packets in a row
_EARLY = 1e-6  # seconds, as in sampling.shown_at

log = logging.getLogger(__name__)


def is_live(source: str) -> bool:
    """Whether a source is a camera or an address, whose frames do not wait to be read."""
    return source.isdecimal() or "://" in source or source.startswith("video=")


def sampled_frames(
    source: str, rate: float, *, timeout: float = 10.0
) -> Iterator[tuple[float, np.ndarray]]:
    """The frames on display at the moments (i + 0.5) / rate after the first frame, i = 0, 1, ...

    A file of N frames at an even pace, sampled at T / duration, gives the frames of
    :func:`ski_data.video.sampling.test_indices`. A frame that is shown for long comes several
    times.

    Args:
        source: A file; the number of a camera (``0``; on Windows ``video=NAME`` of one); or an
            address, see :data:`SCHEMES`. Name and password in an address are never shown.
        rate: Frames per second.
        timeout: Seconds to wait for a camera or address, to open and at each read.

    Yields:
        The moment in seconds, and uint8 (H, W, 3) RGB as shown.

    Raises:
        MissingFileError: There is no such file.
        VideoError: Not a video; no such camera or address; or the connection was lost.
        InputError: A rate or timeout that makes no sense.
    """
    if not 0 < rate < 1000 or not timeout > 0:
        raise InputError(f"rate must be in 0..1000 and timeout above 0, not {rate} and {timeout}")
    return _sampled(source, rate, timeout)


def _sampled(source: str, rate: float, timeout: float) -> Iterator[tuple[float, np.ndarray]]:
    live, number = is_live(source), 0
    shown: av.VideoFrame | None = None
    first = moment = step = 0.0
    with _connected(source, timeout) if live else opened(regular_file(source)[0]) as found:
        fps = float(found[1].average_rate or found[1].guessed_rate or 25)
        for count, frame in enumerate(_decoded(*found, source)):
            told = frame.time
            if told is None:
                told = time.monotonic() if live else count / fps
            if shown is None:
                first, step = told, 1 / fps
            elif told - first < moment or (live and told - first > moment + LONGEST_GAP):
                first = told - moment - step  # the clock was set anew
            elif told - first > moment:
                step = told - first - moment
            moment = told - first
            while shown is not None and (number + 0.5) / rate + _EARLY < moment:
                yield (number + 0.5) / rate, _pixels(shown)
                number += 1
            shown = frame
    if shown is None:
        raise VideoError(f"{public_name(source)}: gave no frame; check it with a video player")
    while (number + 0.5) / rate + _EARLY < moment + step:
        yield (number + 0.5) / rate, _pixels(shown)
        number += 1


def public_name(source: str) -> str:
    """A source without the name and password that an address may carry."""
    return re.sub(r"//[^/@]*@", "//", source)


@contextmanager
def _connected(
    source: str, timeout: float
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A camera or address, opened."""
    where, form = _address(source)
    options = {"protocol_whitelist": _PROTOCOLS, "rtsp_transport": "tcp"} if form is None else {}
    try:
        container = av.open(where, format=form, container_options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        what = "address" if form is None else "camera"
        raise VideoError(
            f"{public_name(source)}: no video from this {what} ({_reason(error)}); check that it "
            "is on, its name, and that nothing else uses it"
        ) from None
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise VideoError(f"{public_name(source)}: gives no pictures that can be decoded")
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def _address(source: str) -> tuple[str, str | None]:
    """What FFmpeg opens, and by which input."""
    if source.isdecimal() or source.startswith("video="):
        if sys.platform == "win32":
            if source.isdecimal():
                raise InputError(f"camera {source}: on Windows give its name, as video=NAME")
            return source, "dshow"
        if not source.isdecimal():
            raise InputError(f"{source}: give the number of a camera, such as 0")
        return (
            (source, "avfoundation")
            if sys.platform == "darwin"
            else (f"/dev/video{source}", "v4l2")
        )
    scheme = source.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(
            f"{public_name(source)}: addresses begin with {', '.join(SCHEMES)}; name a file by its "
            "path"
        )
    return source, None


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, source: str
) -> Iterator[av.VideoFrame]:
    """Frames in order of showing; damaged packets are left out and counted in a warning."""
    damaged = row = 0
    seconds = 0.0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                damaged, row = damaged + 1, row + 1
                if row > _MOST_DAMAGED:
                    raise VideoError(
                        f"{public_name(source)}: {row} damaged pieces in a row after "
                        f"{seconds:.1f} s; check the camera or the file"
                    ) from None
                continue
            row = 0 if frames else row
            for frame in frames:
                seconds = frame.time or seconds
                yield frame
    except av.FFmpegError as error:
        raise VideoError(
            f"{public_name(source)}: "
            f"{'connection lost' if is_live(source) else 'cannot be read on'} after "
            f"{seconds:.1f} s ({_reason(error)}); check it and start again"
        ) from None
    finally:
        if damaged:
            log.warning("%s: %d damaged pieces were left out", public_name(source), damaged)


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    rgb = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
