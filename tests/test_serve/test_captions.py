from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from serve_helpers import error, post, until_ready

from apps.serve.app import create_app
from apps.serve.settings import Settings
from ski_lvlm.caption import QUESTION

ASK = json.dumps([{"speaker": "human", "text": "What happens?"}])


@pytest.fixture(scope="module")
def talking_client(captioner):
    settings = Settings(captioners={"toy": str(captioner)}, workers=1, batch_wait_ms=100.0)
    with TestClient(create_app(settings)) as client:
        until_ready(client)
        yield client


@pytest.fixture
def talking(talking_client):
    yield talking_client
    assert list(talking_client.app.state.service.uploads.folder.iterdir()) == []
    assert talking_client.app.state.service.in_work == 0


def events(answer):
    """Kind and data of each event."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n")[:-1]:
        *kind, data = block.split("\n")
        found.append((kind[0].removeprefix("event: ") if kind else "", json.loads(data[6:])))
    return found


def engine(client):
    return client.app.state.service.captioners["toy"].engine


def test_a_caption_is_what_the_library_says(talking, clip, clip_file):
    found = post(talking, "/v1/caption", clip, max_new_tokens="6").json()
    captioner = engine(talking).captioner
    tokens = captioner.tokens(clip_file)
    ((text, finished),) = captioner.answer([tokens], QUESTION, max_new_tokens=6)
    assert found == {"text": text, "finished": finished}
    asked = post(talking, "/v1/caption", clip, question="Кто это?", max_new_tokens="6", model="toy")
    ((text, _),) = captioner.answer([tokens], "Кто это?", max_new_tokens=6)
    assert asked.json()["text"] == text


def test_a_conversation_comes_in_pieces(talking, clip):
    *pieces, (kind, end) = events(
        post(talking, "/v1/chat", clip, messages=ASK, max_new_tokens="8", model="toy")
    )
    assert kind == "end"
    assert "".join(data["piece"] for _, data in pieces) == end["text"]
    assert {kind for kind, _ in pieces} <= {""}
    caption = post(talking, "/v1/caption", clip, question="What happens?", max_new_tokens="8")
    assert end == caption.json()
    more = [
        {"speaker": "human", "text": "What happens?"},
        {"speaker": "gpt", "text": "Someone waves."},
        {"speaker": "human", "text": "再说一遍"},
    ]
    found = events(post(talking, "/v1/chat", clip, messages=json.dumps(more), max_new_tokens="4"))
    assert found[-1][0] == "end"


@pytest.mark.parametrize(
    ("messages", "status", "word"),
    [
        ("[]", 400, "end with a question"),
        ('[{"speaker": "gpt", "text": "a"}]', 400, "out of turn"),
        ('[{"speaker": "human", "text": " "}]', 400, "empty"),
        ('[{"speaker": "human", "text": "a"}, {"speaker": "gpt", "text": "b"}]', 400, "question"),
        ('[{"speaker": "system", "text": "a"}]', 422, "list of messages"),
        ('[{"speaker": ["human"], "text": "a"}]', 422, "list of messages"),
        ('[{"text": "a"}]', 422, "list of messages"),
        ('[{"speaker": "human", "text": 1}]', 422, "list of messages"),
        ("hello", 422, "not JSON"),
        ('[{"speaker": "human", "text": "<video> <video>"}]', 400, "<video>"),
        ('[{"speaker": "human", "text": "\\udc00"}]', 422, "surrogate"),
        (json.dumps([{"speaker": "human", "text": "a" * 4001}]), 413, "4001"),
        (json.dumps([{"speaker": "human", "text": "a"}] * 65), 413, "65"),
        (json.dumps([{"speaker": "human", "text": "ab " * 1300}]), 400, "context"),
    ],
)
def test_conversations_that_cannot_be_used(talking, clip, messages, status, word):
    assert word in error(post(talking, "/v1/chat", clip, messages=messages), status)


def test_questions_that_cannot_be_used(talking, clip):
    assert "empty" in error(post(talking, "/v1/caption", clip, question=" "), 400)
    assert "<video>" in error(post(talking, "/v1/caption", clip, question="a <video>"), 400)
    assert "context" in error(post(talking, "/v1/caption", clip, question="ab " * 1300), 400)
    wrong = post(talking, "/v1/caption", clip, max_new_tokens="0")
    assert "max_new_tokens" in error(wrong, 422)
    assert "the video" in error(post(talking, "/v1/caption", b"no video"), 400)
    assert "missing" in error(post(talking, "/v1/chat", clip), 422)
    error(post(talking, "/v1/predict", clip, classes='["a"]'), 404)


def test_one_bad_question_does_not_spoil_the_others(talking, clip, clip_file):
    from apps.serve.captioners import Question, Said
    from apps.serve.videos import Readers

    readers = Readers(Settings(captioners={"a": "b"}, workers=1))
    frames = readers.submit(engine(talking).frames, clip_file).result()
    readers.close()
    asked = [Question(frames, text) for text in ("What?", "ab " * 1300, "Who?")]
    first, wrong, last = engine(talking).answer(3, asked)
    assert isinstance(wrong, Exception)
    for said, question in ((first, asked[0]), (last, asked[2])):
        assert said == engine(talking).answer(3, [question])[0]
        assert isinstance(said, Said)


def test_a_conversation_that_takes_too_long_ends_in_an_error(talking, clip, monkeypatch):
    from apps.serve.captioners import Turn

    service = talking.app.state.service
    kept = []

    def slow(turn):
        assert isinstance(turn, Turn)
        kept.append(turn)
        turn.tell("piece")
        assert turn.stopped.wait(20)
        raise RuntimeError("secret")

    monkeypatch.setattr(engine(talking), "_chat", slow)
    object.__setattr__(service.settings, "timeout", 2.0)
    try:
        found = events(post(talking, "/v1/chat", clip, messages=ASK))
    finally:
        object.__setattr__(service.settings, "timeout", 60.0)
    assert [kind for kind, _ in found] == ["", "error"]
    assert "2 s" in found[-1][1]["error"]["message"]
    assert kept[0].stopped.is_set()


def test_a_conversation_that_breaks(talking, clip, monkeypatch):
    def broken(turn):
        turn.tell("piece")
        raise RuntimeError("secret")

    monkeypatch.setattr(engine(talking), "_chat", broken)
    found = events(post(talking, "/v1/chat", clip, messages=ASK))
    assert [kind for kind, _ in found] == ["", "error"]
    assert "secret" not in json.dumps(found)

    def at_once(turn):
        raise RuntimeError("secret")

    monkeypatch.setattr(engine(talking), "_chat", at_once)
    assert "secret" not in error(post(talking, "/v1/chat", clip, messages=ASK), 503)
