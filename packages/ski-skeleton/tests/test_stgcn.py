from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.layouts import get_layout
from ski_skeleton.errors import ConfigError
from ski_skeleton.stgcn import SUBSETS, GraphConvolution, Stgcn, StgcnConfig, adjacency

SMALL = StgcnConfig(channels=(4, 4, 6), strides=(1, 2, 2), output=5)


def plain_graph_convolution(module, x):
    """Sum over subsets and neighbours, one term at a time."""
    B, T, V, _ = x.shape
    width = module.linear.out_features // SUBSETS
    out = torch.zeros(B, T, V, width, dtype=x.dtype)
    for k in range(SUBSETS):
        weight = module.linear.weight[k * width : (k + 1) * width]
        bias = module.linear.bias[k * width : (k + 1) * width]
        for to in range(V):
            for frm in range(V):
                edge = module.graph[k, frm, to] * module.importance[k, frm, to]
                if edge != 0:
                    out[:, :, to] += edge * (x[:, :, frm] @ weight.T + bias)
    return out


@pytest.mark.parametrize("layout", ["kinect25", "kinect22", "hdm05-31", "coco17"])
def test_graph_convolution_is_the_sum_over_neighbours(layout, scatter):
    module = scatter(GraphConvolution(3, 4, adjacency(layout))).double()
    x = torch.randn(2, 3, len(get_layout(layout).joints), 3, dtype=torch.float64)
    torch.testing.assert_close(module(x), plain_graph_convolution(module, x))


def test_graph_of_the_kinect_joints():
    graph = adjacency("kinect25")
    # the bone stream's hands: wrist - thumb - hand tip, not both at the hand
    assert (graph[:, 7, 22] > 0).any()
    assert (graph[:, 22, 21] > 0).any()
    assert (graph[:, 7, 21] == 0).all()
    inwards = {tuple(pair) for pair in graph[2].nonzero().tolist()}
    centre = {(20, 1), (20, 2), (20, 4), (20, 8)}
    assert inwards == centre | {(1, 0), (2, 3), (4, 5), (8, 9)}


@settings(max_examples=10, deadline=None)
@given(
    frames=st.integers(1, 11),
    clips=st.integers(1, 2),
    bodies=st.integers(1, 3),
    layout=st.sampled_from(["kinect25", "kinect22", "hdm05-31", "coco17"]),
)
def test_any_clip(frames, clips, bodies, layout):
    config = StgcnConfig(
        channels=(4, 4, 6), strides=(1, 2, 2), output=None, persons=bodies, layout=layout
    )
    model = Stgcn(config).eval()
    x = torch.randn(clips, 3, frames, config.joints, bodies)
    with torch.no_grad():
        encoded = model.encode(x)
        steps = (frames + 3) // 4
        assert encoded.tokens.shape == (clips, steps, 6)
        torch.testing.assert_close(encoded.tokens.mean(1), encoded.features)
        torch.testing.assert_close(model(x), encoded.features)
        torch.testing.assert_close(model(x.flip(-1)), encoded.features)  # bodies share the norm
        torch.testing.assert_close(model(x[:1]), encoded.features[:1])
        joints = model.encode(x, tokens="joints").tokens
        assert joints.shape == (clips, steps * config.joints, 6)


def test_moved_in_time_the_inner_tokens_move(scatter):
    model = scatter(Stgcn(SMALL)).double().eval()
    clips = torch.randn(1, 3, 60, 25, 2, dtype=torch.float64)
    with torch.no_grad():
        tokens = model.encode(clips).tokens[0]
        later = model.encode(clips[:, :, 4:]).tokens[0]  # four frames are one token
    torch.testing.assert_close(tokens[6:10], later[5:9])


def test_published_sizes():
    model = Stgcn(StgcnConfig(output=None))
    assert (model.width, len(model.blocks)) == (256, 10)
    with torch.no_grad():
        assert model.eval().encode(torch.zeros(1, 3, 50, 25, 2)).tokens.shape == (1, 13, 256)


def test_gradient_matches_finite_differences(scatter):
    config = StgcnConfig(channels=(2, 3), strides=(1, 2), persons=1, layout="coco17", output=2)
    model = scatter(Stgcn(config)).double().eval()
    clips = torch.randn(1, 3, 3, 17, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (clips,), fast_mode=True)


def test_every_weight_learns():
    model = Stgcn(SMALL)
    model(torch.randn(2, 3, 8, 25, 2)).square().sum().backward()
    graph = adjacency("kinect25") > 0
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        if name.endswith("importance"):
            assert (value.grad[graph] != 0).any(), name
            assert (value.grad[~graph] == 0).all(), name


def test_dropout_is_for_training_alone():
    model = Stgcn(SMALL)
    clips = torch.randn(2, 3, 8, 25, 2)
    model.train()
    assert not torch.equal(model(clips), model(clips))
    model.eval()
    assert torch.equal(model(clips), model(clips))


@pytest.mark.parametrize(
    ("settings_", "word"),
    [
        ({"channels": ()}, "channels"),
        ({"channels": (4, 0), "strides": (1, 1)}, "channels"),
        ({"strides": (1,)}, "one per block"),
        ({"kernel": 4}, "kernel"),
        ({"persons": 0}, "persons"),
        ({"output": 0}, "output"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_bad_settings_are_named(settings_, word):
    with pytest.raises(ConfigError, match=f"ST-GCN: .*{word}"):
        StgcnConfig(**settings_)


def test_wrong_clip_shape_is_named():
    with pytest.raises(ConfigError, match="25 joints of kinect25, 2 bodies"):
        Stgcn(SMALL)(torch.randn(2, 3, 8, 25, 1))
