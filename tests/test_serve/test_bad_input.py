from __future__ import annotations

import json
import logging
import time

import numpy as np
import pytest
from serve_helpers import error, post, until_ready, write_clip

from ski_data.synthetic.dataset import encode

PREDICT = "/v1/predict"
BORDER = "border"


def raw(client, body, border=BORDER, path=PREDICT):
    """A body as it is."""
    return client.post(
        path, content=body, headers={"content-type": f"multipart/form-data; boundary={border}"}
    )


def part(name, data, more=""):
    head = f'--{BORDER}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + data + b"\r\n"


END = f"--{BORDER}--\r\n".encode()


@pytest.mark.parametrize(
    "video",
    [b"no video", b"\0" * 5000, b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"#EXTM3U\n/etc/passwd\n"],
)
def test_what_is_no_video(client, video):
    assert "the video" in error(post(client, video=video), 400)


def test_an_empty_and_a_cut_video(client, clip):
    assert "empty" in error(post(client, video=b""), 400)
    error(post(client, video=clip[: len(clip) // 2]), 400)


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "a\x00b.mp4",
        "CON",
        "x" * 5000,
        'a"; name="model',
        "видео.mp4",
        "concat:a|b",
        "$(touch x).mp4",
        "",
    ],
)
def test_names_of_uploads_mean_nothing(client, clip, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quoted = name.replace("\\", "\\\\").replace('"', "%22").encode("utf-8")
    head = b'; filename="' + quoted + b'"'
    body = f'--{BORDER}\r\nContent-Disposition: form-data; name="video"'.encode()
    body += head + b"\r\n\r\n" + clip + b"\r\n" + END
    answer = raw(client, body)
    if len(name) > 4000:  # longer than a header may be
        error(answer, 400)
    else:
        assert answer.status_code == 200, answer.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("classes", "status", "word"),
    [
        ("[]", 400, "empty list"),
        ('["a", " "]', 400, "empty class name"),
        ('["a", "b", "a"]', 400, "twice"),
        ('["a", "a "]', 400, "twice"),
        ("a,b", 422, "not JSON"),
        ("", 422, "not JSON"),
        ('{"a": 1}', 422, "list of texts"),
        ("[1, 2]", 422, "list of texts"),
        ("[" * 100_000, 422, "not JSON"),
        (json.dumps(["a" * 201]), 413, "201 characters"),
        (json.dumps([str(n) for n in range(1001)]), 413, "1001 entries"),
        ('["\\ud800"]', 422, "surrogate"),
    ],
)
def test_class_names_that_cannot_be_used(client, clip, classes, status, word):
    assert word in error(post(client, video=clip, classes=classes), status)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", "0"),
        ("top_k", "-1"),
        ("top_k", "1.5"),
        ("top_k", "many"),
        ("top_k", "9" * 5000),
        ("top_k", "²"),
        ("window", "0"),
        ("window", "-1"),
        ("window", "nan"),
        ("window", "inf"),
        ("window", "long"),
        ("colour", "red"),
    ],
)
def test_values_out_of_range(client, clip, field, value):
    told = error(post(client, video=clip, **{field: value}), 422)
    assert field in told or "not known" in told


def test_missing_fields(client, clip):
    assert "empty" in error(post(client, classes='["a"]'), 400)
    assert "classes is missing" in error(post(client, video=clip, model="open"), 422)
    assert "class_name is missing" in error(post(client, "/v1/attention", video=clip), 422)
    for both in ({"video": clip, "texts": '["a"]'}, {"model": "own"}):
        assert "one of" in error(post(client, "/v1/embed", **both), 422)


def test_attention_for_a_class_that_is_not_there(client, clip):
    given = {"video": clip, "classes": '["a", "b"]'}
    assert "none of the classes" in error(
        post(client, "/v1/attention", class_name="c", **given), 400
    )
    assert "is empty" in error(post(client, "/v1/attention", class_name=" ", **given), 400)
    wrong = post(client, "/v1/attention", class_name="a", format="gif", **given)
    assert "png, mp4" in error(wrong, 422)


