"""A shaded figure made of capsules, drawn into all frames of a clip at once.

Every body part is a capsule in the camera's frame. Its pixels, depths and Lambert shading are
computed for all frames together in windows just large enough; a depth buffer decides what is in
front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ski_data.synthetic.background import room
from ski_data.synthetic.body import SIGN, Body, Figure, apply, unit
from ski_data.synthetic.camera import Camera
from ski_data.synthetic.classes import SIDES
from ski_data.synthetic.props import Prop

Colour = tuple[float, float, float]

_SKIN = (
    *((236, 188, 158), (224, 172, 138), (198, 142, 106)),
    *((160, 106, 76), (122, 80, 58), (242, 204, 178)),
)
_HAIR = ((28, 22, 20), (70, 46, 30), (110, 72, 40), (176, 136, 80), (120, 118, 116), (60, 24, 18))
_EYES = (28.0, 24.0, 30.0)
_LIPS = (150.0, 50.0, 55.0)


@dataclass(frozen=True)
class Capsule:
    """Ends (T, 3) in metres and their radii; ``stripes`` bands along its length."""

    start: np.ndarray
    end: np.ndarray
    radius_start: float
    radius_end: float
    colour: Colour
    stripes: float = 0.0


@dataclass(frozen=True)
class Look:
    """Colours (RGB 0..255) and clothes of a subject in one replication."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    props: dict[str, Colour]
    sleeves: bool
    stripes: float
    long_hair: bool


