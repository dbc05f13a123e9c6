"""Maps of relevance laid over frames, and pictures and videos of them as files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ski_data.errors import InputError, SkiDataError
from ski_data.folders import whole_file

GAP = 4
"""White pixels between the pictures of a sheet."""

_RED = 223  # where OpenCV's colours are pure red; above they get dark, as if it were cooler there


def clipped_heat(maps: np.ndarray, low: float = 5.0, high: float = 99.0) -> np.ndarray:
    """Maps of a clip in 0..1, cut at two percentiles of all their values.

    Few very large values would leave all else dark. A clip of equal values is 0 all over.

    Args:
        maps: (T, h, w), finite.
        low: Percentile that becomes 0.
        high: Percentile that becomes 1.

    Raises:
        InputError: Maps of another shape or not finite, or percentiles out of order.
    """
    if maps.ndim != 3 or 0 in maps.shape or not np.isfinite(maps).all():
        raise InputError(f"maps must be finite numbers (T, h, w), not {maps.shape}")
    if not 0 <= low < high <= 100:
        raise InputError(f"percentiles must rise within 0..100, not {low} and {high}")
    bottom, top = np.percentile(maps, [low, high])
    spread = top - bottom
    if spread <= 0:
        return np.zeros(maps.shape, np.float32)
    return np.clip((maps - bottom) / spread, 0, 1).astype(np.float32)


def lay_over(frames: np.ndarray, heat: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Frames coloured where the heat is: blue for little, green, yellow, red for most.

    Where there is no heat the frame stays as it is.

    Args:
        frames: uint8 (T, H, W, 3).
        heat: In 0..1, (T, h, w); it is scaled to the frames smoothly.
        opacity: Share of colour at the highest heat.

    Returns:
        uint8 (T, H, W, 3).
    """
    if len(frames) != len(heat) or not 0 <= opacity <= 1:
        raise InputError(
            f"{len(frames)} frames, {len(heat)} maps and opacity {opacity} do not go together"
        )
    height, width = frames.shape[1:3]
    out = np.empty_like(frames)
    for target, frame, small in zip(out, frames, heat, strict=True):
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        levels = np.rint(large * _RED).astype(np.uint8)
        colour = cv2.applyColorMap(levels, cv2.COLORMAP_JET)[..., ::-1]
        share = opacity * large[..., None]
        target[:] = np.rint((1 - share) * frame + share * colour)
    return out


def contact_sheet(rows: list[np.ndarray]) -> np.ndarray:
    """Frames side by side, several clips below each other: uint8 (H, W, 3).

    Long clips go on in further lines of at most eight frames.

    Args:
        rows: Clips uint8 (T, H, W, 3) of the same shape.
    """
    if not rows or any(row.shape != rows[0].shape for row in rows):
        raise InputError("a sheet needs clips of the same shape")
    count, height, width = rows[0].shape[:3]
    columns = min(count, 8)
    lines = [row[i : i + columns] for i in range(0, count, columns) for row in rows]
    sheet = np.full(
        (len(lines) * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8
    )
    for y, line in enumerate(lines):
        for x, frame in enumerate(line):
            top, left = GAP + y * (height + GAP), GAP + x * (width + GAP)
            sheet[top : top + height, left : left + width] = frame
    return sheet


def write_png(path: Path | str, image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB as PNG.

    Raises:
        ExistingOutputError: The file is there already.
    """
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise SkiDataError(f"{path}: a picture of {image.shape} cannot be written as PNG")
    with whole_file(path) as part:
        part.write_bytes(data.tobytes())


def write_mp4(path: Path | str, frames: np.ndarray, fps: float) -> None:
    """Write uint8 (T, H, W, 3) RGB as H.264 mp4; an odd last row or column is left out.

    Raises:
        ExistingOutputError: The file is there already.
        InputError: Frames of less than 2 x 2 pixels, or a rate that makes no sense.
    """
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    if min(height, width) < 2 or not 0 < fps < 1000:
        raise InputError(f"{path}: no video of {width}x{height} pixels at {fps} frames per second")
    rate = Fraction(fps).limit_denominator(1000)
    options = {"preset": "veryfast", "crf": "18"}
    with whole_file(path) as part, av.open(str(part), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in frames:
            picture = np.ascontiguousarray(frame[:height, :width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
