from __future__ import annotations

import torch
from torch import nn

from ski_skeleton.train.optim import OptimConfig, build_optimizer
from ski_vlm.students.groups import decay_groups


def test_matrices_decay_and_vectors_do_not():
    module = nn.Linear(3, 2)
    module.position = nn.Parameter(torch.zeros(2, 2))
    module.still = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    decayed, free = decay_groups(module.named_parameters(), 10.0, ("position",))
    assert [id(p) for p in decayed["params"]] == [id(module.weight)]
    assert {id(p) for p in free["params"]} == {id(module.bias), id(module.position)}
    assert decayed["scale"] == free["scale"] == 10.0


def test_the_optimiser_keeps_a_groups_own_decay():
    groups = decay_groups(nn.Linear(3, 2).named_parameters())
    optimizer = build_optimizer(groups, OptimConfig(weight_decay=0.5))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]


def test_no_empty_group():
    assert len(decay_groups([("w", nn.Parameter(torch.zeros(2, 2)))])) == 1
    assert decay_groups([]) == []
