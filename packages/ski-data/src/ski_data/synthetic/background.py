"""Random rooms behind the person."""

from __future__ import annotations

import cv2
import numpy as np


def _colour(rng: np.random.Generator, low: float, high: float, tint: float) -> np.ndarray:
    return rng.uniform(low, high) * (1 + tint * rng.uniform(-1, 1, 3))


def _rgb(colour: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(c) for c in np.clip(colour, 0, 255))


def _box(
    image: np.ndarray, left: float, top: float, right: float, bottom: float, colour: np.ndarray
) -> None:
    """A filled rectangle with a lighter top and a darker side."""
    a, b = (int(left), int(top)), (int(right), int(bottom))
    cv2.rectangle(image, a, b, _rgb(colour), -1)
    lid = int(0.08 * (bottom - top))
    if lid:
        cv2.rectangle(image, a, (b[0], a[1] + lid), _rgb(1.18 * colour), -1)
    side = int(0.2 * (right - left))
    if side:
        cv2.rectangle(image, (b[0] - side, a[1] + lid), b, _rgb(0.75 * colour), -1)


def room(size: int, floor_line: float, rng: np.random.Generator) -> np.ndarray:
    """A float32 (size, size, 3) RGB image, 0..255, of a wall with pictures, furniture and a floor.

    Args:
        size: Width and height.
        floor_line: Row at which the floor meets the wall.
        rng: Where all choices come from.
    """
    image = np.empty((size, size, 3), np.float32)
    floor = int(np.clip(floor_line, 0.5 * size, 0.97 * size))
    wall = _colour(rng, 80, 215, 0.16)
    x = np.linspace(-1, 1, size, dtype=np.float32)
    across = 1 + rng.uniform(-0.2, 0.2) * x
    down = 1 + rng.uniform(-0.2, 0.1) * x
    image[:] = (across[None, :] * down[:, None])[..., None] * wall.astype(np.float32)
    if rng.random() < 0.3:  # wallpaper or planks
        period = rng.uniform(0.05, 0.16) * size
        stripes = np.sign(np.sin(2 * np.pi * np.arange(size) / period + rng.uniform(0, 6)))
        image *= (1 + 0.06 * stripes).astype(np.float32)[None, :, None]
    for _ in range(rng.integers(1, 4)):  # pictures, windows, shelves
        w, h = rng.uniform(0.1, 0.32, 2) * size
        left, top = rng.uniform(-0.05, 0.85) * size, rng.uniform(0.02, 0.4) * size
        frame = _colour(rng, 30, 230, 0.4)
        cv2.rectangle(image, (int(left), int(top)), (int(left + w), int(top + h)), _rgb(frame), -1)
        inner = _colour(rng, 40, 240, 0.5)
        edge = 0.015 * size + 1
        corners = (int(left + edge), int(top + edge)), (int(left + w - edge), int(top + h - edge))
        cv2.rectangle(image, *corners, _rgb(inner), -1)
        if rng.random() < 0.5:
            cv2.line(image, corners[0], corners[1], _rgb(0.7 * inner), 1, cv2.LINE_AA)
    ground = _colour(rng, 60, 170, 0.25)
    shade = np.linspace(0.8, 1.15, size - floor, dtype=np.float32)
    image[floor:] = shade[:, None, None] * ground.astype(np.float32)
    if rng.random() < 0.6:  # boards or tiles towards the vanishing point
        vanish = (rng.uniform(0.3, 0.7) * size, floor - 0.45 * size)
        for k in np.arange(-2, 3, rng.uniform(0.15, 0.4)):
            end = (int(vanish[0] + k * size), int(1.4 * size))
            line = np.zeros_like(image[..., 0])
            cv2.line(line, (int(vanish[0]), int(vanish[1])), end, 1.0, 1, cv2.LINE_AA)
            image[floor:] *= 1 - 0.15 * line[floor:, :, None]
    cv2.line(image, (0, floor), (size, floor), _rgb(0.6 * wall), max(1, size // 60))
    for _ in range(rng.integers(1, 5)):  # furniture and boxes at the wall
        w, h = rng.uniform(0.08, 0.3) * size, rng.uniform(0.08, 0.5) * size
        left = rng.uniform(-0.1, 1.0) * size
        bottom = floor + rng.uniform(0.0, 0.08) * size
        _box(image, left, bottom - h, left + w, bottom, _colour(rng, 35, 210, 0.5))
    if rng.random() < 0.4:  # a plant or a lamp
        centre = np.array([rng.choice([0.1, 0.9]) * size, floor - rng.uniform(0.1, 0.3) * size])
        leaf = np.array([rng.uniform(20, 80), rng.uniform(80, 150), rng.uniform(20, 70)])
        for offset in 0.06 * size * rng.standard_normal((9, 2)):
            spot = tuple(int(v) for v in centre + offset)
            radius = int(rng.uniform(0.02, 0.05) * size) + 1
            cv2.circle(image, spot, radius, _rgb(leaf * rng.uniform(0.7, 1.3)), -1, cv2.LINE_AA)
    coarse = rng.standard_normal((6, 6)).astype(np.float32)
    image *= 1 + 0.05 * cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.0)), 0, 255)