def test_too_many_windows(client, clip):
    assert "at most 4" in error(post(client, video=clip, window="0.05"), 413)
    assert "at most 4" in error(post(client, video=clip, window="1e-9"), 413)


def test_models_that_are_not_there(client, clip):
    told = error(post(client, video=clip, model="../own"), 404)
    assert "own, open, x-clip" in told
    assert "/v1/models" in error(post(client, "/v1/caption", video=clip), 404)


def test_addresses_and_methods_that_are_not_there(client):
    error(client.get("/v2/predict"), 404)
    error(client.get("/"), 404)
    answer = client.get(PREDICT)
    error(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        b"--border\r\n\r\n",
        part("classes", b'["a"]'),
        part("classes", b'["a"]') + b"--border-",
        b"--border\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        b"--border\r\nno header\r\n\r\nx\r\n" + END,
        part("classes", b"\xff\xfe") + END,
        part("classes", b"[]") * 2 + END,
        part("video", b"x") * 2 + END,
        b"".join(part(f"f{n}", b"") for n in range(50)) + END,
    ],
)
def test_bodies_that_are_no_form(client, body):
    answer = raw(client, body)
    assert answer.status_code in (400, 422)
    error(answer, answer.status_code)


def test_other_kinds_of_bodies(client):
    error(client.post(PREDICT, json={"video": "x"}), 400)
    error(client.post(PREDICT, data={"classes": "[]"}), 400)
    error(client.post(PREDICT), 400)
    error(client.post(PREDICT, content=b"x", headers={"content-type": "multipart/form-data"}), 400)
    error(raw(client, b"x", border="y" * 500), 400)


def test_a_huge_body_is_refused(folders, serve, clip):
    client = serve(models={"own": folders["own"]}, max_bytes=1000)
    assert "1000 bytes" in error(post(client, video=clip), 413)
    error(client.post(PREDICT, content=b"", headers={"content-length": str(10**15)}), 413)
    error(raw(client, part("classes", b"x" * (5 << 20)) + END), 413)


def test_long_and_large_videos(folders, serve, clip, tmp_path):
    client = serve(models={"own": folders["own"]}, max_seconds=1.0)
    assert "1.3 s long" in error(post(client, video=clip), 413)
    client = serve(models={"own": folders["own"]}, max_pixels=1000)
    assert "48 x 40" in error(post(client, video=clip), 413)
    one = tmp_path / "one.mp4"
    encode(one, np.zeros((1, 16, 16, 3), np.uint8))
    assert post(client, video=one.read_bytes(), window="5").status_code == 200


def test_an_answer_that_takes_too_long(folders, serve, clip, monkeypatch):
    client = serve(models={"own": folders["own"]}, timeout=0.7)
    engine = client.app.state.service.recognizers["own"].engine
    assert post(client, video=clip).status_code in (200, 408)  # its reader has started now
    monkeypatch.setattr(engine, "answer", lambda *_: time.sleep(1.5) or [None])
    assert "0.7 s" in error(post(client, video=clip), 408)


def test_a_full_server(folders, serve, clip):
    client = serve(models={"own": folders["own"]}, queue=1)
    service = client.app.state.service
    service.in_work = 1
    answer = post(client, video=clip)
    error(answer, 429)
    assert answer.headers["retry-after"] == "1"
    assert client.get("/v1/models").status_code == 200
    assert client.get("/health").status_code == 200
    service.in_work = 0
    assert post(client, video=clip).status_code == 200


