"""What the server says of itself is what it does: its schema, fuzzed."""

from __future__ import annotations

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from serve_helpers import error, in_thread, post

from apps.serve import schema as answers

PATHS = ("/v1/predict", "/v1/embed", "/v1/attention", "/v1/caption", "/v1/chat")
STATES = ("/v1/models", "/health", "/ready", "/metrics")


@pytest.fixture(scope="session")
def described(shared_client):
    return shared_client.get("/openapi.json").json()


def test_every_address_has_answers_examples_and_errors(described):
    for path, method in [("/v1/models", "get"), *((path, "post") for path in PATHS)]:
        operation = described["paths"][path][method]
        wrong = {status for status in operation["responses"] if int(status) >= 400}
        assert {"401", "503"} <= wrong
        for status in wrong:
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
    for path in PATHS:
        form = described["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
        assert form["schema"]["additionalProperties"] is False
        assert form["schema"]["properties"]["video"]["format"] == "binary"
        described_all = all("description" in p for p in form["schema"]["properties"].values())
        assert described_all
    for name in ("Prediction", "Embedding", "Caption", "ErrorAnswer"):
        kind = getattr(answers, name)
        example = described["components"]["schemas"][name]["example"]
        assert kind.model_validate(example).model_dump() == example


def test_the_schema_names_the_models(described):
    body = described["paths"]["/v1/predict"]["post"]["requestBody"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["model"]["enum"] == ["own", "open", "x-clip"]
    assert "enum" not in answers.MODEL


def test_the_token_is_part_of_the_schema(serve, folders, described):
    assert "securitySchemes" not in described["components"]
    client = serve(models={"own": folders["own"]}, token="correct-horse-battery")
    made = client.get("/openapi.json").json()
    assert made["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert made["paths"]["/v1/predict"]["post"]["security"] == [{"token": []}]
    assert "security" not in made["paths"]["/health"]["get"]


@pytest.fixture(scope="module")
def live(folders):
    """On loopback: schemathesis would start and stop an application in between."""
    with in_thread(models=folders, max_windows=4) as found:
        yield found


@pytest.fixture(scope="module")
def fuzzed(live):
    """The schema of the running server, with all kinds of data, right and wrong."""
    found = schemathesis.openapi.from_url(f"{live[1]}/openapi.json")
    found.config.generation.update(modes=list(GenerationMode))
    return found


LEFT_OUT = (
    "positive_data_acceptance",  # bytes that are right by the schema are hardly ever a video
    "ignored_auth",  # no token here
)


@pytest.mark.parametrize("path", [*PATHS, *STATES])
def test_no_request_gets_what_the_schema_does_not_say(fuzzed, live, clip, path):
    method = "POST" if path in PATHS else "GET"
    operation = fuzzed[path][method]
    excluded = [
        check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ in LEFT_OUT
    ]
    seen = []

    @given(case=operation.as_strategy())
    @settings(
        max_examples=12,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        if isinstance(case.body, dict) and case.meta.generation.mode is GenerationMode.POSITIVE:
            _make_useful(case.body, clip)
        answer = case.call_and_validate(excluded_checks=excluded)
        seen.append(answer.status_code)

    check()
    assert seen
    if path in ("/v1/predict", "/v1/attention", *STATES):
        assert 200 in seen
    assert set(seen) <= {200, 400, 404, 405, 413, 422}
    assert list(live[0].uploads.folder.iterdir()) == []


def _make_useful(body, clip):
    """Bytes and texts that fit the schema hardly ever are a video and JSON."""
    if "video" in body:
        body["video"] = clip
    target = body.get("class_name")
    for field in {"classes", "texts"} & set(body):
        body[field] = json.dumps([name for name in {target, body[field], "a"} if name])
    if "class_name" in body and "classes" not in body:
        body["class_name"] = "clap"


TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(classes=JSON.map(json.dumps) | st.lists(TEXTS, min_size=1, max_size=4).map(json.dumps))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_class_names_get_an_answer_or_a_reason(client, clip, classes):
    answer = post(client, video=clip, classes=classes)
    if answer.status_code != 200:
        error(answer, answer.status_code)
        assert answer.status_code in (400, 413, 422)
    else:
        wanted = {name.strip() for name in json.loads(classes)}
        assert {c["name"] for c in answer.json()["classes"]} == wanted


@given(body=st.binary(max_size=400), named=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body_gets_a_reason(client, body, named):
    head = b'--b\r\nContent-Disposition: form-data; name="video"\r\n' if named else b""
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/predict", content=head + body, headers=kind)
    assert answer.status_code in (400, 422)
    error(answer, answer.status_code)
