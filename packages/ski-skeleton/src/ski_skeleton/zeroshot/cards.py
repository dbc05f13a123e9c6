"""Result cards of a zero-shot run: one per figure, the mean over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ski_data.config import to_plain
from ski_eval import (
    Predictions,
    ResultCard,
    Score,
    environment,
    gzsl,
    score,
    seeds_summary,
)
from ski_skeleton.zeroshot.methods import METHODS
from ski_skeleton.zeroshot.prepare import Prepared
from ski_skeleton.zeroshot.protocol import BEST_ON_TEST, PSEUDO_SEEN

ZERO_SHOT, GENERALISED = "zero-shot, unseen classes", "generalised zero-shot"
TRANSDUCTIVE = "zero-shot, unseen classes, transductive (test-time prototypes)"


class Outcome(NamedTuple):
    """What one seed gives."""

    zero_shot: Predictions
    """Clips and candidates of unseen classes only."""
    generalised: Predictions | None
    """All test clips, all classes; calibrated or gated scores."""
    tuning: dict[str, Any]
    """What was tuned, on which classes."""
    best_on_test: float | None
    """H with the factor chosen on the test set."""
    transductive: Predictions | None = None
    """Like ``zero_shot``, with prototypes made of the test clips."""


def make_cards(data: Prepared, outcomes: Sequence[Outcome], seconds: float) -> list[ResultCard]:
    """One card per figure: the mean over seeds, and its interval.

    With one seed the interval is a bootstrap over people (clips, where they are not known), with
    several it is that of the mean over seeds.
    """
    recipe, where = data.recipe, environment()
    figures: dict[tuple[str, str], list[Score]] = {}

    def add(protocol: str, row: Score) -> None:
        figures.setdefault((protocol, row.metric), []).append(row)

    for outcome in outcomes:
        for row in score(outcome.zero_shot, rng=np.random.default_rng(0)):
            add(ZERO_SHOT, row)
        if outcome.transductive is not None:
            for row in score(outcome.transductive, rng=np.random.default_rng(0)):
                add(TRANSDUCTIVE, row)
        if outcome.generalised is None:
            continue
        for row in score(outcome.generalised, rng=np.random.default_rng(0)):
            if row.protocol == "generalised":
                add(GENERALISED, row)
        p = outcome.generalised
        wide = gzsl(p.logits, p.labels, p.unseen or ())
        for metric, value, n in (
            ("S, mean class accuracy", wide.seen_mean_class, wide.n_seen),
            ("U, mean class accuracy", wide.unseen_mean_class, wide.n_unseen),
        ):
            add(GENERALISED, Score("generalised", metric, value, None, n, len(p.classes)))
        if outcome.best_on_test is not None:
            n = len(p.names)
            best = Score("generalised", "H", outcome.best_on_test, None, n, len(p.classes))
            add(f"{GENERALISED}, {BEST_ON_TEST}", best)
    cards = []
    for (protocol, metric), rows in figures.items():
        values = [row.value for row in rows if row.value is not None]
        several = seeds_summary(values) if len(values) > 1 else None
        notes = data.notes + ((PSEUDO_SEEN,) if protocol == GENERALISED else ())
        if protocol.endswith(BEST_ON_TEST):
            notes += ("the factor was chosen on the test set: not a result, an upper bound",)
        if protocol == TRANSDUCTIVE:
            notes += (
                "made with the test clips, unlabelled: not comparable with inductive figures",
            )
        cards.append(
            ResultCard(
                name=f"{recipe.kind} {protocol} {metric}",
                method=METHODS[recipe.kind].title,
                dataset=data.split.name.partition("/")[0] if recipe.split else "own classes",
                split=data.split.name,
                protocol=protocol,
                metric=metric,
                value=None if not values else (several.mean if several else values[0]),
                n=rows[0].n,
                interval=several.share_interval if several else rows[0].interval,
                n_classes=rows[0].n_classes,
                seeds=recipe.seeds,
                split_hash=data.split.hash,
                config={
                    "recipe": to_plain(recipe),
                    "tuning": [to_plain(outcome.tuning) for outcome in outcomes],
                },
                environment=where,
                wall_time_s=round(seconds, 3),
                notes=notes,
            )
        )
    return cards
