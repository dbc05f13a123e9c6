"""Questions, reference answers and predictions of a judged run, from the forms in use.

References: ``video_name, Q, A`` (or ``name, question, answer``), and for consistency ``Q1, Q2, A``
or ``cons_Q1, cons_Q2, cons_A``, also both in one record. Predictions: ``video_name, Q, pred``, for
consistency ``Q1, pred1, Q2, pred2``; or ``{video: text}`` where each video has one question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ski_eval.errors import InputError
from ski_eval.judge.prompts import METRICS, Item
from ski_eval.text_files import NAMES, read_records, text_of

_QUESTION, _ANSWER = ("Q", "q", "question"), ("A", "a", "answer", "reference")
_FIRST, _SECOND = ("Q1", "cons_Q1"), ("Q2", "cons_Q2")
_BOTH = ("cons_A", "A", "a", "answer", "reference")
_PREDICTION = ("pred", "prediction", "text", "caption")
_PAIRS = (
    (_QUESTION, _PREDICTION),
    (_FIRST, ("pred1", "cons_pred1")),
    (_SECOND, ("pred2", "cons_pred2")),
)

Missing = list[tuple[str, str]]


def read_items(
    predictions: str | Path,
    references: str | Path,
    metrics: Sequence[str] = METRICS,
    *,
    allow_missing: bool = False,
) -> tuple[list[Item], Missing]:
    """Items in the references' order, and (video, metric) of those without a prediction.

    Raises:
        MissingFileError: no such file.
        InputError: unknown metrics, records of another form, no question for a metric, predictions
            that are missing (unless ``allow_missing``), given twice, or of unknown videos.
    """
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown or not metrics or len(set(metrics)) != len(metrics):
        raise InputError(f"metrics: {', '.join(metrics)}; allowed: {', '.join(METRICS)}, each once")
    answers = _read_predictions(predictions)
    items: list[Item] = []
    lost: Missing = []
    videos: set[str] = set()
    asked: set[tuple[str, ...]] = set()
    for i, record in enumerate(read_records(references)):
        where = f"{references}: record {i}"
        name = text_of(record, NAMES, where)
        videos.add(name)
        for metric in metrics:
            needed = (_FIRST, _SECOND, _BOTH) if metric == "consistency" else (_QUESTION, _ANSWER)
            if not all(any(key in record for key in keys) for keys in needed[:-1]):
                continue
            *questions, reference = (text_of(record, keys, where) for keys in needed)
            if (metric, name, *questions) in asked:
                raise InputError(f"{where}: {name!r} has the question {questions[0]!r} twice")
            asked.add((metric, name, *questions))
            found = [_answer(answers, name, question) for question in questions]
            if None in found:
                lost.append((name, metric))
                continue
            texts = [text for text in found if text is not None]
            second = (questions[1], texts[1]) if len(texts) > 1 else (None, None)
            items.append(Item(name, metric, questions[0], reference, texts[0], *second))
    empty = [m for m in metrics if not any(m == metric for metric, *_ in asked)]
    if empty:
        raise InputError(
            f"{references}: no questions for {', '.join(empty)} (consistency needs Q1, Q2 and A, "
            "the others Q and A); add them, or name the other metrics only"
        )
    strangers = sorted({name for name, _ in answers} - videos)
    if strangers:
        raise InputError(
            f"{predictions}: {len(strangers)} videos are not in {references} (first: "
            f"{strangers[0]!r}); give the references that belong to them"
        )
    if lost and not allow_missing:
        raise InputError(
            f"{predictions}: {len(lost)} answers are missing (first: {lost[0][0]!r}, "
            f"{lost[0][1]}); make them, or let missing ones count 0 with --allow_missing"
        )
    return items, lost


def _answer(answers: Mapping[tuple[str, str | None], str], name: str, question: str) -> str | None:
    return answers.get((name, question), answers.get((name, None)))


def _read_predictions(path: str | Path) -> dict[tuple[str, str | None], str]:
    found: dict[tuple[str, str | None], str] = {}

    def put(name: str, question: str | None, text: str, where: str) -> None:
        if found.setdefault((name, question), text) != text:
            raise InputError(f"{where}: two predictions for {name!r}, question {question!r}")

    for i, record in enumerate(read_records(path)):
        where = f"{path}: record {i}"
        name = text_of(record, NAMES, where)
        any_pair = False
        for questions, predictions in _PAIRS:
            if _has(record, questions) and _has(record, predictions):
                question = text_of(record, questions, where)
                put(name, question, text_of(record, predictions, where), where)
                any_pair = True
        if not any_pair:
            if _has(record, _QUESTION) or _has(record, _FIRST):
                raise InputError(f"{where}: a question without its prediction (pred, pred1, pred2)")
            put(name, None, text_of(record, _PREDICTION, where), where)
    if not found:
        raise InputError(f"{path}: no predictions")
    return found


def _has(record: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return any(key in record for key in keys)
