from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_data.video.mixing import MixConfig, mix_targets, mix_videos, smooth_targets
from ski_vlm.mixing import mix_batch, smooth


@pytest.mark.parametrize("switch", [0.0, 1.0])
def test_mixed_as_numpy_does(switch):
    video, targets = torch.rand(3, 2, 3, 8, 8), torch.rand(3, 5)
    found = mix_batch(video, targets, MixConfig(switch=switch))
    assert (found.mix.box is None) is (switch == 0)
    np.testing.assert_array_equal(found.video, mix_videos(video.numpy(), found.mix))
    np.testing.assert_array_equal(found.targets, mix_targets(targets.numpy(), found.mix.lam))
    assert found.clean is targets


@given(st.lists(st.integers(0, 4), max_size=6), st.floats(0, 0.9))
def test_smoothed_as_numpy_does(labels, smoothing):
    ours = smooth(torch.tensor(labels, dtype=torch.long), 5, smoothing)
    plain = smooth_targets(np.array(labels, np.int64), 5, smoothing)
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_a_label_beyond_the_classes():
    with pytest.raises(RuntimeError, match="out of bounds"):
        smooth(torch.tensor([0, 5]), 5, 0.1)
