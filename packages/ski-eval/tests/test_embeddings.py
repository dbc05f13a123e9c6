from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval import Embeddings, InputError, load_embeddings, project, save_embeddings
from ski_eval.embeddings import MissingPackageError


def clusters(seed=0, n=40, d=6):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    return 6.0 * np.eye(d)[labels] + rng.normal(size=(n, d)), labels


def test_round_trip(tmp_path):
    features, labels = clusters()
    path = save_embeddings(Embeddings(features, labels, list("abcd"), "T"), tmp_path / "e.npz")
    again = load_embeddings(path)
    assert again.features == pytest.approx(features.astype(np.float32))
    assert (again.labels.tolist(), again.classes, again.title) == (
        labels.tolist(),
        tuple("abcd"),
        "T",
    )
    with pytest.raises(InputError, match=r"stored as \.npz"):
        save_embeddings(again, tmp_path / "e.json")


def test_what_is_refused(tmp_path):
    features, labels = clusters()
    for changed, text in (
        ((features[:, 0], labels, "abcd"), "expected numbers"),
        ((features * np.nan, labels, "abcd"), "NaN"),
        ((features, labels[:5], "abcd"), "5 labels for 40"),
        ((features, labels, "ab"), "out of range"),
    ):
        with pytest.raises(InputError, match=text):
            Embeddings(*changed)
    (tmp_path / "x.npz").write_bytes(b"PK nonsense")
    np.savez(tmp_path / "y.npz", features=features)
    for name in ("x.npz", "y.npz"):
        with pytest.raises(InputError, match="no embeddings file"):
            load_embeddings(tmp_path / name)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 8), st.floats(-100, 100))
def test_pca_keeps_most_variance_and_forgets_the_origin(seed, d, shift):
    features, _ = clusters(seed, 12, max(d, 4))
    features = features[:, :d]
    flat = project(features)
    assert flat.shape == (12, 2)
    assert flat.mean(axis=0) == pytest.approx(np.zeros(2), abs=1e-9)
    values = np.linalg.eigvalsh(np.cov(features.T, ddof=0).reshape(d, d))[::-1]
    expected = [*values[:2], 0.0][:2]
    assert flat.var(axis=0) == pytest.approx(expected, abs=1e-6)
    assert project(features + shift) == pytest.approx(flat, abs=1e-6)


def test_tsne_keeps_clusters_together():
    pytest.importorskip("sklearn", reason="t-SNE is scikit-learn's")
    features, labels = clusters()
    flat = project(features, "tsne")
    centres = np.stack([flat[labels == c].mean(0) for c in range(4)])
    nearest = np.linalg.norm(flat[:, None] - centres, axis=2).argmin(1)
    assert (nearest == labels).mean() > 0.9
    assert (project(features, "tsne") == flat).all()


def test_other_projections(monkeypatch):
    features, _ = clusters()
    with pytest.raises(InputError, match="allowed: pca, tsne, umap"):
        project(features, "map")
    with pytest.raises(InputError, match="at least three"):
        project(features[:2])
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingPackageError, match="umap-learn"):
        project(features, "umap")
