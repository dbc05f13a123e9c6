"""Embeddings of clips on disk, and their projection to a plane for a look at them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.accuracy import check_labels
from ski_eval.archives import load_archive, save_archive
from ski_eval.errors import InputError, SkiEvalError

SCHEMA = "ski-eval/embeddings/1"
Method = Literal["pca", "tsne", "umap"]


class MissingPackageError(SkiEvalError, ImportError):
    """An optional package that is not installed."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of one model on one set of clips."""

    features: NDArray[np.float32]
    """``(N, D)``."""
    labels: NDArray[np.int64]
    """True classes ``(N,)`` as numbers of ``classes``."""
    classes: tuple[str, ...]
    """Names of the classes ``(K,)``."""
    title: str = ""

    def __post_init__(self) -> None:
        features = np.asarray(self.features)
        if features.ndim != 2 or features.size == 0 or features.dtype.kind not in "fiu":
            raise InputError(
                f"features: expected numbers (N, D), got {features.dtype} {features.shape}"
            )
        if not np.isfinite(features).all():
            raise InputError("features: NaN or infinity among them")
        object.__setattr__(self, "features", features.astype(np.float32))
        object.__setattr__(self, "classes", tuple(self.classes))
        labels = check_labels(self.labels, len(self.classes))
        if labels.size != len(features):
            raise InputError(f"labels: {labels.size} labels for {len(features)} rows of features")
        object.__setattr__(self, "labels", labels)


def save_embeddings(embeddings: Embeddings, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write to one ``.npz`` file: ``features``, ``labels`` and a JSON ``header``, no pickle.

    Raises:
        ExistingOutputError: the file holds something else and ``overwrite`` is not set.
        InputError: ``path`` does not end in ``.npz``.
    """
    header = {
        "schema": SCHEMA,
        "classes": list(embeddings.classes),
        "title": embeddings.title,
    }
    arrays = {"features": embeddings.features, "labels": embeddings.labels}
    return save_archive(path, header, arrays, "embeddings", overwrite=overwrite)


def load_embeddings(path: str | Path) -> Embeddings:
    """Read what `save_embeddings` wrote.

    Raises:
        MissingFileError: no such file.
        InputError: another or damaged file, or content that `Embeddings` refuses.
    """
    (features, labels), header = load_archive(
        path, SCHEMA, ("features", "labels"), ("classes", "title"), "embeddings"
    )
    try:
        return Embeddings(features, labels, tuple(header["classes"]), header["title"])
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error


def project(features: ArrayLike, method: Method = "pca", seed: int = 0) -> NDArray[np.float64]:
    """Features ``(N, D)`` on a plane, ``(N, 2)``.

    "pca" keeps distances as far as two axes can; "tsne" (scikit-learn) and "umap" (umap-learn) keep
    neighbours, and the distances between their clusters mean nothing.

    Raises:
        InputError: fewer than three samples, or an unknown method.
        MissingPackageError: the method's package is not installed.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < 3:
        raise InputError(f"features: {values.shape}; a picture needs at least three samples (N, D)")
    if method == "pca":
        return _pca(values)
    if method == "tsne":
        try:
            from sklearn.manifold import TSNE
        except ImportError as error:
            raise MissingPackageError("t-SNE needs scikit-learn: `pip install scikit-learn`") from (
                error
            )
        start = _pca(values)
        start = 1e-4 * start / max(float(start[:, 0].std()), 1e-12)
        perplexity = min(30.0, (len(values) - 1) / 3.0)
        return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(values)
    if method == "umap":
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingPackageError(
                "UMAP needs umap-learn: `pip install umap-learn`; or take pca or tsne"
            ) from error
        return UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed).fit_transform(values)
    raise InputError(f"method: {method!r}; allowed: pca, tsne, umap")


def _pca(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """First two principal components; each axis points to where its largest weight is positive."""
    centred = values - values.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.vstack([axes[:2], np.zeros((max(0, 2 - len(axes)), axes.shape[1]))])
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    return centred @ (axes * np.where(signs == 0.0, 1.0, signs)[:, None]).T
