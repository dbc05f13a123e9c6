"""The server as a process on loopback: a stop by signal, and starts that fail."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from serve_helpers import get, metric, until

from apps.serve.command import main
from apps.serve.load import form

ROOT = Path(__file__).resolve().parents[2]
SLOW = """
import sys, time
from apps.serve import recognizers
plain = recognizers.RecognizerEngine.answer
def slow(self, kind, payloads):
    time.sleep(1.5)
    return plain(self, kind, payloads)
recognizers.RecognizerEngine.answer = slow
from apps.serve.command import main
sys.exit(main(sys.argv[1:]))
"""


def post(url, body):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    try:
        kind = "multipart/form-data; boundary=ski-load-0f1e2d3c4b5a"
        connection.request("POST", "/v1/predict", body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_sigterm_finishes_what_is_in_work(folders, clip, tmp_path):
    place = tmp_path / "temporary"
    place.mkdir()
    argv = ["--model", f"own={folders['own']}", "--port", "0", "--workers", "1"]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *argv],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(place), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        url = process.stdout.readline().strip()
        until(lambda: get(url, "/ready")[0] == 200)
        _stopped_in_work(process, url, form(clip, {}))
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()
    assert list(place.iterdir()) == []
    assert "Traceback" not in (tmp_path / "log.txt").read_text(encoding="utf-8")


def _stopped_in_work(process, url, body):
    answers = []
    idle = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
    threads = [threading.Thread(target=lambda: answers.append(post(url, body))) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: metric(url, "ski_serve_in_work") == 2)
    process.send_signal(signal.SIGTERM)
    until(lambda: get(url, "/ready")[0] == 503)
    status, told = post(url, body)
    assert status == 503
    assert "stopping" in told["error"]["message"]
    assert get(url, "/health")[0] == 200
    for thread in threads:
        thread.join(60)
    assert [status for status, _ in answers] == [200, 200]
    assert process.wait(30) == 0
    idle.close()


def test_a_model_that_cannot_be_loaded_ends_the_command(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    assert main(["--model", f"a={tmp_path / 'model'}", "--port", "0"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("python -m apps.serve: a: ")
    assert not any("Traceback" in line for line in told)


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--model", "a=b", "--port", str(taken.getsockname()[1])]) == 2
    told = capsys.readouterr().err
    assert "--port" in told
    assert told.count("\n") == 1
