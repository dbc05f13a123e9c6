from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval.errors import InputError
from ski_eval.judge import (
    METRICS,
    Item,
    Judged,
    JudgeError,
    ReplayJudge,
    ReplyCache,
    parse_score,
    prompt_hash,
    read_items,
    run_judge,
    summarise,
)
from ski_eval.judge.prompts import messages


def item(name="v1", metric="correctness", **changes) -> Item:
    values = {"question": "What?", "reference": "He sits.", "prediction": "He sat {form}."}
    if metric == "consistency":
        values |= {"second_question": "What now?", "second_prediction": "Sitting."}
    return Item(name=name, metric=metric, **{**values, **changes})


class Scripted:
    """Answers from a list, then the last one for ever; counts what it was asked."""

    workers = 1

    def __init__(self, *replies: str | Exception) -> None:
        self.replies, self.asked = list(replies), []

    identity = {"backend": "scripted", "model": "m"}  # noqa: RUF012

    def reply(self, messages):
        self.asked.append(messages)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.mark.parametrize("score", range(6))
def test_scores_are_read(score):
    assert parse_score(f'{{"score": {score}}}') == score
    assert parse_score(f' {{"score":{score}}}\n') == score


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "4",
        '{"score": 4.8}',
        '{"score": 4.0}',
        '{"score": "4"}',
        '{"score": true}',
        '{"score": null}',
        '{"score": 6}',
        '{"score": -1}',
        '{"score": 4, "why": "good"}',
        '{"score": 4, "score": 5}',
        "{'score': 4}",
        'The score is {"score": 4}',
        '```json\n{"score": 4}\n```',
        '[["score", 4]]',
        '[{"score": 4}]',
        '{"score": 4',
        "{}",
        '{"score": ' + "9" * 5000 + "}",
        "[" * 100_000,
    ],
)
def test_other_answers_are_not_scores(reply):
    assert parse_score(reply) is None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_score_or_none(text):
    assert parse_score(text) in (None, 0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("metric", METRICS)
def test_prompts_hold_everything_and_are_hashed(metric):
    system, user = messages(item(metric=metric))
    assert [system["role"], user["role"]] == ["system", "user"]
    for text in ("What?", "He sits.", "He sat {form}.", '{"score": 3}'):
        assert text in user["content"]
    assert ("Sitting." in user["content"]) == (metric == "consistency")
    assert len({prompt_hash(m) for m in METRICS}) == len(METRICS)
    assert len(prompt_hash(metric)) == 64


def test_items_are_checked():
    with pytest.raises(InputError, match="allowed: correctness"):
        item(metric="beauty")
    with pytest.raises(InputError, match="two questions"):
        item(second_question="x", second_prediction="y")
    with pytest.raises(InputError, match="two questions"):
        Item("v", "consistency", "q", "r", "p")


def test_wrong_form_is_asked_again_with_a_reminder_and_not_for_ever():
    judge = Scripted("about 4", '{"score": 4}')
    [found] = run_judge([item()], judge)
    assert found.score == 4
    assert found.replies == ("about 4", '{"score": 4}')
    assert [len(m) for m in judge.asked] == [2, 4]
    assert "not the form" in judge.asked[1][-1]["content"]
    stubborn = Scripted("I will not")
    [found] = run_judge([item()], stubborn)
    assert found.score is None
    assert len(stubborn.asked) == 3


def test_cache_resumes_and_replays(tmp_path):
    path = tmp_path / "cache" / "replies.jsonl"
    items = [item(f"v{i}") for i in range(4)] + [item("w", prediction="?")]
    broken = Scripted('{"score": 1}', "no", '{"score": 2}', JudgeError("gone"))
    with pytest.raises(JudgeError, match=r"gone; 3 replies are kept in .*run the same again"):
        run_judge([item(f"q{i}", prediction=str(i)) for i in range(5)], broken, ReplyCache(path))
    path.unlink()
    judge = Scripted("no", '{"score": 3}')
    first = run_judge(items, judge, ReplyCache(path))
    # Four clips with the very same words are one question to the judge.
    assert len(judge.asked) == 3
    again = Scripted(JudgeError("must not be asked"))
    assert run_judge(items, again, ReplyCache(path)) == first
    assert run_judge(items, ReplayJudge(path)) == first
    with pytest.raises(JudgeError, match="no stored reply to this question"):
        run_judge([item("new", prediction="other")], ReplayJudge(path))


class Moody(Scripted):
    """Never says the same twice, to whoever asks at the same time."""

    workers = 2

    def __init__(self) -> None:
        super().__init__(*(f'{{"score": {score}}}' for score in range(6)))
        self.together = threading.Barrier(2, timeout=10)

    def reply(self, messages):
        self.together.wait()
        return super().reply(messages)


def test_a_question_put_twice_at_once_has_one_answer(tmp_path):
    path = tmp_path / "replies.jsonl"
    items = [item("v1"), item("v2")]  # the same words about two videos
    found = run_judge(items, Moody(), ReplyCache(path))
    assert found[0].score == found[1].score
    assert run_judge(items, ReplayJudge(path)) == found


def test_cache_survives_a_cut_line_and_refuses_others(tmp_path, caplog):
    path = tmp_path / "replies.jsonl"
    run_judge([item()], Scripted('{"score": 3}'), ReplyCache(path))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "abc", "ident')
    cache = ReplyCache(path)
    assert len(cache) == 1
    assert "cut off" in caplog.text
    cache.add("k", {"model": "m"}, "r")
    assert len(ReplyCache(path)) == 2
    assert path.read_bytes().startswith(whole + b'{"key": "k"')
    # A file that is something else is left as it is.
    path.write_bytes(b"my notes")
    with pytest.raises(InputError, match="no file of stored replies"):
        ReplyCache(path)
    assert path.read_bytes() == b"my notes"
    path.write_bytes(whole + b'{"other": 1}\n')
    with pytest.raises(InputError, match="line 2: no stored reply"):
        ReplyCache(path)
    path.write_bytes(b"nonsense\n")
    with pytest.raises(InputError, match="line 1: not JSON"):
        ReplyCache(path)


def test_replay_needs_one_judge(tmp_path):
    path = tmp_path / "replies.jsonl"
    for model in ("m", "n"):
        judge = Scripted('{"score": 3}')
        judge.identity = {"backend": "scripted", "model": model}
        run_judge([item()], judge, ReplyCache(path))
    with pytest.raises(InputError, match=r"2 judges to replay .models in the file: m, n"):
        ReplayJudge(path)
    assert ReplayJudge(path, "n").identity["model"] == "n"


def test_summary_counts_what_was_not_scored(rng):
    judged = [Judged(item(f"v{i}"), score, ()) for i, score in enumerate([5, 4, None, 0])]
    [found] = summarise(judged, rng=rng, samples=200)
    assert found.value == pytest.approx(9 / 15)
    assert (found.n, found.unparsed, found.missing) == (4, 1, 0)
    assert (found.lowest, found.highest) == (pytest.approx(9 / 20), pytest.approx(14 / 20))
    [found] = summarise(judged, rng=rng, missing=[("v9", "correctness")], samples=200)
    assert found.value == pytest.approx(9 / 20)
    assert (found.n, found.missing) == (5, 1)
    [found] = summarise([Judged(item(), None, ())], rng=rng, samples=200)
    assert found.value is None
    assert (found.lowest, found.highest) == (0.0, 1.0)
    with pytest.raises(InputError, match="no items"):
        summarise([], rng=rng)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=12),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
)
def test_average_is_the_mean_of_the_metrics(first, second):
    judged = [Judged(item(f"v{v}"), s, ()) for v, s in first]
    judged += [Judged(item(f"v{i}", "consistency"), s, ()) for i, s in enumerate(second)]
    found = summarise(judged, rng=np.random.default_rng(0), samples=100)
    assert [f.metric for f in found] == ["correctness", "consistency", "average"]
    expected = (np.mean([s for _, s in first]) + np.mean(second)) / 10
    assert found[2].value == pytest.approx(expected)
    for figure in found:
        span = figure.interval
        assert span is None or span.low <= figure.value <= span.high
        assert figure.lowest == pytest.approx(figure.value)


