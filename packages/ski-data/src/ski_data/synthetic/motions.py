"""Joint-angle motion models: an action of one subject as poses over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ski_data.synthetic import body as kinematics
from ski_data.synthetic.body import SIGN, Body, Figure, Pose
from ski_data.synthetic.classes import SIDES, Action
from ski_data.synthetic.props import BACK, SEAT, Prop, props

FPS = 15
"""Video and skeleton frames per second."""
_HAND = {"left": 7, "right": 11}
_KNEE = {"left": 13, "right": 17}


@dataclass(frozen=True)
class Style:
    """How one subject moves; drawn once per subject.

    Attributes:
        tempo: Speed against the average.
        amplitude: Size of movements against the average.
        sway: -1..1, the side to which the person idles.
        stance: Half the distance of the feet against the hips.
        lean: Forward tilt of the trunk at rest, radians.
        elbow: Elbow flexion of a hanging arm, radians.
        away: How far hanging arms stand off.
        lift: Raises or lowers elbows in hand actions.
    """

    tempo: float
    amplitude: float
    sway: float
    stance: float
    lean: float
    elbow: float
    away: float
    lift: float


def random_style(rng: np.random.Generator) -> Style:
    """Habits of a new subject."""
    return Style(
        tempo=rng.uniform(0.82, 1.2),
        amplitude=rng.uniform(0.85, 1.12),
        sway=rng.uniform(-1, 1),
        stance=rng.uniform(1.0, 1.7),
        lean=rng.uniform(-0.03, 0.09),
        elbow=rng.uniform(0.12, 0.5),
        away=rng.uniform(0.08, 0.22),
        lift=rng.uniform(-0.12, 0.12),
    )


@dataclass(frozen=True)
class Performance:
    """One acted clip in the stage's frame.

    Attributes:
        figure: Joints and orientations.
        active: (T,) 0..1, how far the action is under way.
        props: Objects.
        holding: Per side what the hand holds, per frame; only for acting sides with an object.
    """

    figure: Figure
    active: np.ndarray
    props: tuple[Prop, ...]
    holding: dict[str, np.ndarray]


@dataclass
class Scene:
    """What a motion model works on: it changes ``pose`` and may set ``contact``."""

    action: Action
    body: Body
    style: Style
    time: np.ndarray
    rng: np.random.Generator
    pose: Pose
    active: np.ndarray
    reaches: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    held_from: float = 0.0

    def head_point(self, side: str, x: float, y: float, z: float) -> np.ndarray:
        """A point by the head, from the shoulder of ``side``, in the chest's frame at rest."""
        size = self.body.height / 1.72
        point = np.array([x * SIGN[side], y, z]) * size
        centre = np.array([0.0, self.body.neck + self.body.head, 0.0])
        return centre + point - kinematics.shoulder_offset(self.body, side)

    def wobble(self, hertz: float, spread: float = 0.15) -> np.ndarray:
        """(T,) sine of about that frequency at the subject's tempo, random phase."""
        rate = hertz * self.style.tempo * (1 + spread * self.rng.uniform(-1, 1))
        return np.sin(2 * np.pi * (rate * self.time + self.rng.uniform()))

    def arm(self, side: str, goal: np.ndarray, weight: np.ndarray | None = None) -> None:
        """Blend the arm of ``side`` towards angles ``goal``."""
        goal = np.broadcast_to(goal, self.pose.arms[side].shape)
        weight = self.active if weight is None else weight
        self.pose.arms[side] = kinematics.blend(self.pose.arms[side], goal, weight)

    def toward(self, side: str, x: float, y: float, z: float) -> np.ndarray:
        """A direction in the chest's frame, x outwards, with a little variation."""
        vector = np.array([x, y, z]) + 0.06 * self.rng.standard_normal(3)
        return vector * np.array([SIGN[side], 1, 1])


