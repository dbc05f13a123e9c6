"""Cropping, scaling and colour changes of clips, with NumPy and OpenCV on uint8.

A clip is uint8 (T, H, W, 3) RGB in and out; sizes are pixels. Nothing is drawn except from the
generator that a function is given. Normalisation belongs on the device; its constants are here.

Source of the rules: the training pipeline of ViFi-CLIP (``datasets/pipeline.py``), after mmaction2.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ski_data.errors import InputError
from ski_data.video.decode import scaled_size

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean of R, G, B in 0..255, as in the published video training."""
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Standard deviation of R, G, B in 0..255."""
CLIP_MEAN = (0.48145466 * 255, 0.4578275 * 255, 0.40821073 * 255)
"""Mean of R, G, B in 0..255, as CLIP's images were normalised."""
CLIP_STD = (0.26862954 * 255, 0.26130258 * 255, 0.27577711 * 255)
"""Standard deviation of R, G, B in 0..255."""

SNAP = 3
"""Crop sides less than this many pixels off the network's size are set to it."""


@dataclass(frozen=True)
class VideoTransformConfig:
    """What is done to clips in training and testing.

    Attributes:
        size: Height and width that the network gets.
        short_side: Shorter side before cropping; by default size * 256 / 224.
        flip: Probability of mirroring the clip (the skeleton of a pair is not mirrored).
        jitter: Probability of changing the clip's colours.
        gray: Probability of taking the clip's colours away.
        scales: Crop sides as shares of the shorter side, from large to small.
        scale_gap: How many places in ``scales`` the crop's height and width may be apart.
        brightness: Factor drawn from 1 +- this, anew for each frame; so the next two.
        contrast: See ``brightness``.
        saturation: See ``brightness``.
        hue: Shift drawn from +- this, in turns of the colour circle, anew for each frame.
    """

    size: int = 224
    short_side: int | None = None
    flip: float = 0.5
    jitter: float = 0.8
    gray: float = 0.2
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    scale_gap: int = 1
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        problems = []
        if self.size < 1:
            problems.append(f"size must be at least 1, not {self.size}")
        if self.short_side is not None and self.short_side < self.size:
            problems.append(
                f"short_side must be at least size ({self.size}), not {self.short_side}"
            )
        for name in ("flip", "jitter", "gray", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name} must be in 0..1, not {getattr(self, name)}")
        if not 0 <= self.hue <= 0.5:
            problems.append(f"hue must be in 0..0.5, not {self.hue}")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            problems.append(f"scales must be shares in (0, 1], not {self.scales}")
        if self.scale_gap < 0:
            problems.append(f"scale_gap must be at least 0, not {self.scale_gap}")
        if problems:
            raise InputError("video transform settings: " + "; ".join(problems))

    @property
    def resized(self) -> int:
        """Shorter side before cropping."""
        return self.size * 256 // 224 if self.short_side is None else self.short_side


def train_transform(
    frames: np.ndarray, config: VideoTransformConfig, rng: np.random.Generator
) -> np.ndarray:
    """Scale, multi-scale crop, flip, colour jitter, gray: (T, size, size, 3)."""
    frames = resize_short_side(frames, config.resized)
    frames = multi_scale_crop(frames, config.size, config.scales, rng, gap=config.scale_gap)
    if rng.random() < config.flip:
        frames = flip(frames)
    if rng.random() < config.jitter:
        frames = color_jitter(
            frames,
            rng,
            brightness=config.brightness,
            contrast=config.contrast,
            saturation=config.saturation,
            hue=config.hue,
        )
    if rng.random() < config.gray:
        frames = grayscale(frames)
    return frames


def test_transform(frames: np.ndarray, config: VideoTransformConfig) -> np.ndarray:
    """Scale and centre crop: (T, size, size, 3)."""
    return center_crop(resize_short_side(frames, config.resized), config.size)


test_transform.__test__ = False  # type: ignore[attr-defined]  # not a pytest case where imported


def resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear scaling to (T, height, width, 3), whatever the proportions."""
    _check(frames)
    if min(height, width) < 1:
        raise InputError(f"cannot scale to {height}x{width} pixels")
    if frames.shape[1:3] == (height, width):
        return frames
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for source, target in zip(frames, out, strict=True):
        cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return out


def resize_short_side(frames: np.ndarray, side: int) -> np.ndarray:
    """Bilinear scaling that makes the shorter side ``side`` and keeps the proportions."""
    _check(frames)
    return resize(frames, *scaled_size(frames.shape[1], frames.shape[2], side))


def crop(frames: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A box of every frame, as a view (T, height, width, 3)."""
    _check(frames)
    if not (
        0 <= top <= frames.shape[1] - height
        and 0 <= left <= frames.shape[2] - width
        and min(height, width) > 0
    ):
        raise InputError(
            f"a box of {height}x{width} at ({top}, {left}) does not lie in frames of "
            f"{frames.shape[1]}x{frames.shape[2]}"
        )
    return frames[:, top : top + height, left : left + width]


