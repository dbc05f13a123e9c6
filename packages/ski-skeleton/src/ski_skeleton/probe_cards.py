"""Result cards of an encoder's protocols."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ski_data.store import SkeletonStore
from ski_eval import ResultCard, bootstrap_interval, content_hash, environment
from ski_skeleton.loading import LoadedEncoder
from ski_skeleton.probing import Outcome, ProbeConfig
from ski_skeleton.store_clips import TrainRule


def result_cards(
    outcome: Outcome,
    loaded: LoadedEncoder,
    store: SkeletonStore,
    config: ProbeConfig,
    rule: TrainRule | None,
    *,
    method: str,
    seconds: float,
) -> list[ResultCard]:
    """Top-1 and mean class accuracy, each the mean over draws with its interval over people."""
    first = outcome.predictions[0]
    hits = np.mean([p.correct for p in outcome.predictions], axis=0)
    groups = None if first.groups is None else np.array(first.groups)
    macro = float(np.mean([hits[first.labels == c].mean() for c in np.unique(first.labels)]))
    split = (
        f"{config.protocol}, all clips"
        if rule is None
        else f"training {rule.column}s {list(rule.numbers)}"
    )
    settings = {
        "probe": config,
        "found": outcome.config,
        "feeder": loaded.feeder,
        "encoder": {"kind": loaded.kind, "config": loaded.module.config},
        "trained_on": {
            key: loaded.meta.get(key) for key in ("classes_seen", "labels_used", "store")
        },
    }
    where = environment(Path(__file__).parent)
    cards = []
    for metric, value, strata in (
        ("top-1", float(hits.mean()), None),
        ("mean class accuracy", macro, first.labels),
    ):
        cards.append(
            ResultCard(
                name=f"{outcome.name} {metric}",
                method=method,
                dataset=store.folder.name or str(store.folder),
                split=split,
                protocol=outcome.protocol,
                metric=metric,
                value=value,
                n=len(hits),
                interval=bootstrap_interval(
                    hits, groups, rng=np.random.default_rng(0), strata=strata
                ),
                n_classes=len(first.classes),
                seeds=tuple(config.seed + draw for draw in range(len(outcome.predictions))),
                data_hash=store.sha256,
                split_hash=content_hash([split, list(first.names), list(first.classes)]),
                config=settings,
                environment=where,
                wall_time_s=seconds,
                notes=outcome.notes,
            )
        )
    return cards