def write(path, content):
    path.write_text(json.dumps(content), "utf-8")
    return path


REFERENCES = [
    {"video_name": "a", "Q": "What?", "A": "He sits."},
    {"video_name": "b", "Q": "What?", "A": "She opens a door."},
    {"video_name": "a", "Q1": "What?", "Q2": "What is it?", "A": "He sits."},
]


def test_items_from_the_forms_in_use(tmp_path):
    references = write(tmp_path / "r.json", REFERENCES)
    flat = [
        {"video_name": "a", "Q": "What?", "pred": "sits"},
        {"video_name": "b", "Q": "What?", "pred": "opens"},
        {"video_name": "a", "Q1": "What?", "pred1": "sits", "Q2": "What is it?", "pred2": "sat"},
    ]
    items, missing = read_items(write(tmp_path / "p.json", flat), references)
    assert missing == []
    assert [(i.name, i.metric) for i in items[:4]] == [("a", m) for m in METRICS[:4]]
    assert items[-1] == Item("a", "consistency", "What?", "He sits.", "sits", "What is it?", "sat")
    assert len(items) == 9
    by_video = write(tmp_path / "q.json", {"a": "sits", "b": "opens"})
    items, _ = read_items(by_video, references, ["detail"])
    assert [i.prediction for i in items] == ["sits", "opens"]
    one = {"video_name": "c", "Q": "q", "A": "a", "cons_Q1": "x", "cons_Q2": "y", "cons_A": "z"}
    answers = {"video_name": "c", "Q": "q", "pred": "1", "cons_Q1": "x", "cons_pred1": "2"}
    answers |= {"cons_Q2": "y", "cons_pred2": "3"}
    items, _ = read_items(write(tmp_path / "s.json", [answers]), write(tmp_path / "t.json", [one]))
    assert items[-1] == Item("c", "consistency", "x", "z", "2", "y", "3")


