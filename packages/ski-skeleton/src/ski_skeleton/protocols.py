"""How good frozen features are: linear probe, nearest neighbours, few labels, one shot.

Every protocol takes features and labels and gives scores ``(N, K)``; nothing is chosen on test
clips. K is the number of classes, and labels are columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ski_data.errors import InputError
from ski_skeleton.encoder import SkeletonEncoder
from ski_skeleton.errors import ConfigError
from ski_skeleton.store_clips import StoreClips
from ski_skeleton.train.data import collate

if TYPE_CHECKING:  # importing it takes seconds
    from sklearn.linear_model import LogisticRegression

REGULARISATIONS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Inverse strengths C among which validation chooses; 1 where it cannot."""
FOLDS = 3
"""Parts of the training people that validation holds out in turn."""
NTU120_EXEMPLARS = tuple(
    (action, f"{'S001C003P008R001' if action <= 60 else 'S018C003P008R001'}A{action:03d}")
    for action in range(1, 116, 6)
)
"""One-shot NTU RGB+D 120 as published: the 20 evaluation actions and the exemplar of each."""


@dataclass(frozen=True, eq=False)
class Features:
    """Pooled features of clips by one encoder."""

    names: tuple[str, ...]
    values: np.ndarray
    """float32 ``(N, D)``."""
    labels: np.ndarray
    """int64 ``(N,)``."""
    people: tuple[str, ...] | None
    """Who acts in each clip; None unless all are known."""

    def __post_init__(self) -> None:
        n = len(self.names)
        if self.values.shape[:1] != (n,) or self.values.ndim != 2 or self.labels.shape != (n,):
            raise InputError(
                f"{n} clips, but features {self.values.shape} and labels {self.labels.shape}"
            )
        if not np.isfinite(self.values).all():
            raise InputError(
                "the encoder gives features that are not finite numbers; its weights are damaged "
                "or its training diverged"
            )

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Features:
        """Some of the clips."""
        people = None if self.people is None else tuple(np.array(self.people)[rows].tolist())
        names = tuple(np.array(self.names)[rows].tolist())
        return replace(
            self, names=names, values=self.values[rows], labels=self.labels[rows], people=people
        )


def extract(
    encoder: SkeletonEncoder,
    source: StoreClips,
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> Features:
    """Features of every clip of ``source``, which must have labels; evaluation mode, no gradient.

    Raises:
        InputError: a source without labels, or features that are not finite.
    """
    if source.labels is None:
        raise InputError("probes need labels; give the source its labels")
    if isinstance(encoder, nn.Module):
        encoder.to(device).eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(source), batch_size):
            items = [source[i] for i in range(start, min(start + batch_size, len(source)))]
            clips = collate(items)["skeleton"].to(device)
            found.append(encoder.encode(clips).features.float().cpu().numpy())
    labels = np.asarray(source.labels, np.int64)
    return Features(source.names, np.concatenate(found), labels, source.people)


@dataclass(frozen=True, eq=False)
class Probe:
    """What a linear probe found."""

    logits: np.ndarray
    """Log probabilities of the test clips, float32 ``(N, K)``."""
    regularisation: float
    """The inverse strength C that was chosen."""
    validation: float | None
    """Its accuracy on held-out training people; None where classes are too small to hold out."""


def linear_probe(
    train: Features,
    test: Features,
    classes: int,
    *,
    pool: Features | None = None,
    seed: int = 0,
    folds: int = FOLDS,
) -> Probe:
    """Multinomial logistic regression on standardised features, fitted to convergence.

    The strength of its L2 penalty is chosen among :data:`REGULARISATIONS` by accuracy on held-out
    people of the training part (clips, where people are not known), then all of it is fitted.

    Args:
        train: clips with labels.
        test: clips to score.
        classes: K; a class without a training clip gets the lowest score of each row.
        pool: clips whose labels are not looked at, but whose features set mean and spread of each
            dimension; None takes ``train``. With few labels those of all training clips tell more.
        seed: of the folds.
        folds: parts held out in turn.

    Raises:
        ConfigError: fewer than two classes to learn from.
    """
    pooled = (train if pool is None else pool).values
    mean, spread = pooled.mean(0), pooled.std(0)
    spread = np.where(spread > 1e-6 * max(float(spread.max()), 1e-30), spread, 1.0)

    def scaled(values: np.ndarray) -> np.ndarray:
        return ((values - mean) / spread).astype(np.float64)

    x, y = scaled(train.values), train.labels
    known, counts = np.unique(y, return_counts=True)
    if len(known) < 2:
        raise ConfigError("a linear probe needs training clips of at least two classes")
    chosen, validation = 1.0, None
    groups = np.arange(len(y)) if train.people is None else np.array(train.people)
    parts = min(folds, int(counts.min()), len(np.unique(groups)))
    if parts >= 2:
        from sklearn.model_selection import StratifiedGroupKFold

        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        cuts = [
            (fit, held)
            for fit, held in splitter.split(x, y, groups)
            if len(held) and len(np.unique(y[fit])) > 1
        ]
        right = np.zeros(len(REGULARISATIONS))
        for fit, held in cuts:
            for number, strength in enumerate(REGULARISATIONS):
                model = _regression(strength).fit(x[fit], y[fit])
                right[number] += (model.predict(x[held]) == y[held]).sum()
        if cuts:
            best = int(right.argmax())  # the strongest penalty among equals
            chosen = REGULARISATIONS[best]
            validation = float(right[best] / sum(len(held) for _, held in cuts))
    model = _regression(chosen).fit(x, y)
    scores = model.predict_log_proba(scaled(test.values))
    logits = np.repeat(scores.min(1, keepdims=True) - 1, classes, axis=1)
    logits[:, known] = np.maximum(scores, np.finfo(np.float32).min / 2)
    return Probe(logits.astype(np.float32), chosen, validation)


