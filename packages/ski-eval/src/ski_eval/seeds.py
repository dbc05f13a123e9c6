"""Cards of one figure by several seeds as one card: mean, spread, interval over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ski_eval.intervals import seeds_summary
from ski_eval.results import ResultCard, content_hash
from ski_eval.tables import format_value


def over_seeds(cards: Sequence[ResultCard]) -> list[ResultCard]:
    """``cards`` with those that differ in their seeds only replaced by their mean.

    They must be alike in all but name, value, interval, seeds, time, machine, notes and what the
    configuration calls ``seed`` or ``seeds``, and no two may name the same seed; others stay as
    they are. The interval is Student's t over the seeds (within 0..1 for shares): how much
    another seed would give, on these samples.
    """
    groups: dict[str, list[ResultCard]] = {}
    for i, card in enumerate(cards):
        told = bool(card.seeds) and card.value is not None
        groups.setdefault(_key(card) if told else f"card {i}", []).append(card)
    found: list[ResultCard] = []
    for group in groups.values():
        seeds = [seed for card in group for seed in card.seeds]
        apart = len(group) > 1 and len(set(seeds)) == len(seeds)
        found += [_mean(group)] if apart else group
    return found


def _mean(cards: Sequence[ResultCard]) -> ResultCard:
    first = cards[0]
    ordered = sorted(cards, key=lambda card: card.seeds)
    seeds = tuple(seed for card in ordered for seed in card.seeds)
    several = seeds_summary([float(card.value or 0.0) for card in ordered])
    interval = several.interval
    if interval is not None and first.unit == "fraction":
        interval = replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))
    times = [card.wall_time_s for card in cards]
    own = (
        f"{first.method}, {first.metric}: mean of {len(cards)} runs, seeds "
        f"{', '.join(map(str, seeds))}; standard deviation {format_value(several.sd, first.unit)}."
    )
    return replace(
        first,
        name=f"{first.method} {first.split} {first.protocol} {first.metric}, {len(cards)} runs",
        value=several.mean,
        interval=interval,
        seeds=seeds,
        config=_seedless(first.config),
        wall_time_s=None if None in times else sum(time or 0.0 for time in times),
        notes=(own, *dict.fromkeys(note for card in cards for note in card.notes)),
    )


def _key(card: ResultCard) -> str:
    names = (
        *("method", "dataset", "split", "protocol", "metric", "unit", "n", "n_classes"),
        *("data_hash", "split_hash", "paper_value", "comparable_to_paper"),
    )
    alike = {name: getattr(card, name) for name in names}
    return content_hash({**alike, "config": _seedless(card.config)})


def _seedless(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if key not in ("seed", "seeds")}
        return {key: _seedless(item) for key, item in kept.items()}
    return [_seedless(item) for item in value] if isinstance(value, list) else value
