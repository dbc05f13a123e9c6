from __future__ import annotations

import numpy as np
import pytest

from ski_skeleton.errors import ConfigError
from ski_skeleton.evaluate import collect_scores


class Numbers:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {"index": index, "label": index % 3, "x": np.full(2, index, np.float32)}

    def set_epoch(self, epoch):
        pass


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_sample_once_in_order(batch_size):
    scores = collect_scores(lambda b: b["x"].repeat(1, 2), Numbers(10), batch_size=batch_size)
    assert scores.logits[:, 0].tolist() == list(range(10))
    assert scores.labels.tolist() == [i % 3 for i in range(10)]
    assert scores.logits.dtype == np.float32
    assert scores.logits.shape == (10, 4)


def test_empty_set():
    with pytest.raises(ConfigError, match="empty"):
        collect_scores(lambda b: b["x"], Numbers(0))
