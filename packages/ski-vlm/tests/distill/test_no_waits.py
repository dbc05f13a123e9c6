"""What a step of distillation reads back from the device."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ski_skeleton.text import tokenize
from ski_vlm.distill import ScdConfig, SkeletonDistillation
from ski_vlm.students import ViFiClip

READS = {"_local_scalar_dense", "nonzero", "item", "masked_select"}


class Reads(TorchDispatchMode):
    """Counts operations that must wait for the device."""

    def __init__(self):
        super().__init__()
        self.found, self.operations = Counter(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.operations += 1
        if name in READS:
            self.found[name] += 1
        if name in ("index", "index_put", "index_put_", "_unsafe_index"):
            self.found["bool index"] += sum(
                index is not None and index.dtype == torch.bool for index in args[1]
            )
        return func(*args, **(kwargs or {}))


def reads(task, batch) -> Counter:
    """Of a step and its backward pass, frozen texts being known."""
    task.train()
    with torch.no_grad():
        task(batch)
    with Reads() as seen:
        task(batch)["loss"].backward()
    assert seen.operations > 300
    return +seen.found


@pytest.mark.parametrize("logits", ["cosine", "released"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_value_is_read_back(config, teacher, names, batch, logits, smoothing):
    student = ViFiClip(replace(config, train="image"))
    settings = ScdConfig(logits=logits, label_smoothing=smoothing)
    assert not reads(SkeletonDistillation(student, teacher, names, settings), batch)


def test_a_text_tower_that_trains_reads_the_length_of_its_prompts(student, teacher, names, batch):
    """Nothing else: ids are on the CPU until they are cut, so the device is not waited for."""
    found = reads(SkeletonDistillation(student, teacher, names, ScdConfig()), batch)
    assert found == {"_local_scalar_dense": 1}
    ids = tokenize(names)
    assert student.text.to("meta").encode_tokens(ids).device.type == "meta"  # no value to read


def test_unpaired_clips_cost_one_wait(config, teacher, names, batch):
    student = ViFiClip(replace(config, train="image"))
    task = SkeletonDistillation(student, teacher, names, ScdConfig())
    found = reads(task, {**batch, "paired": torch.tensor([True, False, True])})
    assert found == {"nonzero": 1}