def _hue(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Colour:
    hsv = [rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]
    rgb = cv2.cvtColor(np.array([[hsv]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    return tuple(float(c) * 255 for c in rgb)


def random_look(subject: np.random.Generator, clip: np.random.Generator) -> Look:
    """Skin and hair from the subject's generator, clothes and objects from the clip's."""
    return Look(
        skin=_SKIN[subject.integers(len(_SKIN))],
        hair=_HAIR[subject.integers(len(_HAIR))],
        long_hair=bool(subject.random() < 0.4),
        shirt=_hue(clip, (0.15, 0.85), (0.45, 0.95)),
        trousers=_hue(clip, (0.1, 0.6), (0.16, 0.5)),
        shoes=_hue(clip, (0.0, 0.5), (0.1, 0.9)),
        props={
            "cup": _hue(clip, (0.75, 1.0), (0.8, 1.0)),
            "phone": ((18.0, 18.0, 24.0), (240.0, 240.0, 245.0))[clip.integers(2)],
            "brush": _hue(clip, (0.7, 1.0), (0.85, 1.0)),
            "bristle": (250.0, 250.0, 250.0),
            "chair": _hue(clip, (0.3, 0.7), (0.25, 0.75)),
        },
        sleeves=bool(clip.random() < 0.45),
        stripes=float(clip.choice([0.0, 0.0, 4.0, 7.0])),
    )


def figure_capsules(figure: Figure, body: Body, look: Look) -> list[Capsule]:
    """The person of ``figure`` (camera's or stage's frame) as capsules."""
    j, g, h = figure.joints, body.girth, body.height / 1.72
    pelvis, chest, head = figure.pelvis, figure.chest, figure.head
    parts: list[Capsule] = []

    def add(
        a: np.ndarray, b: np.ndarray, r0: float, r1: float, colour: Colour, s: float = 0
    ) -> None:
        parts.append(Capsule(a, b, r0 * h, r1 * h, colour, s))

    def by(frame: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
        return apply(frame, np.array([x, y, z]) * h)

    base, top, crown = j[:, 0], j[:, 20], j[:, 3]
    hips = [j[:, k] + by(pelvis, x, 0.01, 0) for k, x in ((12, -0.02), (16, 0.02))]
    add(*hips, 0.092 * g, 0.092 * g, look.trousers)
    wide = body.shoulder / h - 0.085
    for side in SIDES:
        x = SIGN[side]
        low = base + by(pelvis, x * 0.05, 0.06, 0)
        high = top + by(chest, x * wide, -0.09, 0)
        add(low, high, 0.095 * g, 0.105 * g, look.shirt, look.stripes)
    middle = base + by(pelvis, 0, 0.06, 0.012), top + by(chest, 0, -0.11, 0.012)
    add(*middle, 0.095 * g, 0.105 * g, look.shirt, look.stripes)
    shoulders = [j[:, k] + by(chest, x, -0.02, 0) for k, x in ((4, -0.03), (8, 0.03))]
    add(*shoulders, 0.062 * g, 0.062 * g, look.shirt)
    add(top, j[:, 2] + by(head, 0, 0.03, 0), 0.05, 0.046, look.skin)

    def on_head(
        a: tuple[float, float, float], b: tuple[float, float, float], r: float, colour: Colour
    ) -> None:
        add(crown + by(head, *a), crown + by(head, *b), r, r, colour)

    on_head((0, -0.04, 0.01), (0, 0.045, 0), 0.085, look.skin)
    on_head((0, 0.064, -0.02), (0, 0.0, -0.035), 0.094, look.hair)
    for x in (-1, 1):
        if look.long_hair:
            on_head((0.05 * x, 0.0, -0.045), (0.06 * x, -0.14, -0.06), 0.05, look.hair)
        on_head((0.034 * x, 0.01, 0.08), (0.034 * x, 0.01, 0.08), 0.013, _EYES)
    on_head((0, -0.01, 0.092), (0, -0.025, 0.097), 0.016, look.skin)
    on_head((-0.022, -0.062, 0.074), (0.022, -0.062, 0.074), 0.009, _LIPS)
    fore = look.shirt if look.sleeves else look.skin
    for side in SIDES:
        a, k = (4 if side == "left" else 8), (12 if side == "left" else 16)
        add(j[:, a], j[:, a + 1], 0.056 * g, 0.046 * g, look.shirt, look.stripes)
        add(j[:, a + 1], j[:, a + 2], 0.044 * g, 0.034 * g, fore)
        along = unit(j[:, a + 3] - j[:, a + 2])
        add(j[:, a + 2] + 0.02 * along, j[:, a + 3] + 0.02 * along, 0.042, 0.047, look.skin)
        add(j[:, k], j[:, k + 1], 0.082 * g, 0.058 * g, look.trousers)
        add(j[:, k + 1], j[:, k + 2], 0.056 * g, 0.043 * g, look.trousers)
        front = unit(j[:, k + 3] - j[:, k + 2])
        add(j[:, k + 2] - 0.02 * front, j[:, k + 3] - 0.01 * front, 0.05, 0.043, look.shoes)
    return parts


def prop_capsules(props: Sequence[Prop], camera: Camera, look: Look) -> list[Capsule]:
    """Objects in the camera's frame."""
    return [
        Capsule(camera.view(p.start), camera.view(p.end), p.radius, p.radius, look.props[p.colour])
        for p in props
    ]


def draw(
    frames: np.ndarray,
    capsules: Sequence[Capsule],
    camera: Camera,
    shift: np.ndarray,
    light: np.ndarray,
    ambient: float,
) -> None:
    """Draw capsules over ``frames`` in place.

    Args:
        frames: float32 (T, 3, H, W), RGB planes 0..255.
        capsules: In the camera's frame.
        camera: For the projection.
        shift: (T, 2) pixels by which the camera shakes.
        light: (3,) direction to the light: image right, image down, towards the camera.
        ambient: 0..1 share of light that comes from everywhere.
    """
    depth = np.full((len(frames), *frames.shape[2:]), np.inf, np.float32)
    order = sorted(capsules, key=lambda c: -float(np.mean(c.start[:, 2] + c.end[:, 2])))
    for capsule in order:
        _draw_one(frames, depth, capsule, camera, shift, light, ambient)


def _draw_one(
    frames: np.ndarray,
    depth: np.ndarray,
    capsule: Capsule,
    camera: Camera,
    shift: np.ndarray,
    light: np.ndarray,
    ambient: float,
) -> None:
    height, width = depth.shape[1:]
    a = camera.project(capsule.start) + shift
    b = camera.project(capsule.end) + shift
    za, zb = capsule.start[:, 2], capsule.end[:, 2]
    scale = camera.focal / np.maximum(za, 0.1), camera.focal / np.maximum(zb, 0.1)
    ra, rb = capsule.radius_start * scale[0], capsule.radius_end * scale[1]
    low = np.floor(np.minimum(a - ra[:, None], b - rb[:, None]) - 1).astype(int)
    high = np.ceil(np.maximum(a + ra[:, None], b + rb[:, None]) + 2).astype(int)
    w, h = (high - low).max(axis=0)
    f = np.float32
    v = b - a
    inverse = 1 / np.maximum(np.sum(v * v, -1), 1e-6)
    gx = (np.arange(w) + low[:, :1] + 0.5 - a[:, :1]).astype(f)[:, None, :]
    gy = (np.arange(h) + low[:, 1:] + 0.5 - a[:, 1:]).astype(f)[:, :, None]
    vx, vy = v.astype(f).T[..., None, None]
    per = inverse.astype(f)[:, None, None]
    t = gx * (vx * per) + gy * (vy * per)
    np.clip(t, 0, 1, out=t)
    dx = gx - t * vx
    dy = gy - t * vy
    radius = ra.astype(f)[:, None, None] + t * (rb - ra).astype(f)[:, None, None]
    square = dx * dx
    square += dy * dy
    alpha = radius - np.sqrt(square)
    alpha += f(0.5)
    np.clip(alpha, 0, 1, out=alpha)
    square -= radius * radius
    np.negative(square, out=square)
    np.maximum(square, 0, out=square)
    bulge = np.sqrt(square, out=square)
    away = za.astype(f)[:, None, None] + t * (zb - za).astype(f)[:, None, None]
    away -= bulge * (1 / scale[0]).astype(f)[:, None, None]
    dx *= f(light[0])
    dy *= f(light[1])
    bulge *= f(light[2])
    shade = dx
    shade += dy
    shade += bulge
    shade /= radius
    np.maximum(shade, 0, out=shade)
    shade *= f(1 - ambient)
    shade += f(ambient)
    if capsule.stripes:
        shade *= 1 - f(0.25) * (np.sin(t * f(6.283 * capsule.stripes)) > 0)
    colour = np.array(capsule.colour, f)[:, None, None]
    x0, y0 = np.clip(low, 0, (width, height)).T.tolist()
    x1, y1 = np.clip(high, 0, (width, height)).T.tolist()
    left, top = low.T.tolist()
    for i in range(len(frames)):
        if x0[i] >= x1[i] or y0[i] >= y1[i]:
            continue
        here = slice(y0[i], y1[i]), slice(x0[i], x1[i])
        part = slice(y0[i] - top[i], y1[i] - top[i]), slice(x0[i] - left[i], x1[i] - left[i])
        near, old = away[i][part], depth[i][here]
        cover = alpha[i][part] * (near < old)
        target = frames[i, :, here[0], here[1]]
        target += cover * (colour * shade[i][part] - target)
        np.copyto(old, near, where=cover > 0.5)


def _shadow(frames: np.ndarray, camera: Camera, floor: np.ndarray, shift: np.ndarray) -> None:
    """Darken the floor under the person."""
    size = frames.shape[-1]
    spot = camera.project(floor) + shift
    rx = (0.42 * camera.focal / floor[:, 2]).astype(np.float32)
    grid = np.arange(size, dtype=np.float32) + 0.5
    for i in range(len(frames)):
        top = max(0, int(spot[i, 1] - rx[i] * 0.5))
        bottom = min(size, int(spot[i, 1] + rx[i] * 0.5))
        if top >= bottom:
            continue
        x = ((grid - np.float32(spot[i, 0])) / rx[i]) ** 2
        y = ((grid[top:bottom] - np.float32(spot[i, 1])) / (np.float32(0.32) * rx[i])) ** 2
        frames[i, :, top:bottom] *= 1 - np.float32(0.45) * np.exp(-y)[:, None] * np.exp(-x)


_NOISE = np.random.default_rng(20).standard_normal((256, 256, 3), np.float32)


def render(
    figure: Figure,
    props: Sequence[Prop],
    body: Body,
    look: Look,
    camera: Camera,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A clip as uint8 (T, size, size, 3) RGB, and the camera's shake (T, 2) in pixels.

    Args:
        figure: In the stage's frame.
        props: In the stage's frame.
        body: Proportions.
        look: Colours.
        camera: Point of view; its focal length is for ``size``.
        size: Width and height of the video.
        rng: Background, light, shake and noise.
    """
    seen = figure.moved(camera.rotation, -camera.rotation @ camera.position)
    count = len(seen.joints)
    pad = max(4, size // 16)
    behind = camera.position * [-1, 0, -1]
    behind = behind / np.linalg.norm(behind) * rng.uniform(1.1, 1.9)
    line = camera.project(camera.view(behind))[1]
    wide = room(size + 2 * pad, line + pad, rng)
    knots = rng.standard_normal((6, 2)) * 0.006 * size
    at = np.linspace(0, 5, count)
    shift = np.stack([np.interp(at, np.arange(6), knots[:, k]) for k in (0, 1)], -1)
    frames = np.empty((count, 3, size, size), np.float32)
    for i in range(count):
        centre = (wide.shape[1] / 2 - 0.5 - shift[i, 0], wide.shape[0] / 2 - 0.5 - shift[i, 1])
        moved = cv2.getRectSubPix(wide, (size, size), centre)
        frames[i] = moved.transpose(2, 0, 1)
    floor = figure.joints[:, 0] * [1, 0, 1]
    _shadow(frames, camera, camera.view(floor), shift)
    light = unit(np.array([rng.uniform(-0.8, 0.8), -rng.uniform(0.25, 0.9), rng.uniform(0.5, 1.0)]))
    capsules = prop_capsules(props, camera, look) + figure_capsules(seen, body, look)
    draw(frames, capsules, camera, shift, light, rng.uniform(0.35, 0.55))
    time = np.arange(count) / count
    gain = rng.uniform(0.8, 1.15) * (
        1 + rng.uniform(0, 0.12) * np.sin(6.28 * (time + rng.uniform()))
    )
    gain = gain * (1 + rng.uniform(-0.12, 0.12) * time)
    tint = 1 + rng.uniform(-0.07, 0.07, 3)
    strength = np.float32(rng.uniform(1.5, 4.5))
    result = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        picture = frames[i].transpose(1, 2, 0) * (gain[i] * tint).astype(np.float32)
        picture += strength * _noise(size, rng)
        np.clip(picture, 0, 255, out=picture)
        result[i] = picture
    return result, shift


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) white noise cut at a random place out of a fixed tile."""
    tile = _NOISE
    if size > 192:
        tile = np.tile(_NOISE, (size // 256 + 2, size // 256 + 2, 1))
    y, x = rng.integers(0, np.array(tile.shape[:2]) - size + 1)
    return tile[y : y + size, x : x + size]
