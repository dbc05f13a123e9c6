"""The process that runs MediaPipe, started with the Python of an environment that has it.

It needs numpy 1, which the rest of SKI does not: so it imports nothing of SKI, and pictures and
joints pass through its standard input and output. No picture is written to any file.

It first answers one line of JSON, ``{"estimator": "mediapipe 0.10.21 ..."}``. A request is one line
``{"frames": n, "height": h, "width": w, "first": true}`` and n * h * w * 3 bytes of RGB pictures;
``first`` starts another clip. The answer is float32 (n, people, 33, 6): x and y in shares of the
picture, visibility, and world coordinates in metres (y down, z away, from between the hips); NaN
where nobody was found. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np

LANDMARKS, VALUES = 33, 6
MARGIN = 0.15
"""By this share of its longer side the box of a person who was found is widened and painted over,
before the next person is looked for."""


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    people = json.loads(sys.argv[1])["people"]
    import mediapipe

    answers.write(
        json.dumps({"estimator": f"mediapipe {mediapipe.__version__} pose, complexity 1"}).encode()
        + b"\n"
    )
    answers.flush()
    poses: list = []
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        shape = (request["frames"], request["height"], request["width"], 3)
        data = sys.stdin.buffer.read(int(np.prod(shape)))
        pictures = np.frombuffer(data, np.uint8).reshape(shape)
        if request["first"]:
            for pose in poses:
                pose.close()
            poses = [
                mediapipe.solutions.pose.Pose(static_image_mode=False, model_complexity=1)
                for _ in range(people)
            ]
        found = np.stack([_look(poses, picture) for picture in pictures])
        answers.write(found.astype("<f4").tobytes())
        answers.flush()


def _look(poses: list, picture: np.ndarray) -> np.ndarray:
    """(people, 33, 6) of one picture (H, W, 3)."""
    height, width = picture.shape[:2]
    found = np.full((len(poses), LANDMARKS, VALUES), np.nan)
    for person, pose in enumerate(poses):
        result = pose.process(picture)
        if result.pose_landmarks is None or result.pose_world_landmarks is None:
            break
        image = [(p.x, p.y, p.visibility) for p in result.pose_landmarks.landmark]
        world = [(p.x, p.y, p.z) for p in result.pose_world_landmarks.landmark]
        found[person] = np.hstack([image, world])
        if person + 1 < len(poses):
            points = found[person, :, :2] * (width, height)
            low, high = points.min(axis=0), points.max(axis=0)
            wider = MARGIN * (high - low).max()
            x0, y0 = np.clip(low - wider, 0, (width, height)).astype(int)
            x1, y1 = np.clip(high + wider, 0, (width, height)).astype(int)
            picture = picture.copy()
            picture[y0:y1, x0:x1] = picture.mean(axis=(0, 1))
    return found


if __name__ == "__main__":
    main()
