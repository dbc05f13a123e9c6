"""Command ``ski-eval judge``: answers about videos scored by a language model."""

from __future__ import annotations

import json as json_format
import logging
from collections.abc import Sequence
from pathlib import Path

from ski_eval import files
from ski_eval.errors import InputError
from ski_eval.judge import (
    LLAMA,
    METRICS,
    HttpConfig,
    HttpJudge,
    Judge,
    Judged,
    LocalConfig,
    LocalJudge,
    ReplayJudge,
    ReplyCache,
    prompt_hash,
    read_items,
    run_judge,
    summarise,
)
from ski_eval.provenance import environment
from ski_eval.results import ResultCard, write_card
from ski_eval.tables import format_interval, format_value
from ski_eval.terminal import (
    generator,
    headline,
    print_json,
    print_missing_intervals,
    print_table,
)
from ski_eval.text_files import file_hash

PROTOCOL = "judged by a language model"
_log = logging.getLogger(__name__)


def judge(
    predictions: Path,
    references: Path,
    model: str | None = None,
    url: str | None = None,
    replay: Path | None = None,
    cache: Path | None = None,
    metrics: Sequence[str] = METRICS,
    allow_missing: bool = False,
    device: str = "cpu",
    revision: str | None = None,
    gguf_file: str | None = None,
    key_variable: str = "SKI_JUDGE_API_KEY",
    schema: bool = True,
    concurrency: int = 4,
    requests_per_minute: float | None = None,
    timeout: float = 120.0,
    attempts: int = 6,
    scores: Path | None = None,
    cards: Path | None = None,
    method: str = "answers",
    dataset: str = "unnamed data",
    split: str = "as given",
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Score answers about videos by a language model: 0 to 5, shown as 0 to 100.

    The judge is a transformers model in this process, a server with OpenAI's interface (--url), or
    the stored replies of an earlier run (--replay). Stop and run it again: it goes on.

    Args:
        predictions: JSON or JSON lines of records with a video's name, Q and pred (for consistency
            Q1, pred1, Q2, pred2), or {video: answer}.
        references: records with name, Q and A, and for consistency Q1, Q2 and A.
        model: name or folder of the judge; by default meta-llama/Llama-3.1-8B-Instruct.
        url: base address of a server, e.g. http://127.0.0.1:8000/v1.
        replay: file of stored replies to use instead of a judge.
        cache: file that replies are added to; by default beside the predictions.
        metrics: of correctness, detail, context, temporal, consistency.
        allow_missing: count videos without a prediction as 0 rather than stop.
        device: cpu, cuda or cuda:N, of a local judge.
        revision: commit of a local judge's repository.
        gguf_file: file of quantised weights of a local judge.
        key_variable: environment variable with the server's API key.
        schema: have the server decode under a JSON schema.
        concurrency: requests to the server at once.
        requests_per_minute: limit for the server; none by default.
        timeout: seconds until a request is given up.
        attempts: requests for each question, at most.
        scores: JSON lines file to write the score of each answer to.
        cards: folder to write a result card per metric into.
        method: name of the judged model on the cards.
        dataset: name of the data on the cards.
        split: name of the split on the cards.
        level: coverage of the intervals.
        samples: bootstrap resamples over videos.
        seed: of the resampling.
        json: print JSON instead of a table.
    """
    rng = generator(seed)
    if url is not None and replay is not None:
        raise InputError("--url and --replay: give one of them")
    items, missing = read_items(predictions, references, metrics, allow_missing=allow_missing)
    stored = None
    who: Judge
    if replay is not None:
        who = ReplayJudge(replay, model)
    else:
        stored = ReplyCache(cache or predictions.with_name(f"{predictions.stem}-judge.jsonl"))
        if url is not None:
            if model is None:
                raise InputError("--url needs --model: the name that the server knows it by")
            config = HttpConfig(
                url=url,
                model=model,
                key_variable=key_variable,
                schema=schema,
                workers=concurrency,
                per_minute=requests_per_minute,
                timeout_s=timeout,
                tries=attempts,
            )
            who = HttpJudge(config)
        else:
            who = LocalJudge(LocalConfig(model or LLAMA, revision, device, gguf_file))
    judged = run_judge(items, who, stored)
    found = summarise(judged, rng=rng, missing=missing, level=level, samples=samples)
    if scores is not None:
        text = "".join(f"{_score_line(one)}\n" for one in judged)
        files.write_bytes(scores, text.encode("utf-8"))
    unparsed = sum(one.score is None for one in judged)
    if unparsed:
        _log.warning("%d of %d answers had no score of the right form", unparsed, len(judged))
    if cards is not None:
        made_with = environment(Path.cwd())
        for figure in found:
            asked = [metric for metric in metrics if figure.metric in (metric, "average")]
            notes = []
            if figure.unparsed:
                notes.append(
                    f"{figure.metric}: {figure.unparsed} of {figure.n} answers without a score of "
                    f"the right form are left out; with 0 or 5 for them the value is "
                    f"{format_value(figure.lowest)} or {format_value(figure.highest)}."
                )
            if figure.missing:
                notes.append(f"{figure.metric}: {figure.missing} missing answers count 0.")
            card = ResultCard(
                name=f"{method} {dataset} {split} judge {figure.metric}",
                method=method,
                dataset=dataset,
                split=split,
                protocol=PROTOCOL,
                metric=figure.metric,
                value=figure.value,
                interval=figure.interval,
                n=figure.n,
                data_hash=file_hash(references),
                config={
                    "judge": who.identity,
                    "prompts": {metric: prompt_hash(metric) for metric in asked},
                    "predictions": file_hash(predictions),
                    "unparsed": figure.unparsed,
                    "missing": figure.missing,
                    "scale": "mean of 0..5, divided by 5",
                },
                environment=made_with,
                notes=tuple(notes),
            )
            write_card(card, cards)
    if json:
        print_json(found)
        return
    rows = [
        (
            figure.metric,
            format_interval(figure.value, figure.interval),
            figure.n,
            figure.unparsed,
            figure.missing,
        )
        for figure in found
    ]
    headers = ("metric", headline("0-100", level), "answers", "no score", "missing")
    print_table(headers, rows)
    print_missing_intervals([(figure.value, figure.interval) for figure in found])
    if unparsed:
        print("\nAnswers without a score are left out of the values; --json has the bounds.")


def _score_line(one: Judged) -> str:
    item = one.item
    line = {
        "name": item.name,
        "question": item.question,
        "metric": item.metric,
        "score": one.score,
        "replies": list(one.replies),
    }
    return json_format.dumps(line, ensure_ascii=False)
