"""Predictions of one evaluation on disk, so that figures and comparisons can be rebuilt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ski_eval.accuracy import check_labels, check_scores
from ski_eval.archives import load_archive, save_archive
from ski_eval.errors import InputError
from ski_eval.results import plain

SCHEMA = "ski-eval/predictions/1"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of one model on one test set."""

    names: tuple[str, ...]
    """Name of each sample ``(N,)``, no two alike."""
    labels: NDArray[np.int64]
    """True classes ``(N,)`` as numbers of ``classes``."""
    logits: NDArray[np.float32]
    """Scores ``(N, K)``, larger is better."""
    classes: tuple[str, ...]
    """Names of the candidate classes ``(K,)``."""
    groups: tuple[str, ...] | None = None
    """Independent unit ``(N,)`` that each sample belongs to, e.g. the performance; None: itself."""
    unseen: tuple[int, ...] | None = None
    """Classes not trained on, where seen classes are candidates too (generalised zero-shot)."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Method, data set, split and so on, as plain values."""

    def __post_init__(self) -> None:
        for name in ("names", "classes", "groups", "unseen"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        logits, labels = check_scores(self.logits, self.labels)
        if np.abs(logits).max() > np.finfo(np.float32).max:
            raise InputError("logits: a score is too large for float32")
        object.__setattr__(self, "logits", logits.astype(np.float32))
        object.__setattr__(self, "labels", labels)
        n, k = logits.shape
        _check_texts(self.names, n, "names", "samples", unique=True)
        _check_texts(self.classes, k, "classes", "columns of logits", unique=True)
        if self.groups is not None:
            _check_texts(self.groups, n, "groups", "samples", unique=False)
        if self.unseen is not None:
            numbers = check_labels(np.asarray(self.unseen), k, "unseen")
            if not 0 < len(set(numbers.tolist())) == numbers.size < k:
                raise InputError("unseen: expected some, not all, of the classes, each once")
            object.__setattr__(self, "unseen", tuple(numbers.tolist()))
        object.__setattr__(self, "meta", plain(self.meta, "meta"))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Best-scoring class ``(N,)`` of each sample."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each answer ``(N,)`` is right."""
        return self.predicted == self.labels


def save_predictions(
    predictions: Predictions, path: str | Path, *, overwrite: bool = False
) -> Path:
    """Write to one ``.npz`` file: arrays ``labels``, ``logits`` and a JSON header, no pickle.

    The header is the UTF-8 text in the uint8 array ``header``; it holds names, classes, groups,
    unseen classes, meta and a checksum of the arrays.

    Raises:
        ExistingOutputError: the file holds something else and ``overwrite`` is not set.
        InputError: ``path`` does not end in ``.npz``.
    """
    header = {
        "schema": SCHEMA,
        "names": list(predictions.names),
        "classes": list(predictions.classes),
        "groups": plain(predictions.groups),
        "unseen": plain(predictions.unseen),
        "meta": predictions.meta,
        "checksum": _checksum(predictions.labels, predictions.logits),
    }
    arrays = {"labels": predictions.labels, "logits": predictions.logits}
    return save_archive(path, header, arrays, "predictions", overwrite=overwrite)


def load_predictions(path: str | Path) -> Predictions:
    """Read what `save_predictions` wrote.

    Raises:
        MissingFileError: no such file.
        InputError: another or damaged file, or content that `Predictions` refuses.
    """
    fields = ("names", "classes", "groups", "unseen", "meta")
    (labels, logits), header = load_archive(
        path, SCHEMA, ("labels", "logits"), (*fields, "checksum"), "predictions"
    )
    if header["checksum"] != _checksum(labels, logits):
        raise InputError(f"{path}: arrays do not match their checksum; make the file again")
    values = {name: header[name] for name in fields}
    try:
        return Predictions(labels=labels, logits=logits, **values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _checksum(labels: NDArray, logits: NDArray) -> str:
    digest = hashlib.sha256()
    for array in (labels, logits):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _check_texts(values: Any, count: int, what: str, of: str, *, unique: bool) -> None:
    if not isinstance(values, tuple) or not all(isinstance(v, str) and v for v in values):
        raise InputError(f"{what}: expected a list of texts, none empty")
    if len(values) != count:
        raise InputError(f"{what}: {len(values)} for {count} {of}")
    if unique and len(set(values)) != count:
        twice = next(v for v in values if values.count(v) > 1)
        raise InputError(f"{what}: {twice!r} appears more than once")
