from __future__ import annotations

import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import av
import numpy as np
import pytest
from serve_helpers import post

from ski_vlm import load
from ski_vlm.class_texts import Wording, encode_texts

NAMES = ["sit down", "stand up", "clap"]


def classes(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["classes"]


@pytest.mark.parametrize("model", ["own", "open", "x-clip"])
def test_predict_is_what_the_library_says(client, folders, clip, clip_file, model):
    answer = post(client, video=clip, model=model, classes=json.dumps(NAMES))
    expected = load(folders[model]).predict(clip_file, NAMES)
    assert [c["name"] for c in classes(answer)] == [p.label for p in expected]
    for ours, theirs in zip(classes(answer), expected, strict=True):
        assert ours["probability"] == pytest.approx(theirs.probability, abs=1e-5)
    assert answer.json()["model"] == model
    assert answer.json()["windows"] == []
    assert answer.json()["duration"] == pytest.approx(20 / 15)


def test_own_classes_and_top_k(client, clip):
    found = classes(post(client, video=clip, top_k="2"))
    assert len(found) == 2
    assert {c["name"] for c in found} < set(NAMES)
    assert len(classes(post(client, video=clip, top_k="1000"))) == 3


@pytest.mark.parametrize("model", ["own", "x-clip"])
def test_windows_cover_the_video(client, clip, model):
    whole = post(client, video=clip, classes='["a", "b"]', model=model).json()
    answer = post(
        client,
        video=clip,
        classes='["a", "b"]',
        model=model,
        window=str(whole["duration"] / 2.5),
    ).json()
    windows = answer["windows"]
    assert len(windows) == 3
    assert windows[0]["start"] == 0
    assert windows[-1]["end"] == pytest.approx(answer["duration"])
    for one, two in pairwise(windows):
        assert one["end"] == two["start"] > one["start"]
    for window in windows:
        assert sum(c["probability"] for c in window["classes"]) == pytest.approx(1, abs=1e-5)
    assert [c["name"] for c in answer["classes"]] == [c["name"] for c in whole["classes"]]


def test_any_script_one_class_and_a_thousand(client, clip):
    names = ["喝水", "пить воду", "شرب الماء", "🙂", *(f"action {i}" for i in range(996))]
    found = classes(post(client, video=clip, classes=json.dumps(names)))
    assert {c["name"] for c in found} == set(names)
    assert sum(c["probability"] for c in found) == pytest.approx(1, abs=1e-4)
    assert classes(post(client, video=clip, classes='["喝水"]')) == [
        {"name": "喝水", "probability": 1.0}
    ]


def test_requests_of_other_classes_share_a_batch_and_no_answer(folders, serve, clip):
    client = serve(models={"own": folders["own"]}, batch_size=8, batch_wait_ms=300.0, workers=2)
    asked = [[f"class {n}", f"other {n}", "clap"][: 2 + n % 2] for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda c: post(client, video=clip, classes=json.dumps(c)), asked))
    for names, answer in zip(asked, answers, strict=True):
        alone = post(client, video=clip, classes=json.dumps(names))
        for one, other in zip(classes(answer), classes(alone), strict=True):
            assert one["name"] == other["name"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    text = client.get("/metrics").text
    line = next(x for x in text.splitlines() if x.startswith("ski_serve_batches_total"))
    assert float(line.split()[-1]) < 12


def test_embeddings(client, folders, clip, clip_file):
    answer = post(client, "/v1/embed", clip).json()
    row = np.array(answer["embedding"])
    assert (answer["model"], answer["width"], row.shape) == ("own", 16, (16,))
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)
    texts = post(client, "/v1/embed", texts=json.dumps(NAMES)).json()
    rows = np.array(texts["embedding"])
    model = load(folders["own"]).model
    expected = encode_texts(model, NAMES, Wording()).detach().numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    recognizer = load(folders["own"])
    cosines = recognizer.cosines(recognizer.frames(clip_file)[None], NAMES)[0]
    np.testing.assert_allclose(rows @ row, cosines, atol=1e-5)
    assert len(post(client, "/v1/embed", clip, model="x-clip").json()["embedding"]) == 16


def test_attention_is_a_sheet_or_a_video(client, clip):
    answer = post(client, "/v1/attention", clip, class_name="clap")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    answer = post(
        client, "/v1/attention", clip, class_name="喝水", classes='["喝水", "a"]', format="mp4"
    )
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as file:
        assert sum(1 for _ in file.decode(video=0)) == 4
    assert post(client, "/v1/attention", clip, class_name="x", model="open").status_code == 200


def test_what_can_be_asked(client, folders):
    found = client.get("/v1/models").json()
    assert [m["name"] for m in found["recognizers"]] == ["own", "open", "x-clip"]
    assert found["recognizers"][0]["classes"] == NAMES
    assert found["recognizers"][1]["classes"] is None
    own = folders["own"]
    assert found["recognizers"][0]["source"] == "/".join(own.split("/")[-2:])
    assert found["captioners"] == []


def test_state(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}


def test_metrics_are_in_order(client, clip):
    post(client, video=clip)
    client.get("/secret/../../name-of-a-person")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {}
    for line in answer.text.splitlines():
        assert line.startswith(("# HELP ski_serve_", "# TYPE ski_serve_", "ski_serve_"))
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in values
            values[name] = float(value)
            assert math.isfinite(values[name])
    assert values['ski_serve_requests_total{path="/v1/predict",status="200"}'] >= 1
    assert values['ski_serve_requests_total{path="other",status="404"}'] >= 1
    assert values['ski_serve_model_ready{model="own"}'] == 1
    assert values["ski_serve_upload_bytes_total"] > len(clip)
    assert "person" not in answer.text
    path = '{path="/v1/predict"'
    buckets = [
        v for n, v in values.items() if n.startswith(f"ski_serve_request_seconds_bucket{path}")
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == values[f"ski_serve_request_seconds_count{path}}}"]