def test_a_model_that_breaks_and_one_that_was_stopped(folders, serve, clip, monkeypatch, caplog):
    client = serve(models={"own": folders["own"], "open": folders["open"]})
    worker = client.app.state.service.recognizers["own"]

    def broken(*_):
        raise RuntimeError("secret text")

    with caplog.at_level(logging.INFO):
        monkeypatch.setattr(worker.engine, "answer", broken)
        assert "RuntimeError" in error(post(client, video=clip), 503)
    assert "secret" not in caplog.text
    assert "broken" in caplog.text
    monkeypatch.setattr(worker.engine, "answer", lambda *_: [])
    error(post(client, video=clip), 503)
    monkeypatch.undo()
    assert post(client, video=clip).status_code == 200
    worker.engine.recognizer.model.logit_scale.data.fill_(float("nan"))
    weights = next(worker.engine.recognizer.model.image.parameters())
    weights.data.fill_(float("nan"))
    assert "the model own" in error(post(client, video=clip), 503)
    worker.stop()
    assert "stopped" in error(post(client, video=clip), 503)
    error(client.get("/ready"), 503)
    other = post(client, video=clip, model="open", classes='["a"]')
    assert other.status_code == 200


def test_a_model_that_cannot_be_loaded(tmp_path, serve, clip):
    (tmp_path / "model").mkdir()
    client = serve(models={"gone": str(tmp_path / "model")})
    assert "could not be loaded" in error(post(client, video=clip, classes='["a"]'), 503)
    assert "gone" in error(client.get("/ready"), 503)
    assert str(tmp_path) in client.app.state.service.failures[0]
    assert client.get("/v1/models").json()["recognizers"][0]["classes"] is None
    assert client.get("/health").status_code == 200


def test_an_error_of_the_server_tells_nothing(folders, serve, clip, monkeypatch, caplog):
    client = serve(models={"own": folders["own"]})

    def broken(*_):
        raise KeyError("secret text")

    monkeypatch.setattr("apps.serve.app._ranked", broken)
    with caplog.at_level(logging.INFO):
        told = error(post(client, video=clip), 500)
    assert "secret" not in told + caplog.text
    assert "KeyError" in caplog.text


def test_a_stopping_server(folders, serve, clip):
    client = serve(models={"own": folders["own"]})
    client.app.state.service.stopping = True
    assert "stopping" in error(client.get("/ready"), 503)
    answer = post(client, video=clip)
    assert "stopping" in error(answer, 503)
    assert answer.headers["connection"] == "close"
    assert client.get("/health").status_code == 200
    assert "ski_serve_stopping 1" in client.get("/metrics").text


def test_a_token(folders, serve, clip):
    token = "correct-horse-battery"
    client = serve(models={"own": folders["own"]}, token=token)
    for path in ("/health", "/ready", "/openapi.json"):
        assert client.get(path).status_code == 200
    until_ready(client)
    for given in (None, "Bearer", "Bearer wrong", f"Basic {token}", token, "Bearer \xff\xfe"):
        headers = {} if given is None else {"authorization": given.encode("latin-1")}
        for answer in (
            client.post(PREDICT, files={"video": ("a.mp4", clip)}, headers=headers),
            client.get("/v1/models", headers=headers),
            client.get("/metrics", headers=headers),
        ):
            error(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    right = {"authorization": f"Bearer {token}"}
    assert client.get("/metrics", headers=right).status_code == 200
    answer = client.post(PREDICT, files={"video": ("a.mp4", clip)}, headers=right)
    assert answer.status_code == 200


def test_nothing_of_a_request_is_logged(client, clip, caplog):
    with caplog.at_level(logging.DEBUG):
        post(client, video=clip, name="name-of-a-person.mp4", classes='["secret habit", "b"]')
        post(client, video=b"secret bytes", name="name-of-a-person.mp4")
        client.get("/v1/predict?who=name-of-a-person")
    assert "/v1/predict" in caplog.text
    assert "secret" not in caplog.text
    logged = [r for r in caplog.records if not r.name.startswith("httpx")]
    assert not any("person" in r.getMessage() for r in logged)


def test_a_large_toy_video_still_fits(client, tmp_path):
    video = write_clip(tmp_path / "b.mp4", 30, 480, 640).read_bytes()
    assert post(client, video=video).status_code == 200
