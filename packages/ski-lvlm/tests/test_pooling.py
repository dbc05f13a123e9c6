from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_lvlm.errors import FeatureError
from ski_lvlm.pooling import frame_indices, spatio_temporal_pool


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_pooling_of_the_published_models(golden, kind):
    case, arrays = golden("st_pooling")
    assert len(case["config"]["cases"]) == 4
    for row in case["config"]["cases"]:
        features = arrays[f"in_{row['name']}"]
        if kind == "torch":
            tokens = spatio_temporal_pool(torch.from_numpy(features)).numpy()
        else:
            tokens = spatio_temporal_pool(features)
        assert tokens.shape == (row["rows"], row["channels"])
        assert tokens.dtype == np.float16
        for source in ("saved", "inference"):
            np.testing.assert_array_max_ulp(tokens, arrays[f"out_{row['name']}_{source}"], 2)


@pytest.mark.golden
def test_frames_of_the_published_models(golden):
    case, _ = golden("st_pooling")
    for row in case["frame_indices"]:
        indices = frame_indices(row["frames_in_video"])
        assert indices == row["indices"]
        assert len(indices) == row["frames_taken"]


@given(st.integers(1, 5000), st.integers(1, 150))
def test_frames_are_in_order_and_inside(frames, limit):
    indices = frame_indices(frames, limit)
    assert len(indices) == min(frames, limit)
    assert indices == sorted(indices)
    assert indices[0] >= 0
    assert indices[-1] < frames


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 8))
def test_rows_follow_the_formula(frames, patches, temporal_tokens):
    features = np.random.default_rng(0).standard_normal((frames, patches, 3))
    tokens = spatio_temporal_pool(features, temporal_tokens)
    rows = max(temporal_tokens, frames)
    assert tokens.shape == (rows + patches, 3)
    assert not tokens[frames:rows].any()
    np.testing.assert_allclose(tokens[0], features[0].mean(0))
    np.testing.assert_allclose(tokens[-1], features[:, -1].mean(0))


def test_torch_keeps_type_and_gradient():
    features = torch.ones(2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    tokens = spatio_temporal_pool(features)
    assert tokens.dtype == torch.bfloat16
    tokens.sum().backward()
    assert torch.allclose(features.grad.float(), torch.full((2, 3, 4), 1 / 3 + 1 / 2), atol=1e-2)


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((3, 4), np.float32),
        np.zeros((0, 4, 2), np.float32),
        np.zeros((2, 4, 2), np.int64),
        torch.zeros(2, 4, 2, dtype=torch.int64),
    ],
)
def test_wrong_features(features):
    with pytest.raises(FeatureError, match="wanted"):
        spatio_temporal_pool(features)


@pytest.mark.parametrize(("frames", "limit"), [(0, 100), (-1, 100), (5, 0)])
def test_wrong_frame_counts(frames, limit):
    with pytest.raises(FeatureError, match="at least 1"):
        frame_indices(frames, limit)
