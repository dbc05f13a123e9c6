from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny_models import tiny_chat_model

from ski_lvlm.curation.errors import CurationError, EndpointError
from ski_lvlm.curation.llm import KEY, URL, Endpoint, EndpointConfig, LocalModel

FAST = EndpointConfig("m", requests_per_minute=1e9, timeout=5, pause=0.0)


def completion(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]}).encode(), {}


@contextmanager
def server(script):
    """A real server that gives the replies of ``script`` in turn and keeps the requests."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            step = script[min(len(seen), len(script)) - 1]
            if step == "hang":
                time.sleep(0.6)
                return
            if step == "close":
                self.connection.close()
                return
            code, data, headers = step
            self.send_response(code)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}/v1", seen
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv(URL, raising=False)
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("no_proxy", "*")


def test_a_reply_comes_with_what_was_asked(monkeypatch):
    with server([completion("hello")]) as (url, seen):
        monkeypatch.setenv(URL, url + "/")
        monkeypatch.setenv(KEY, "secret")
        assert Endpoint(FAST)("be brief", "greet", 0) == "hello"
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert [m["content"] for m in body["messages"]] == ["be brief", "greet"]
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0.0, 0)


def test_failures_are_tried_again_with_growing_pauses(monkeypatch):
    waits = []
    script = [
        (429, b"", {"Retry-After": "7"}),
        (503, b"", {}),
        "close",
        (200, b"no json", {}),
        completion("ok"),
    ]
    config = EndpointConfig("m", requests_per_minute=1e9, timeout=5, pause=2.0, longest_pause=12)
    with server(script) as (url, seen):
        monkeypatch.setenv(URL, url)
        assert Endpoint(config, sleep=waits.append)("", "x", 1) == "ok"
    assert len(seen) == 5
    assert [w for w in waits if w > 0.01] == [7.0, 4.0, 8.0, 12.0]


def test_time_out_is_tried_again(monkeypatch):
    config = EndpointConfig("m", requests_per_minute=1e9, timeout=0.2, pause=0.0)
    with server(["hang", completion("late")]) as (url, seen):
        monkeypatch.setenv(URL, url)
        assert Endpoint(config)("", "x", 0) == "late"
    assert len(seen) == 2


def test_tries_are_bounded_and_the_key_is_not_told(monkeypatch):
    with server([(500, b"", {})]) as (url, seen):
        monkeypatch.setenv(URL, url)
        monkeypatch.setenv(KEY, "secret")
        with pytest.raises(EndpointError, match="after 6 tries, last: HTTP 500") as caught:
            Endpoint(FAST)("", "x", 0)
    assert len(seen) == 6
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("code", [400, 401, 404, 302])
def test_refusals_and_redirections_are_not_tried_again(monkeypatch, code):
    with server([(code, b"", {"Location": "/elsewhere"})]) as (url, seen):
        monkeypatch.setenv(URL, url)
        with pytest.raises(EndpointError, match=f"refuses \\(HTTP {code}"):
            Endpoint(FAST)("", "x", 0)
    assert len(seen) == 1


def test_requests_keep_their_distance(monkeypatch):
    waits = []
    with server([completion("a")]) as (url, _):
        monkeypatch.setenv(URL, url)
        endpoint = Endpoint(EndpointConfig("m", requests_per_minute=30), sleep=waits.append)
        for _ in range(3):
            endpoint("", "x", 0)
    assert len(waits) == 2
    assert 1.0 < waits[0] <= 2.0 < waits[1] <= 4.0


def test_address_comes_from_the_environment(monkeypatch):
    with pytest.raises(CurationError, match=URL):
        Endpoint(FAST)
    monkeypatch.setenv(URL, "file:///etc")
    with pytest.raises(CurationError, match=URL):
        Endpoint(FAST)
    with pytest.raises(CurationError, match="must be positive"):
        EndpointConfig("m", tries=0)


def test_local_model_is_greedy_at_seed_0_and_samples_otherwise(tmp_path):
    model = LocalModel(tiny_chat_model(tmp_path), max_new_tokens=8)
    first = model("be brief", "hello", 0)
    assert first == model("be brief", "hello", 0)
    assert model("be brief", "hello", 1) == model("be brief", "hello", 1)
    with pytest.raises(CurationError, match="cannot be loaded"):
        LocalModel(str(tmp_path / "none"))
