"""The server as a process on loopback: what only sockets and signals show."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.serve.command import main
from apps.serve.load import form, load, measure
from ski_data.command import run_one

ROOT = Path(__file__).resolve().parents[2]
SLOW = """
import sys, time
from apps.serve import recognizers
plain = recognizers.RecognizerEngine.answer
def slow(self, kind, payloads):
    time.sleep({seconds})
    return plain(self, kind, payloads)
recognizers.RecognizerEngine.answer = slow
from apps.serve.command import main
sys.exit(main(sys.argv[1:]))
"""


class Running:
    """A server process, its address and its private place for temporary files."""

    def __init__(self, process, port, place):
        self.process, self.port, self.place = process, port, place
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def files(self):
        return [path for path in self.place.rglob("*") if path.is_file()]

    def until(self, done, seconds=120.0):
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end
            assert self.process.poll() is None
            time.sleep(0.02)

    def metric(self, name):
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


@contextmanager
def running(place, *argv, slow=0.0):
    place.mkdir()
    environment = os.environ | {"TMPDIR": str(place), "OMP_NUM_THREADS": "1"}
    code = ["-c", SLOW.format(seconds=slow)] if slow else ["-m", "apps.serve"]
    with (place.parent / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *code, *argv, "--port", "0", "--readers", "1"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        port = int(process.stdout.readline().rsplit(b":", 1)[1])
        server = Running(process, port, place)
        server.until(lambda: server.get("/ready")[0] == 200)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)
        process.stdout.close()


def log(place):
    return (place.parent / "log.txt").read_text(encoding="utf-8")


def post(server, body):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        kind = "multipart/form-data; boundary=ski-load-0f1e2d3c4b5a"
        connection.request("POST", "/v1/predict", body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_sigterm_finishes_what_is_in_work(folders, clip, tmp_path):
    place = tmp_path / "temporary"
    with running(place, "--model", f"own={folders['own']}", slow=1.5) as server:
        answers = []
        body = form(clip, {})
        threads = [threading.Thread(target=lambda: answers.append(post(server, body)))]
        threads += [threading.Thread(target=lambda: answers.append(post(server, body)))]
        for thread in threads:
            thread.start()
        server.until(lambda: server.metric("ski_serve_in_work") == 2)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.get("/ready")[0] == 503)
        status, told = post(server, body)
        assert status == 503
        assert "stopping" in told["error"]["message"]
        assert server.get("/health")[0] == 200
        for thread in threads:
            thread.join(30)
        assert [status for status, _ in answers] == [200, 200]
        assert server.process.wait(20) == 0
    assert list(place.iterdir()) == []
    assert "Traceback" not in log(place)


def test_streams_limits_load_and_clients_that_go(folders, clip, clip_file, tmp_path, capsys):
    place = tmp_path / "temporary"
    options = ["--model", f"own={folders['own']}", "--max-bytes", "1000000", "--queue", "4"]
    with running(place, *options) as server:
        _a_body_without_an_end_is_refused(server)
        _a_client_that_goes_leaves_nothing(server)
        found = measure(server.url, "/v1/predict", form(clip, {}), requests=24, concurrency=4)
        assert (found.errors, len(found.latencies)) == ({}, 24)
        assert found.rate > 0
        assert 0 < found.quantile(0.5) <= found.quantile(0.99)
        found = measure(server.url, "/v1/predict", form(clip, {}), requests=60, concurrency=20)
        assert set(found.errors) <= {"429"}
        assert len(found.latencies) + found.errors.get("429", 0) == 60
        argv = [server.url, "--video", str(clip_file), "--requests", "4", "--concurrency", "2"]
        assert run_one(load, [*argv, "--json"], prog="load") == 0
        assert json.loads(capsys.readouterr().out)["answered"] == 4
        assert run_one(load, [*argv, "--classes", "a,a"], prog="load") == 1
        assert "4 x 400" in capsys.readouterr().out
        assert server.files() == []
        idle = socket.create_connection(("127.0.0.1", server.port))
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
        idle.close()
    assert list(place.iterdir()) == []
    assert "Traceback" not in log(place)


def _a_body_without_an_end_is_refused(server):
    """No length is told, so only counting what comes helps."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        head = b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
        connection.sendall(b"%x\r\n%s\r\n" % (len(head), head))
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        sent = largest = 0
        connection.settimeout(5)
        try:
            while sent < 16 << 20:
                connection.sendall(chunk)
                sent += 1 << 16
                largest = max([largest, *(p.stat().st_size for p in server.files())])
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            pytest.fail("the connection broke before the answer could be read")
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert largest <= 1_000_000
    assert server.files() == []


def _a_client_that_goes_leaves_nothing(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n' + bytes(40_000)
        )
        server.until(lambda: server.metric("ski_serve_in_work") == 1)
        server.until(lambda: len(server.files()) == 1)
    server.until(lambda: server.metric("ski_serve_in_work") == 0)
    assert server.files() == []
    assert server.metric('ski_serve_requests_total{path="/v1/predict",status="499"}') == 1


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
