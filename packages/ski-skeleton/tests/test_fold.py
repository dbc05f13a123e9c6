from __future__ import annotations

import pytest
import torch
from torch import nn

from ski_skeleton.encoder import ChannelNorm
from ski_skeleton.fold import fold_batch_norm
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.shift_gcn import ShiftGcn, ShiftGcnConfig
from ski_skeleton.stgcn import Stgcn, StgcnConfig

MODELS = {
    "hyperformer": lambda: Hyperformer(HyperformerConfig(heads=2, strides=(1, 1, 2), output=8)),
    "three-dilations": lambda: Hyperformer(
        HyperformerConfig(heads=5, strides=(1, 2), dilations=(1, 2, 3), persons=1, output=None)
    ),
    "stgcn": lambda: Stgcn(StgcnConfig(channels=(8, 8, 12), strides=(1, 2, 1), output=8)),
    "shift_gcn": lambda: ShiftGcn(ShiftGcnConfig(channels=(8, 8, 12), strides=(1, 2, 1), output=8)),
}
NORMS_LEFT = {"hyperformer": 3, "three-dilations": 2, "stgcn": 3, "shift_gcn": 9}


def norms(model):
    return sum(isinstance(module, ChannelNorm) for module in model.modules())


@pytest.mark.parametrize("name", MODELS)
def test_computes_the_same_without_the_norms(name, scatter):
    model = scatter(MODELS[name]()).eval()
    persons = model.config.persons
    clips = torch.randn(2, 3, 9, 25, persons)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norm(model.train())
    model.eval()
    with torch.no_grad():
        plain = model(clips)
        scale = plain.abs().max()
        torch.testing.assert_close(folded(clips) / scale, plain / scale, rtol=0, atol=1e-5)
        exact = fold_batch_norm(model.double())(clips.double())
        torch.testing.assert_close(exact, model(clips.double()), rtol=1e-10, atol=1e-10 * scale)
    assert norms(folded) == NORMS_LEFT[name] < norms(model)
    assert all(
        torch.equal(value, before[key].to(value)) for key, value in model.state_dict().items()
    )


def test_is_for_inference(scatter):
    inside = nn.Sequential(scatter(MODELS["hyperformer"]()))
    folded = fold_batch_norm(inside)
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(parameter.requires_grad for parameter in inside.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("fold", [False, True], ids=["as-is", "folded"])
def test_compiled_computes_the_same(fold, scatter):
    model = scatter(Hyperformer(HyperformerConfig(heads=1, strides=(2,), output=8))).eval()
    clips = torch.randn(2, 3, 9, 25, 2)
    with torch.no_grad():
        plain = model(clips)
        compiled = torch.compile(fold_batch_norm(model) if fold else model, fullgraph=True)
        torch.testing.assert_close(compiled(clips), plain, rtol=1e-4, atol=1e-4)