def center_crop(frames: np.ndarray, size: int) -> np.ndarray:
    """The middle square: (T, size, size, 3)."""
    _check(frames)
    top, left = (frames.shape[1] - size) // 2, (frames.shape[2] - size) // 2
    return np.ascontiguousarray(crop(frames, top, left, size, size))


def three_crop(frames: np.ndarray, size: int) -> np.ndarray:
    """Both ends and the middle along the longer side, after scaling the shorter one to ``size``.

    Returns:
        (3, T, size, size, 3) in the order left (or top), right (or bottom), middle.
    """
    frames = resize_short_side(frames, size)
    height, width = frames.shape[1:3]
    down, right = (height - size) // 2, (width - size) // 2
    places = ((0, 0), (2 * down, 2 * right), (down, right))
    return np.stack([crop(frames, top, left, size, size) for top, left in places])


def multi_scale_crop(
    frames: np.ndarray,
    size: int,
    scales: tuple[float, ...],
    rng: np.random.Generator,
    *,
    gap: int = 1,
) -> np.ndarray:
    """A box of random size at one of five fixed places, scaled to (T, size, size, 3).

    The sides are int(shorter side * scale), set to ``size`` if less than 3 pixels off it; height
    and width are at most ``gap`` scales apart. The places are the corners and the middle of a grid
    with steps of (side of the frame - side of the box) // 4.
    """
    _check(frames)
    boxes = multi_scale_boxes(frames.shape[1], frames.shape[2], size, scales, gap)
    height, width = boxes[rng.integers(len(boxes))]
    places = fixed_places(frames.shape[1], frames.shape[2], height, width)
    top, left = places[rng.integers(len(places))]
    return resize(crop(frames, top, left, height, width), size, size)


def multi_scale_boxes(
    height: int, width: int, size: int, scales: tuple[float, ...], gap: int
) -> list[tuple[int, int]]:
    """The (height, width) that :func:`multi_scale_crop` chooses from, all as likely."""
    base = min(height, width)
    sides = [max(1, int(base * scale)) for scale in scales]
    sides = [size if abs(side - size) < SNAP and size <= base else side for side in sides]
    return [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= gap]


def fixed_places(height: int, width: int, box_height: int, box_width: int) -> list[tuple[int, int]]:
    """The (top, left) of the four corners and the middle of :func:`multi_scale_crop`'s grid."""
    down, right = (height - box_height) // 4, (width - box_width) // 4
    return [
        (0, 0),
        (0, 4 * right),
        (4 * down, 0),
        (4 * down, 4 * right),
        (2 * down, 2 * right),
    ]


def flip(frames: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    _check(frames)
    return np.ascontiguousarray(frames[:, :, ::-1])


def grayscale(frames: np.ndarray) -> np.ndarray:
    """Luminance in all three channels."""
    _check(frames)
    t, height, width, _ = frames.shape
    rows = np.ascontiguousarray(frames).reshape(t * height, width, 3)
    gray = cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY)
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB).reshape(frames.shape)


def color_jitter(
    frames: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> np.ndarray:
    """Brightness, contrast, saturation and hue changed in random order, drawn for each frame.

    Factors are uniform in 1 +- the first three settings, the hue's shift in +- ``hue`` turns.
    Contrast pulls towards the frame's mean luminance, saturation towards each pixel's luminance.
    """
    _check(frames)
    spread = np.array([brightness, contrast, saturation])
    factors = rng.uniform(1 - spread, 1 + spread, (len(frames), 3))
    shifts = rng.uniform(-hue, hue, len(frames))
    orders = rng.permuted(np.tile(np.arange(4), (len(frames), 1)), axis=1)
    out = np.empty(frames.shape, np.uint8)
    for i, frame in enumerate(frames):
        frame = np.ascontiguousarray(frame)
        for step in orders[i]:
            if step == 0 and brightness > 0:
                frame = _levels(frame, factors[i, 0], 0.0)
            elif step == 1 and contrast > 0:
                frame = _levels(frame, factors[i, 1], _mean_luminance(frame))
            elif step == 2 and saturation > 0:
                frame = _saturate(frame, factors[i, 2])
            elif step == 3 and hue > 0:
                frame = _turn_hue(frame, shifts[i])
        out[i] = frame
    return out


_LUMINANCE = np.array([0.299, 0.587, 0.114])


def _levels(frame: np.ndarray, factor: float, centre: float) -> np.ndarray:
    levels = np.arange(256) * factor + (1 - factor) * centre
    return cv2.LUT(frame, np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def _mean_luminance(frame: np.ndarray) -> float:
    return float(np.dot(cv2.mean(frame)[:3], _LUMINANCE))


def _saturate(frame: np.ndarray, factor: float) -> np.ndarray:
    return cv2.transform(frame, factor * np.eye(3) + (1 - factor) * _LUMINANCE[None])


def _turn_hue(frame: np.ndarray, shift: float) -> np.ndarray:
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)  # uint8 wraps, as hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _check(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(
            f"a video clip must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}"
        )
