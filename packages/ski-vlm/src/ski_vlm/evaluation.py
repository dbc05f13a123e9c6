"""What a trained run answers on its test clips: predictions and result cards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ski_data.config import from_plain, to_plain
from ski_data.manifest import Record
from ski_eval import (
    Predictions,
    ResultCard,
    Score,
    environment,
    score,
    seeds_summary,
)
from ski_skeleton import pipeline
from ski_skeleton.errors import CheckpointError
from ski_skeleton.evaluate import collect_scores
from ski_skeleton.train import read_model
from ski_skeleton.train.data import Source
from ski_skeleton.train.task import Batch
from ski_skeleton.weights import load_strictly
from ski_vlm.align import (
    CrossProjectConfig,
    CrossProjection,
    CrossProjectionConfig,
    LateFusion,
    LateFusionConfig,
    TrimodalConfig,
    fused_logits,
    fused_scores,
)
from ski_vlm.align.late_fusion import Fusion
from ski_vlm.data import Clips, groups_of, source_of, with_skeletons
from ski_vlm.distill import ScdConfig
from ski_vlm.recipe import VideoRecipe
from ski_vlm.students import Student, load_student
from ski_vlm.training import CROSS_PROJECTION, LATE_FUSION, MODEL, SKELETON_CLIP, transform_of
from ski_vlm.views import TINY, ViewedClips, Views, averaged

VIDEO, SKELETON = "video", "skeleton"
VIDEOS, SKELETONS = frozenset({VIDEO}), frozenset({SKELETON})
UNSEEN, PEOPLE, ALL = "unseen-classes", "unseen-people", "all-classes"
PROTOCOLS = {
    UNSEEN: "zero-shot, unseen classes",
    PEOPLE: "seen classes, unseen people",
    ALL: "generalised zero-shot",
}


@dataclass(frozen=True)
class Answerer:
    """One way of a run to name clips."""

    title: str
    needs: frozenset[str]
    """``video``, ``skeleton`` or both."""
    logits: Callable[[Batch, Sequence[str]], Tensor]
    """A batch and class names to ``(N, K)``."""


def answerers(recipe: VideoRecipe, folder: Path, device: torch.device) -> Iterator[Answerer]:
    """The ways that the trained models in ``folder`` can name clips.

    The student from video alone where the method trains it; SkeletonCLIP, which SCD and tri-modal
    alignment train too, from the skeleton; a cross-projection from the skeleton; late fusion from
    both.

    Raises:
        MissingFileError, CheckpointError: models that are not there or damaged.
    """
    method = recipe.method
    if isinstance(method, CrossProjectConfig):
        model = load_cross_projection(folder / CROSS_PROJECTION).to(device)
        yield Answerer(SKELETON, SKELETONS, lambda b, names: model.logits(b["skeleton"], names))
        return
    student = load_student(folder / MODEL)[0].to(device)
    released = isinstance(method, ScdConfig) and method.logits == "released"

    def from_video(batch: Batch, names: Sequence[str]) -> Tensor:
        output = student(student.normalise(batch["video"]), names)
        return output.cosines if released else output.logits

    yield Answerer(VIDEO, VIDEOS, from_video)
    if not (folder / SKELETON_CLIP).is_dir():
        return
    clip = pipeline.load_skeleton_clip(folder / SKELETON_CLIP)[0].to(device)

    def from_skeleton(batch: Batch, names: Sequence[str]) -> Tensor:
        return clip.logits(batch["skeleton"], names)

    yield Answerer(SKELETON, SKELETONS, from_skeleton)
    if isinstance(method, TrimodalConfig):
        return
    if isinstance(method, LateFusionConfig):
        fusion = load_late_fusion(folder / LATE_FUSION, student).to(device)
        yield Answerer(
            "late fusion, trained",
            VIDEOS | SKELETONS,
            lambda b, names: fused_logits(student, clip, fusion, b, names),
        )
    for how in ("logits", "probabilities"):

        def fused(batch: Batch, names: Sequence[str], how: Fusion = how) -> Tensor:
            parts = (f(batch, names).float().cpu().numpy() for f in (from_video, from_skeleton))
            return torch.from_numpy(np.log(np.maximum(fused_scores(*parts, how), TINY)))

        yield Answerer(f"late fusion of {how}", VIDEOS | SKELETONS, fused)


def load_cross_projection(folder: Path) -> CrossProjection:
    """A trained cross-projection, in evaluation mode.

    Raises:
        MissingFileError, CheckpointError: no such folder, a damaged one, or one of another kind.
    """
    _, plain, state, _ = read_model(folder, CROSS_PROJECTION)
    model = CrossProjection(from_plain(CrossProjectionConfig, plain, str(folder)))
    load_strictly(model, state, folder)
    return model.eval()


def load_late_fusion(folder: Path, student: Student) -> LateFusion:
    """The trained layer of a late fusion, in evaluation mode.

    Raises:
        MissingFileError, CheckpointError: no such folder, a damaged one, or one of another kind.
    """
    _, _, state, _ = read_model(folder, LATE_FUSION)
    fusion = LateFusion(student.text.width)
    load_strictly(fusion, state, folder)
    return fusion.eval()


def predict_clips(
    recipe: VideoRecipe,
    clips: Clips,
    answerer: Answerer,
    protocol: str,
    *,
    size: int,
    device: torch.device,
    batch_size: int = 16,
    views: Views = Views(),  # noqa: B008  # frozen
    meta: Mapping[str, Any] | None = None,
) -> Predictions | None:
    """One answerer's scores on the test clips of one protocol; None where there are none.

    Clips without a skeleton are left out where the answerer needs one.

    Args:
        recipe: settings of the samples.
        clips: the recipe's clips.
        answerer: what names them.
        protocol: a key of :data:`PROTOCOLS`.
        size: pixels of the student's frames.
        device: where the models are.
        batch_size: clips, or views of clips, at once.
        views: how often each clip is seen; skeletons are seen once.
        meta: what the predictions say of themselves.
    """
    records, names, unseen = test_part(clips, protocol)
    if SKELETON in answerer.needs:
        records = with_skeletons(clips, records)
    if not records:
        return None
    seen = VIDEO in answerer.needs
    several = seen and views.count > 1
    source: Source | None = None
    if SKELETON in answerer.needs or not several:
        source = source_of(
            clips,
            records,
            frames=recipe.student.frames,
            video=transform_of(recipe, size) if seen and not several else None,
            feeder=recipe.feeder if SKELETON in answerer.needs else None,
        )
    if several:
        source = ViewedClips(
            records,
            clips.videos,
            frames=recipe.student.frames,
            config=transform_of(recipe, size),
            views=views,
            skeletons=source,
        )
        batch_size = max(1, batch_size // views.count)
    found = collect_scores(
        lambda batch: (
            averaged(answerer.logits, batch, names) if several else answerer.logits(batch, names)
        ),
        source,
        batch_size=batch_size,
        device=device,
    )
    if not np.isfinite(found.logits).all():
        raise CheckpointError("scores that are not finite numbers: the training diverged")
    return Predictions(
        names=tuple(record.name for record in records),
        labels=found.labels,
        logits=found.logits,
        classes=tuple(names),
        groups=groups_of(records),
        unseen=unseen,
        meta={
            "answer": answerer.title,
            "protocol": protocol,
            **({"views": str(views)} if several else {}),
            **(meta or {}),
        },
    )


def test_part(
    clips: Clips, protocol: str
) -> tuple[tuple[Record, ...], tuple[str, ...], tuple[int, ...] | None]:
    """Records, candidate classes, and which candidates are unseen where both kinds are there."""
    unseen = () if clips.unseen is None else clips.unseen.names
    if protocol == UNSEEN:
        return clips.test_unseen, unseen, None
    if protocol == PEOPLE:
        return clips.test_seen, clips.seen.names, None
    if not clips.test_seen or not clips.test_unseen:
        return (), (), None
    K = len(clips.seen)
    moved = tuple(replace(r, label=K + int(r.label or 0)) for r in clips.test_unseen)
    return (
        clips.test_seen + moved,
        (*clips.seen.names, *unseen),
        tuple(range(K, K + len(unseen))),
    )


test_part.__test__ = False  # type: ignore[attr-defined]  # not a pytest case where imported


def make_cards(
    recipe: VideoRecipe,
    clips: Clips,
    found: Mapping[tuple[str, str], Sequence[Predictions]],
    *,
    seconds: float,
    views: Views = Views(),  # noqa: B008  # frozen
    notes: tuple[str, ...] = (),
    factors: Mapping[str, float] | None = None,
) -> list[ResultCard]:
    """One card per answer, protocol and metric: the mean over seeds, and its interval.

    With one seed the interval is a bootstrap over people (clips, where they are not known), with
    several it is that of the mean over seeds.

    Args:
        recipe: what was done.
        clips: its clips.
        found: predictions of each seed by answer and protocol.
        seconds: wall time.
        views: how often each video was seen.
        notes: said on every card.
        factors: of calibrated stacking by answer, tuned elsewhere; adds cards of a protocol of
            their own.
    """
    where, cards = environment(), []
    seen = {} if views.count == 1 else {"views": to_plain(views)}
    if seen:
        notes = (*notes, f"videos: mean probability of {views}")
    titled = [(answer, name, PROTOCOLS[name], 0.0, found[answer, name]) for answer, name in found]
    titled += [
        (answer, ALL, f"{PROTOCOLS[ALL]}, calibrated", factor, found[answer, ALL])
        for answer, factor in (factors or {}).items()
        if (answer, ALL) in found
    ]
    for answer, name, protocol, factor, by_seed in titled:
        figures: dict[str, list[Score]] = {}
        for predictions in by_seed:
            for row in score(predictions, rng=np.random.default_rng(0), factor=factor):
                if name != ALL or row.protocol == "generalised":
                    figures.setdefault(row.metric, []).append(row)
        for metric, rows in figures.items():
            values = [row.value for row in rows if row.value is not None]
            if not values:  # top-5 of fewer classes
                continue
            several = seeds_summary(values) if len(values) > 1 else None
            cards.append(
                ResultCard(
                    name=f"{recipe.student.kind} {recipe.method.kind} {answer} {protocol} {metric}",
                    method=f"{recipe.student.kind}, {recipe.method.kind}, by {answer}",
                    dataset=clips.split_name.partition("/")[0],
                    split=clips.split_name,
                    protocol=protocol,
                    metric=metric,
                    value=several.mean if several else values[0],
                    n=rows[0].n,
                    interval=several.share_interval if several else rows[0].interval,
                    n_classes=rows[0].n_classes,
                    seeds=recipe.seeds,
                    split_hash=clips.split_hash,
                    config={"recipe": to_plain(recipe), "factor": factor, **seen},
                    environment=where,
                    wall_time_s=round(seconds, 3),
                    notes=notes,
                )
            )
    return cards