def smooth(value: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, a smooth step (zero speed and acceleration at both ends) between."""
    x = np.clip(value, 0, 1)
    return x * x * x * (x * (6 * x - 15) + 10)


def _point(x: float, y: float, z: float) -> np.ndarray:
    return np.array([x, y, z], float)


def _envelope(time: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """(T,) rise into the action, hold, and in half of the clips the way back."""
    ramp = rng.uniform(0.4, 0.62) / style.tempo
    start = rng.uniform(-0.25, 0.22)
    rise = smooth((time - start) / ramp)
    if rng.random() < 0.5:
        return rise
    end = time[-1] - rng.uniform(-0.2, 0.12)
    return np.minimum(rise, smooth((end - time) / ramp))


def _stand(body: Body, style: Style, time: np.ndarray, rng: np.random.Generator) -> Pose:
    """Idle standing: weight shifts, breathing, hanging arms that differ a little."""
    frames, zero = len(time), np.zeros((len(time), 3))
    phase = rng.uniform(0, 2 * np.pi, 4)
    slow = np.sin(2 * np.pi * 0.35 * style.tempo * time + phase[0])
    shift = 0.012 * (style.sway + 0.7 * slow)
    root = np.stack([shift, body.stand - 0.004 * slow**2, 0.008 * np.sin(time + phase[1])], -1)
    root += _point(rng.uniform(-0.12, 0.12), 0, rng.uniform(-0.12, 0.12))
    spine = zero + _point(style.lean + 0.03 * rng.standard_normal(), 0, -0.03 * style.sway)
    spine[:, 0] += 0.008 * np.sin(2 * np.pi * 0.3 * time + phase[2])
    head = zero + _point(0.05 * rng.standard_normal(), 0.12 * rng.standard_normal(), 0)
    head[:, 1] += 0.05 * np.sin(0.9 * time + phase[3])
    arms, ankles, toes = {}, {}, {}
    for side in SIDES:
        out = SIGN[side] * (style.away + 0.03 * rng.standard_normal())
        swing = 0.03 * np.sin(2 * np.pi * 0.4 * time + rng.uniform(0, 6.28))
        swing += 0.05 * rng.standard_normal()
        upper = np.stack([np.full(frames, out), np.full(frames, -1.0), swing], -1)
        arms[side] = kinematics.straight_arm(upper)
        arms[side][:, 4] = np.clip(style.elbow + 0.12 * rng.standard_normal(), 0.08, 0.8)
        x = SIGN[side] * body.hip * style.stance
        ankles[side] = zero + _point(root[0, 0] - shift[0] + x, body.ankle, root[0, 2] - 0.02)
        toes[side] = np.zeros(frames)
    yaw = np.full(frames, np.radians(rng.uniform(-15, 15))) + 0.03 * slow * style.sway
    return Pose(root, yaw, zero.copy(), spine, head, arms, ankles, toes)


def _wave(s: Scene) -> None:
    rate = s.rng.uniform(1.6, 2.3)
    for side in s.action.sides:
        swing = 0.62 * s.style.amplitude * s.wobble(rate, 0.0)
        upper = s.toward(side, 0.85, 0.12 + s.style.lift, 0.3)
        fore = s.toward(side, 0.15, 0.95, 0.22) + np.outer(swing, [SIGN[side], 0, 0])
        s.arm(side, kinematics.bent_arm(upper, fore))


def _raise_hand(s: Scene) -> None:
    for side in s.action.sides:
        sway = np.outer(0.05 * s.wobble(0.5), [1.0, 0, 0])
        upper = s.toward(side, 0.16, 0.98, 0.12) + sway
        s.arm(side, kinematics.straight_arm(upper, s.rng.uniform(0.08, 0.35)))


def _touch_head(s: Scene) -> None:
    for side in s.action.sides:
        pat = 0.025 * (1 + s.wobble(1.4))[:, None] * np.array([SIGN[side] * 0.4, 1, 0])
        point = s.head_point(side, 0.07, 0.125, 0.02) + 0.012 * s.rng.standard_normal(3)
        s.arm(side, kinematics.arm_to(point + pat, s.toward(side, 1.0, -0.05, 0.2), s.body))
    s.pose.head[:, 0] += 0.12 * s.active * s.rng.uniform(0, 1)


def _drink(s: Scene) -> None:
    (side,) = s.action.sides
    waist = kinematics.bent_arm(s.toward(side, 0.2, -1, 0.1), s.toward(side, -0.12, 0.0, 1.0))
    s.pose.arms[side] = np.broadcast_to(waist, s.pose.arms[side].shape).copy()
    sip = s.active * (0.94 + 0.06 * s.wobble(0.8))
    point = s.head_point(side, 0.045, -0.085, 0.165)
    pole = s.toward(side, 0.65 + s.style.lift, -1, 0.25)
    s.arm(side, kinematics.arm_to(point, pole, s.body), sip)
    s.pose.head[:, 0] -= 0.28 * s.style.amplitude * s.active


def _phone(s: Scene) -> None:
    (side,) = s.action.sides
    point = s.head_point(side, 0.13, -0.035, 0.045) + 0.008 * s.rng.standard_normal(3)
    s.arm(side, kinematics.arm_to(point, s.toward(side, 0.8, -1 + s.style.lift, 0.35), s.body))
    s.pose.head[:, 2] -= SIGN[side] * 0.14 * s.active
    s.pose.head[:, 0] += 0.06 * s.wobble(1.0) * s.active
    s.pose.head[:, 1] += 0.1 * s.wobble(0.4) * s.active


def _brush(s: Scene) -> None:
    (side,) = s.action.sides
    slide = np.outer(0.035 * s.style.amplitude * s.wobble(2.6), [1.0, 0.15, 0])
    point = s.head_point(side, 0.13, -0.095, 0.15) + slide
    pole = s.toward(side, 1.0, 0.02 + s.style.lift, 0.25)
    s.arm(side, kinematics.arm_to(point, pole, s.body))


def _lean(s: Scene, tilt: float, drop: float, weight: np.ndarray) -> None:
    """Bend forward by ``tilt`` radians, half of it in the hips, and sink by ``drop`` metres."""
    s.pose.pelvis[:, 0] += 0.5 * tilt * weight
    s.pose.spine[:, 0] += 0.5 * tilt * weight
    s.pose.root[:, 1] -= drop * weight
    s.pose.root[:, 2] -= 0.11 * tilt * weight


def _touch_knee(s: Scene) -> None:
    (side,) = s.action.sides
    tilt = s.rng.uniform(0.85, 1.02)
    _lean(s, tilt, s.rng.uniform(0.14, 0.2) * s.body.height / 1.72, s.active)
    s.pose.pelvis[:, 2] -= SIGN[side] * 0.14 * s.active
    s.pose.head[:, 0] -= 0.2 * s.active
    knee = kinematics.forward(s.body, s.pose).joints[:, _KNEE[side]]
    offset = np.array([0.015 * SIGN[side], 0.045, 0.05])
    s.reaches[side] = (knee + offset, s.toward(side, 1.0, 0.1, -0.5), s.active)


def _pick_up(s: Scene) -> None:
    (side,) = s.action.sides
    length = s.time[-1]
    down = smooth(s.time / (0.3 * length) + 0.1)
    s.held_from = length * s.rng.uniform(0.4, 0.5)
    rise = smooth((s.time - s.held_from - 0.15) / (0.4 * length))
    bend = down * (1 - rise)
    s.active[:] = np.maximum(bend, rise)
    _lean(s, s.rng.uniform(0.95, 1.15), 0.36 * s.body.height / 1.72, bend)
    s.pose.head[:, 0] -= 0.3 * bend
    place = s.pose.ankles[side][0] * [1, 0, 1]
    place += _point(SIGN[side] * s.rng.uniform(0.1, 0.2), 0.09, s.rng.uniform(0.2, 0.3))
    turn = kinematics.rotation(np.array([0, s.pose.yaw[0], 0]))
    floor = np.broadcast_to(turn @ place, (len(s.time), 3))
    s.reaches[side] = (floor, s.toward(side, 1.0, 0.1, -0.4), down)
    s.pose.ankles[side][:, 2] += 0.05
    waist = kinematics.bent_arm(s.toward(side, 0.2, -1, 0.15), s.toward(side, -0.05, 0.3, 1.0))
    s.pose.arms[side] = kinematics.blend(
        s.pose.arms[side], np.broadcast_to(waist, s.pose.arms[side].shape), rise
    )


def _clap(s: Scene) -> None:
    gap = 0.03 + 0.15 * s.style.amplitude * (1 + s.wobble(1.9))
    height = -0.14 + s.style.lift + 0.03 * s.rng.standard_normal()
    for side in SIDES:
        place = np.stack([SIGN[side] * gap, np.full_like(gap, height), np.full_like(gap, 0.36)], -1)
        target = place - kinematics.shoulder_offset(s.body, side)
        s.arm(side, kinematics.arm_to(target, s.toward(side, 0.8, -1, 0), s.body))


def _kick(s: Scene) -> None:
    (side,) = s.action.sides
    length = s.body.thigh + s.body.shin
    high = s.rng.uniform(1.15, 1.45) * s.style.amplitude
    swing = s.active * smooth(0.95 + 1.5 * s.wobble(0.85))
    angle = -0.3 * s.active * (1 - swing) + high * swing
    bend = 1 - 0.08 * s.active - 0.12 * s.active * (1 - swing)
    hip = s.pose.root + _point(SIGN[side] * s.body.hip, 0, 0)
    leg = np.stack([np.full_like(angle, 0.05 * SIGN[side]), -np.cos(angle), np.sin(angle)], -1)
    goal = hip + leg * (length * 0.985 * bend)[:, None]
    goal[:, 1] = np.maximum(goal[:, 1], s.body.ankle)
    _one_leg(s, side, goal, s.active)
    s.pose.toes[side] = 0.5 * s.active * (1 - swing) - 0.75 * angle * swing
    s.pose.spine[:, 0] -= 0.14 * swing
    for arm in SIDES:
        s.arm(arm, kinematics.straight_arm(s.toward(arm, 0.6, -1, 0.1), 0.5), 0.7 * s.active)


def _one_leg(s: Scene, side: str, goal: np.ndarray, weight: np.ndarray) -> None:
    """Bring the ankle of ``side`` to ``goal`` and the weight onto the other foot."""
    shift = -SIGN[side] * s.body.hip * 0.9 * weight[:, None] * np.array([1.0, 0, 0])
    s.pose.root += shift
    s.pose.ankles[side] += weight[:, None] * (goal + shift - s.pose.ankles[side])
    s.pose.spine[:, 2] -= SIGN[side] * 0.05 * weight


def _raise_foot(s: Scene) -> None:
    (side,) = s.action.sides
    lift = np.clip(s.rng.uniform(1.25, 1.65) * s.style.amplitude, 1.1, 1.75)
    angle = lift + 0.06 * s.wobble(0.7)
    hip = s.pose.root + _point(SIGN[side] * s.body.hip, 0, 0)
    thigh = np.stack([np.full_like(angle, 0.08 * SIGN[side]), -np.cos(angle), np.sin(angle)], -1)
    shin = np.array([0.0, -1.0, -0.12])
    _one_leg(s, side, hip + thigh * s.body.thigh + shin * s.body.shin, s.active)
    s.pose.toes[side] = 0.35 * s.active
    for arm in SIDES:
        s.arm(arm, kinematics.straight_arm(s.toward(arm, 0.45, -1, 0.1), 0.4), 0.6 * s.active)


def _sit(s: Scene) -> None:
    ramp = 0.85 / s.style.tempo
    start = s.rng.uniform(-0.15, 0.25)
    down = smooth((s.time - start) / ramp)
    s.active[:] = down
    drop = s.body.stand - (SEAT + 0.09)
    lean = np.sin(np.pi * down) * 0.6
    s.pose.root[:, 1] -= drop * down
    s.pose.root[:, 2] -= BACK * s.body.height / 1.72 * down
    s.pose.pelvis[:, 0] += 0.55 * lean - 0.05 * down
    s.pose.spine[:, 0] += 0.4 * lean
    for side in SIDES:
        knee = kinematics.forward(s.body, s.pose).joints[:, _KNEE[side]]
        lap = knee + np.array([0, 0.07, -0.1])
        s.reaches[side] = (lap, s.toward(side, 1.0, 0.1, -0.6), down)


def _walk(s: Scene) -> None:
    rate = s.rng.uniform(0.95, 1.25) * s.style.tempo
    phase = 2 * np.pi * (rate * s.time + s.rng.uniform())
    high = s.rng.uniform(0.85, 1.15) * s.style.amplitude
    for side in SIDES:
        wave = SIGN[side] * np.sin(phase)
        step = smooth(np.maximum(wave, 0) * 1.15) * s.active
        angle = high * step
        goal = s.pose.ankles[side].copy()
        goal[:, 1] += s.body.thigh * (1 - np.cos(angle)) + 0.06 * step
        goal[:, 2] += s.body.thigh * np.sin(angle) * 0.7
        s.pose.ankles[side] = goal
        s.pose.toes[side] = 0.55 * step
        swing = -0.55 * s.style.amplitude * wave
        upper = np.stack([np.full_like(wave, 0.14 * SIGN[side]), -np.cos(swing), np.sin(swing)], -1)
        goal_arm = kinematics.straight_arm(upper)
        goal_arm[:, 4] = 0.75 + 0.35 * np.sin(swing)
        s.arm(side, goal_arm, s.active)
    s.pose.root[:, 0] -= 0.035 * np.sin(phase) * s.active
    s.pose.root[:, 1] += 0.012 * np.cos(2 * phase) * s.active - 0.012


MOTIONS: dict[str, Callable[[Scene], None]] = {
    "wave": _wave,
    "raise_hand": _raise_hand,
    "touch_head": _touch_head,
    "drink": _drink,
    "pick_up": _pick_up,
    "phone": _phone,
    "brush": _brush,
    "touch_knee": _touch_knee,
    "clap": _clap,
    "kick": _kick,
    "raise_foot": _raise_foot,
    "sit": _sit,
    "walk": _walk,
}


def perform(
    action: Action, body: Body, style: Style, frames: int, rng: np.random.Generator
) -> Performance:
    """Act ``action`` for ``frames`` frames at :data:`FPS`."""
    time = np.arange(frames) / FPS
    pose = _stand(body, style, time, rng)
    scene = Scene(action, body, style, time, rng, pose, _envelope(time, style, rng), {})
    MOTIONS[action.motion](scene)
    for side, (target, pole, weight) in scene.reaches.items():
        figure = kinematics.forward(body, pose)
        shoulder = figure.joints[:, _HAND[side] - 3]
        local = kinematics.apply(figure.chest.swapaxes(-1, -2), target - shoulder)
        goal = kinematics.arm_to(local, pole, body)
        if action.motion == "pick_up":  # lets go of the floor when rising
            weight = weight * (1 - smooth((time - scene.held_from - 0.1) / 0.45))
        scene.arm(side, goal, weight)
    figure = kinematics.forward(body, pose)
    held = time >= scene.held_from
    holding = {} if action.prop in ("none", "chair") else dict.fromkeys(action.sides, held)
    objects = props(action, figure, scene.active, held, body.height)
    return Performance(figure, scene.active, objects, holding)
