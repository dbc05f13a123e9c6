"""What the tests of the server share."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np

from apps.serve.app import create_app
from apps.serve.server import Server
from apps.serve.settings import Settings
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


@contextmanager
def in_thread(**settings):
    """A server on loopback in a thread: its service and address. Nothing of it stays on disk."""
    made = Settings(**{"workers": 1, "batch_wait_ms": 0.0, **settings})
    app = create_app(made)
    service, server = app.state.service, Server(app, made)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started and all(w.state != "loading" for w in service.workers))
            yield service, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            left = list(service.uploads.folder.iterdir())
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()
    assert left == []
    assert not service.uploads.folder.exists()


def until(done, seconds=120.0):
    """Wait for something that will come about."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def get(url, path):
    """Status and body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def metric(url, name):
    """A value of the metrics; 0 where it is not there."""
    for line in get(url, "/metrics")[1].decode().splitlines():
        if line.startswith(name):
            return float(line.rsplit(" ", 1)[1])
    return 0.0
