"""Zero-shot evaluation of every model of the main job on the same clips."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from apps.adl_mini.recipe import AdlMiniRecipe
from apps.adl_mini.stages import Data, dataset
from ski_data.config import to_plain
from ski_data.manifest import Record
from ski_eval import (
    PairedDifference,
    Predictions,
    ResultCard,
    bootstrap_interval,
    environment,
    harmonic_mean,
    load_predictions,
    paired_difference,
    save_predictions,
    write_card,
)
from ski_skeleton import pipeline
from ski_skeleton.evaluate import collect_scores
from ski_vlm.students import load_student

UNSEEN = "zero-shot: unseen classes"
PEOPLE = "seen classes, unseen people"
HARMONIC = "generalised: harmonic mean of both"

CLIP = "CLIP, frozen"
VIFICLIP = "ViFi-CLIP"
LONGER = "ViFi-CLIP, trained on without skeletons"
SKELETON = "SkeletonCLIP (skeletons at test)"
SKI = "SKI-ViFi-CLIP"


@dataclass(frozen=True)
class Row:
    """One model of the table: its predictions, one per seed."""

    method: str
    predictions: tuple[Predictions, ...]
    seeds: tuple[int, ...]
    seconds: float

    def correct(self, protocol: str) -> np.ndarray:
        """Share of seeds that name each clip rightly, ``(N,)``, in the protocol's clips."""
        return np.mean([_correct(p, protocol) for p in self.predictions], axis=0)

    @property
    def first(self) -> Predictions:
        """Predictions of the first seed."""
        return self.predictions[0]


def evaluate(
    recipe: AdlMiniRecipe,
    data: Data,
    folder: Path,
    runs: dict[str, dict[int, Path]],
    report: Callable[[int, int, str], None],
) -> list[Row]:
    """Score every model over all 25 class names, once; predictions are kept and reused."""
    rows, done = [], 0
    total = sum(len(by_seed) for by_seed in runs.values())
    for method, by_seed in runs.items():
        start, found = time.monotonic(), []
        for run in by_seed.values():
            path = folder / "predictions" / f"{run.name}.npz"
            if not path.exists():
                save_predictions(predict_all(recipe, data, method, run), path)
            found.append(load_predictions(path))
            done += 1
            report(done, total, method)
        rows.append(Row(method, tuple(found), tuple(by_seed), time.monotonic() - start))
    return rows


def predict_all(recipe: AdlMiniRecipe, data: Data, method: str, run: Path) -> Predictions:
    """Similarity of every test clip with all seen and unseen names.

    All models answer from RGB alone, but for SkeletonCLIP.
    """
    names = [*data.seen.names, *data.unseen.names]
    unseen = range(len(data.seen.names), len(names))
    records = [*data.test_seen, *data.test_unseen]
    labels = [int(r.label or 0) for r in data.test_seen]
    labels += [len(data.seen.names) + int(r.label or 0) for r in data.test_unseen]
    uses_skeleton = method == SKELETON
    source = dataset(
        recipe, data, records, video=not uses_skeleton, skeleton=uses_skeleton, train=False
    )
    if uses_skeleton:
        model, _ = pipeline.load_skeleton_clip(run / "model")
        logits = pipeline.zero_shot_scores(model, source, names).logits
    else:
        student, _ = load_student(run)
        student.text.freeze()

        def score(batch: dict[str, Any]) -> Tensor:
            return student(student.normalise(batch["video"]), names).cosines

        logits = collect_scores(score, source).logits
    return Predictions(
        names=tuple(record.name for record in records),
        labels=np.array(labels),
        logits=logits,
        classes=tuple(names),
        groups=tuple(performance(record) for record in records),
        unseen=tuple(unseen),
        meta={"method": method, "run": run.name},
    )


def performance(record: Record) -> str:
    """Name of the performance: a clip's name without its camera, since the views are not
    independent of each other.
    """
    return record.name[:4] + record.name[8:]


def unseen_rows(predictions: Predictions) -> np.ndarray:
    """Which clips show an unseen class, bool ``(N,)``."""
    return np.isin(predictions.labels, predictions.unseen)


def candidates(predictions: Predictions, protocol: str) -> tuple[np.ndarray, list[int]]:
    """Clips (bool) and candidate classes of a protocol."""
    new = unseen_rows(predictions)
    unseen = list(predictions.unseen or ())
    seen = [i for i in range(len(predictions.classes)) if i not in unseen]
    return {
        UNSEEN: (new, unseen),
        PEOPLE: (~new, seen),
        HARMONIC: (np.ones_like(new), [*seen, *unseen]),
    }[protocol]


def answers(predictions: Predictions, protocol: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Answered and true class (positions among the candidates) of the protocol's clips."""
    rows, classes = candidates(predictions, protocol)
    logits = predictions.logits[rows][:, classes]
    labels = np.searchsorted(classes, predictions.labels[rows])
    return logits.argmax(1), labels, classes


def _correct(predictions: Predictions, protocol: str) -> np.ndarray:
    answered, labels, _ = answers(predictions, protocol)
    return (answered == labels).astype(np.float64)


def make_cards(
    recipe: AdlMiniRecipe, data: Data, folder: Path, rows: Sequence[Row]
) -> list[ResultCard]:
    """One result card per model and protocol, written to ``results/``."""
    where = environment(Path(__file__).parent)
    cards = []
    for row in rows:
        for protocol in (UNSEEN, PEOPLE, HARMONIC):
            clips, classes = candidates(row.first, protocol)
            correct = row.correct(protocol)
            groups = np.array(row.first.groups)[clips]
            rng = np.random.default_rng(0)
            options: dict[str, Any] = {}
            value = float(correct.mean())
            if protocol == HARMONIC:
                new = unseen_rows(row.first)
                value = harmonic_mean(float(correct[~new].mean()), float(correct[new].mean()))
                options = {"strata": new, "combine": "harmonic"}
            interval = bootstrap_interval(correct, groups, rng=rng, **options)
            notes = ["intervals resample performances (three camera views each)"]
            if len(row.seeds) > 1:
                each = [100 * float(_correct(p, protocol).mean()) for p in row.predictions]
                listed = ", ".join(f"{value:.1f} %" for value in each)
                notes.append(f"{row.method}, {protocol}, share of right answers by seed: {listed}")
            cards.append(
                ResultCard(
                    name=f"{row.method}, {protocol}",
                    method=row.method,
                    dataset="adl-mini",
                    split=data.split_name,
                    protocol=protocol,
                    metric="H" if protocol == HARMONIC else "top-1",
                    value=value,
                    n=int(clips.sum()),
                    interval=interval,
                    n_classes=len(classes),
                    seeds=row.seeds,
                    data_hash=data.meta["data_hash"],
                    split_hash=data.split_hash,
                    config=to_plain(recipe),
                    environment=where,
                    wall_time_s=round(row.seconds, 2),
                    notes=tuple(notes),
                )
            )
    for card in cards:
        write_card(card, folder / "results", overwrite=True)
    return cards


def difference(a: Row, b: Row, protocol: str) -> PairedDifference:
    """Accuracy of ``a`` minus that of ``b`` on the same clips, paired by performance."""
    clips, _ = candidates(a.first, protocol)
    groups = np.array(a.first.groups)[clips]
    return paired_difference(
        a.correct(protocol), b.correct(protocol), groups, rng=np.random.default_rng(0)
    )
