from __future__ import annotations

import numpy as np
import pytest

from ski_eval import (
    InputError,
    Interval,
    calibration_error,
    embedding_figure,
    reliability_figure,
    sweep_figure,
)

PNG = b"\x89PNG"


def test_sweep():
    span = Interval(0.4, 0.6, 0.95, "b")
    series = {"48/12": [(0.01, 0.5, span), (1.0, 0.7, None), (100.0, 0.2, None)]}
    svg = sweep_figure(series, "alpha", "Sweep", chance=0.1).decode()
    assert svg.count("<path") > 10
    assert sweep_figure(series, "alpha") == sweep_figure(series, "alpha")
    assert sweep_figure(series, "alpha", form="png").startswith(PNG)
    assert b"<svg" in sweep_figure({"a": [(0, 0.5, None), (1, 0.6, None)]}, "n")


@pytest.mark.parametrize(
    "series", [{}, {"a": []}, {"a": [(1, 0.5, None)]}, {"a": [(1, 50.0, None), (2, 0.5, None)]}]
)
def test_bad_sweeps(series):
    with pytest.raises(InputError, match="sweep"):
        sweep_figure(series, "alpha")


def test_reliability(rng):
    found = calibration_error(rng.normal(size=(50, 3)), rng.integers(3, size=50))
    assert b"<svg" in reliability_figure(found, "Title")
    assert reliability_figure(found, form="png").startswith(PNG)


def test_embedding(rng):
    points, labels = rng.normal(size=(90, 2)), np.arange(90) % 45
    names = [f"class {i}" for i in range(45)]
    assert b"<svg" in embedding_figure(points, labels, names, "Title")
    many = embedding_figure(np.tile(points, (30, 1)), np.tile(labels, 30), names)
    assert len(many) < 600_000  # points become one picture inside
    for bad in ((points[:, :1], labels), (points, labels[:3]), (points, labels + 1)):
        with pytest.raises(InputError):
            embedding_figure(*bad, names)
