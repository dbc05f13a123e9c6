"""A server on loopback: bodies that stream, clients that go, load."""

from __future__ import annotations

import json
import socket

import pytest
from serve_helpers import in_thread, metric, until

from apps.serve.captioners import Said
from apps.serve.load import form, load, measure
from ski_data.command import run_one


@pytest.fixture
def live(folders):
    with in_thread(models={"own": folders["own"]}, max_bytes=1_000_000, queue=4) as found:
        yield found


def address(live):
    return "127.0.0.1", int(live[1].rsplit(":", 1)[1])


def files(live):
    return [path for path in live[0].uploads.folder.rglob("*") if path.is_file()]


def test_a_body_without_an_end_is_refused(live):
    """No length is told, so only counting what comes helps."""
    with socket.create_connection(address(live), timeout=30) as connection:
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
                largest = max([largest, *(p.stat().st_size for p in files(live))])
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            pytest.fail("the connection broke before the answer could be read")
        answer = connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert largest <= 1_000_000
    assert files(live) == []


def test_a_client_that_goes_leaves_nothing(live):
    with socket.create_connection(address(live), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n' + bytes(40_000)
        )
        until(lambda: metric(live[1], "ski_serve_in_work") == 1)
        until(lambda: len(files(live)) == 1)
    until(lambda: metric(live[1], "ski_serve_in_work") == 0)
    assert files(live) == []
    assert metric(live[1], 'ski_serve_requests_total{path="/v1/predict",status="499"}') == 1


def test_a_listener_that_goes_stops_the_conversation(captioner, clip, monkeypatch):
    stopped = []

    def endless(turn):
        turn.tell("piece")
        stopped.append(turn.stopped.wait(60))
        return Said("piece", False)

    body = form(clip, {"messages": '[{"speaker": "human", "text": "What?"}]'})
    head = (
        "POST /v1/chat HTTP/1.1\r\nHost: a\r\n"
        "Content-Type: multipart/form-data; boundary=ski-load-0f1e2d3c4b5a\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with in_thread(captioners={"toy": str(captioner)}) as live:
        monkeypatch.setattr(live[0].captioners["toy"].engine, "_chat", endless)
        with socket.create_connection(address(live), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            answer = b""
            while b'data: {"piece": "piece"}' not in answer:
                answer += connection.recv(4096)
            assert metric(live[1], "ski_serve_in_work") == 1
        until(lambda: stopped)
        until(lambda: metric(live[1], "ski_serve_in_work") == 0)
    assert stopped == [True]


def test_load_is_measured_and_too_much_is_refused(live, clip, clip_file, capsys):
    url, body = live[1], form(clip, {})
    found = measure(url, "/v1/predict", body, requests=24, concurrency=4)
    assert (found.errors, len(found.latencies)) == ({}, 24)
    assert found.rate > 0
    assert 0 < found.quantile(0.5) <= found.quantile(0.99)
    found = measure(url, "/v1/predict", body, requests=60, concurrency=20)
    assert set(found.errors) <= {"429"}
    assert len(found.latencies) + found.errors.get("429", 0) == 60
    argv = [url, "--video", str(clip_file), "--requests", "4", "--concurrency", "2"]
    assert run_one(load, [*argv, "--json"], prog="load") == 0
    assert json.loads(capsys.readouterr().out)["answered"] == 4
    assert run_one(load, [*argv, "--classes", "a,a"], prog="load") == 1
    assert "4 x 400" in capsys.readouterr().out


def test_load_says_what_is_wrong(tmp_path, clip_file, capsys):
    video = ["--video", str(clip_file)]
    for argv, code in (
        (["ftp://a", *video], 2),
        (["http://127.0.0.1:9", "--video", str(tmp_path / "absent")], 2),
        (["http://127.0.0.1:9", "--requests", "0", *video], 2),
    ):
        assert run_one(load, argv, prog="load") == code
        assert capsys.readouterr().err.count("\n") == 1
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [f"http://127.0.0.1:{port}", "--requests", "3", *video]
    assert run_one(load, argv, prog="load") == 1
    assert "3 x ConnectionRefusedError" in capsys.readouterr().out
