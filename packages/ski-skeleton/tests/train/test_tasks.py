from __future__ import annotations

import pytest
import torch
from test_skeleton_clip import CONFIG, NAMES

from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.train.tasks import AlignSkeletons, ClassifySkeletons

BATCH = {"skeleton": torch.randn(4, 3, 8, 25, 2), "label": torch.tensor([0, 2, 1, 2])}


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_classification_is_cross_entropy(smoothing):
    encoder = Hyperformer(HyperformerConfig(heads=1, strides=(2,), output=3))
    task = ClassifySkeletons(encoder, label_smoothing=smoothing).eval()
    losses = task(BATCH)
    log = torch.log_softmax(encoder(BATCH["skeleton"]), -1)
    own = log[torch.arange(4), BATCH["label"]]
    expected = -((1 - smoothing) * own + smoothing * log.mean(-1)).mean()
    torch.testing.assert_close(losses["loss"], expected)


def test_alignment_trains_the_encoder_alone():
    task = AlignSkeletons(SkeletonClip(CONFIG), NAMES).train()
    task(BATCH)["loss"].backward()
    assert all(p.grad is None for p in task.model.text.parameters())
    assert task.model.encoder.head.weight.grad.abs().sum() > 0
    assert len(task.parameter_groups()[0]["params"]) == len(list(task.model.encoder.parameters()))
