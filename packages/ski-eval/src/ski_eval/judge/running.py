"""A whole run of a judge: items in, scores with intervals out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from ski_eval.bootstrap import bootstrap_sums
from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.judge.backends import Judge, JudgeError
from ski_eval.judge.cache import ReplyCache, reply_key
from ski_eval.judge.prompts import BEST, METRICS, Item, asked_again, messages, parse_score

ASKED = 3
"""How often an answer of the wrong form is asked for, in all."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """An item with its score 0..5, or None where no answer had the right form."""

    item: Item
    score: int | None
    replies: tuple[str, ...]


@dataclass(frozen=True)
class JudgeScore:
    """One figure as a fraction: mean score / 5.

    ``value`` and ``interval`` are over the scored items; ``lowest`` and ``highest`` are what the
    value would be with 0 or 5 for all that were not scored.
    """

    metric: str
    value: float | None
    interval: Interval | None
    n: int
    unparsed: int
    missing: int
    lowest: float
    highest: float


def run_judge(
    items: Sequence[Item], judge: Judge, cache: ReplyCache | None = None, *, asked: int = ASKED
) -> list[Judged]:
    """Have every item scored, in order, from ``judge.workers`` threads.

    Replies that ``cache`` holds are not asked for again, new ones are stored at once: a run that
    was stopped goes on where it was. An answer of the wrong form is asked for up to ``asked``
    times, each time with a reminder of the form, then the item stays without a score.

    Raises:
        JudgeError: the judge gave up; what was answered before is in the cache.
    """
    if asked < 1:
        raise InputError(f"asked: {asked}; allowed: 1 or more")
    identity = judge.identity

    def one(item: Item) -> Judged:
        said = messages(item)
        replies: list[str] = []
        for _ in range(asked):
            key = reply_key(said, identity)
            reply = cache.get(key) if cache is not None else None
            if reply is None:
                reply = judge.reply(said)
                if cache is not None:
                    reply = cache.add(key, identity, reply)
            replies.append(reply)
            score = parse_score(reply)
            if score is not None:
                return Judged(item, score, tuple(replies))
            said = asked_again(said, reply)
        _log.warning("%s, %s: no answer of the right form in %d", item.name, item.metric, asked)
        return Judged(item, None, tuple(replies))

    with ThreadPoolExecutor(max_workers=judge.workers) as pool:
        futures: list[Future[Judged]] = [pool.submit(one, item) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        failed = next((f.exception() for f in done if f.exception() is not None), None)
        if failed is not None:
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(failed, JudgeError) and cache is not None:
                raise JudgeError(
                    f"{failed}; {len(cache)} replies are kept in {cache.path}, run the same again "
                    "to go on"
                ) from failed
            raise failed
        return [future.result() for future in futures]


def summarise(
    judged: Sequence[Judged],
    *,
    rng: np.random.Generator,
    missing: Sequence[tuple[str, str]] = (),
    level: float = 0.95,
    samples: int = 2000,
) -> list[JudgeScore]:
    """One figure per metric, and their average where there are several.

    Args:
        judged: what `run_judge` gave.
        rng: source of the resamples; whole videos are drawn.
        missing: (video, metric) of items that have no prediction and count as 0.
        level: coverage of the intervals.
        samples: number of resamples.

    Raises:
        InputError: nothing to sum up.
    """
    if not judged and not missing:
        raise InputError("judge: no items")
    present = {j.item.metric for j in judged} | {metric for _, metric in missing}
    names = [metric for metric in METRICS if metric in present]
    rows: list[tuple[int, str, float]] = []
    found: list[JudgeScore] = []
    for column, metric in enumerate(names):
        own = [j for j in judged if j.item.metric == metric]
        lost = [name for name, other in missing if other == metric]
        part = [(column, j.item.name, j.score / BEST) for j in own if j.score is not None]
        part += [(column, name, 0.0) for name in lost]
        rows += part
        unparsed = sum(j.score is None for j in own)
        total, n = sum(value for _, _, value in part), len(own) + len(lost)
        found.append(
            JudgeScore(
                metric=metric,
                value=total / len(part) if part else None,
                interval=_interval(part, [column], rng, level, samples) if part else None,
                n=n,
                unparsed=unparsed,
                missing=len(lost),
                lowest=total / n,
                highest=(total + unparsed) / n,
            )
        )
    if len(found) > 1:
        values = [score.value for score in found if score.value is not None]
        whole = len(values) == len(found)
        columns = list(range(len(names)))
        found.append(
            JudgeScore(
                metric="average",
                value=float(np.mean(values)) if whole else None,
                interval=_interval(rows, columns, rng, level, samples) if whole else None,
                n=sum(score.n for score in found),
                unparsed=sum(score.unparsed for score in found),
                missing=sum(score.missing for score in found),
                lowest=float(np.mean([score.lowest for score in found])),
                highest=float(np.mean([score.highest for score in found])),
            )
        )
    return found


def _interval(
    rows: Sequence[tuple[int, str, float]],
    columns: Sequence[int],
    rng: np.random.Generator,
    level: float,
    samples: int,
) -> Interval:
    """Interval of the mean over metrics of the mean over items, drawing videos."""
    table = np.zeros((len(rows), 2 * len(columns)))
    for i, (column, _, value) in enumerate(rows):
        place = columns.index(column)
        table[i, 2 * place : 2 * place + 2] = value, 1.0

    def mean(sums: np.ndarray) -> np.ndarray:
        totals, counts = sums[:, 0::2], sums[:, 1::2]
        means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
        return np.nanmean(means, axis=1)

    videos = [name for _, name, _ in rows]
    return bootstrap_sums(table, mean, videos, rng=rng, level=level, samples=samples)
