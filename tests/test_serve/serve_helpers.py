"""What the tests of the server share."""

from __future__ import annotations

import time

import numpy as np

from ski_data.synthetic.dataset import encode


def write_clip(path, frames=20, height=40, width=48):
    """Frames of noise, as a file."""
    shape = (frames, height, width, 3)
    encode(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    return path


def until_ready(client, seconds=60.0):
    """Wait until the models are loaded, or one cannot be."""
    end = time.monotonic() + seconds
    while client.get("/ready").status_code != 200 and time.monotonic() < end:
        if client.app.state.service.failures:
            return
        time.sleep(0.02)


def error(answer, status):
    """The text of an error, which has the form of all of them and nothing of the inside."""
    assert answer.status_code == status, answer.text
    (only,) = answer.json().values()
    assert set(only) == {"message", "allowed"}
    told = f"{only['message']} | {only['allowed']}"
    for word in ("Traceback", "/tmp", ".py", "site-packages"):
        assert word not in told
    assert only["message"]
    assert only["allowed"]
    return told


def post(client, path="/v1/predict", video=None, name="clip.mp4", **fields):
    """A form with a video and text fields."""
    files = {key: (None, text) for key, text in fields.items()}
    if video is not None:
        files["video"] = (name, video)
    return client.post(path, files=files)