def _regression(strength: float) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000, tol=1e-4)


def knn_scores(gallery: Features, test: Features, classes: int, k: int) -> np.ndarray:
    """Votes of the ``k`` most similar gallery clips by cosine, float32 ``(N, K)``.

    Equal votes, and classes without a vote, are ordered by their most similar gallery clip.

    Raises:
        ConfigError: k below 1 or above the number of gallery clips.
    """
    if not 1 <= k <= len(gallery):
        raise ConfigError(f"k must be in 1..{len(gallery)}, the gallery's clips, not {k}")
    own, others = _units(test.values), _units(gallery.values)
    scores = np.empty((len(test), classes), np.float32)
    member = np.arange(classes)[:, None] == gallery.labels  # (K, gallery)
    for start in range(0, len(test), 512):
        similar = own[start : start + 512] @ others.T
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        votes = np.stack([np.bincount(gallery.labels[row], minlength=classes) for row in nearest])
        best = np.stack(
            [similar[:, rows].max(1, initial=-1.0) for rows in member], axis=1
        )  # (n, K), cosine in -1..1
        scores[start : start + 512] = votes + 0.49 * best
    return scores


def _units(values: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return values / np.maximum(norms, 1e-12)


def labelled_part(labels: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Clips that keep their label in semi-supervised training, ascending int64 positions.

    Of each class with n clips, ``share * n`` rounded (halves up), and at least one, are drawn.

    Raises:
        ConfigError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the share of labels must be in (0, 1], not {share}")
    rng = np.random.default_rng(seed)
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, int(np.floor(share * len(members) + 0.5)))
        kept.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(kept))


@dataclass(frozen=True)
class OneShot:
    """Positions of a one-shot test: one exemplar per novel class, all their other clips test."""

    classes: tuple[int, ...]
    """Labels of the novel classes, ascending."""
    exemplars: np.ndarray
    """int64 ``(K,)``, in the order of ``classes``."""
    test: np.ndarray
    """int64 ``(N,)``."""


def one_shot_split(
    names: Sequence[str],
    labels: np.ndarray,
    novel: Sequence[int],
    *,
    exemplars: Sequence[str] | None = None,
    seed: int = 0,
) -> OneShot:
    """One exemplar per novel class; an exemplar is never tested.

    Args:
        names: names of all clips.
        labels: their labels ``(N,)``.
        novel: labels of the novel classes.
        exemplars: names of the exemplar clips, one of each novel class; None draws them.
        seed: of the draw.

    Raises:
        InputError: fewer than two novel classes, an exemplar that is not there or of another class,
            or no clips left to test.
    """
    labels = np.asarray(labels)
    classes = tuple(sorted(set(novel)))
    if len(classes) < 2:
        raise InputError(f"one-shot recognition needs at least two novel classes, not {classes}")
    absent = [label for label in classes if not (labels == label).any()]
    if absent:
        raise InputError(f"the store has no clips of the novel classes {absent}")
    if exemplars is None:
        rng = np.random.default_rng(seed)
        chosen = [int(rng.choice(np.flatnonzero(labels == label))) for label in classes]
    else:
        place = {name: i for i, name in enumerate(names)}
        missing = [name for name in exemplars if name not in place]
        if missing:
            raise InputError(f"the store has no clips named {missing}, which are exemplars")
        of_class = {int(labels[place[name]]): place[name] for name in exemplars}
        if len(exemplars) != len(classes) or set(of_class) != set(classes):
            raise InputError(
                f"exemplars must be one clip of each of the {len(classes)} novel classes; the "
                f"{len(exemplars)} named are of classes {sorted(of_class)}"
            )
        chosen = [of_class[label] for label in classes]
    test = np.flatnonzero(np.isin(labels, classes))
    test = test[~np.isin(test, chosen)]
    if not len(test):
        raise InputError("no clips of the novel classes are left to test")
    return OneShot(classes, np.array(chosen, np.int64), test)


def relabelled(features: Features, classes: Sequence[int]) -> Features:
    """Labels as positions in ``classes``."""
    position: dict[int, Any] = {label: i for i, label in enumerate(classes)}
    labels = np.array([position[int(label)] for label in features.labels], np.int64)
    return replace(features, labels=labels)