@pytest.mark.parametrize(
    ("predictions", "metrics", "text"),
    [
        ({"a": "x"}, ["detail"], r"1 answers are missing \(first: 'b', detail\).*--allow_missing"),
        ({"a": "x", "b": "y", "z": "?"}, ["detail"], "1 videos are not in .*first: 'z'"),
        ({"a": "x", "b": "y"}, ["beauty"], "allowed: correctness"),
        ({"a": "x", "b": "y"}, ["detail", "detail"], "each once"),
        ([{"name": "a", "Q": "What?"}], ["detail"], "a question without its prediction"),
        ([{"name": "a", "pred": "x"}, {"name": "a", "pred": "y"}], ["detail"], "two predictions"),
        ([], ["detail"], "no predictions"),
    ],
)
def test_bad_predictions_are_refused(tmp_path, predictions, metrics, text):
    references = write(tmp_path / "r.json", REFERENCES)
    with pytest.raises(InputError, match=text):
        read_items(write(tmp_path / "p.json", predictions), references, metrics)


def test_missing_ones_can_count_as_zero(tmp_path):
    references = write(tmp_path / "r.json", REFERENCES)
    predictions = write(tmp_path / "p.json", {"a": "x"})
    items, missing = read_items(predictions, references, ["detail"], allow_missing=True)
    assert ([i.name for i in items], missing) == (["a"], [("b", "detail")])
    with pytest.raises(InputError, match="no questions for consistency"):
        read_items(predictions, write(tmp_path / "r2.json", REFERENCES[:2]), ["consistency"])
    with pytest.raises(InputError, match=r"question 'What.' twice"):
        read_items(predictions, write(tmp_path / "r3.json", REFERENCES[:1] * 2), ["detail"])
