from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_skeleton.errors import ConfigError
from ski_skeleton.shift_gcn import (
    ShiftGcn,
    ShiftGcnConfig,
    ShiftGraphConvolution,
    TemporalShift,
    spatial_shift,
    temporal_shift,
)

SMALL = ShiftGcnConfig(channels=(4, 4, 6), strides=(1, 2, 2), output=5)


def plain_temporal_shift(x, offset, stride):
    """Frame by frame and channel by channel."""
    B, T, V, C = x.shape
    out = torch.zeros(B, -(-T // stride), V, C, dtype=x.dtype)
    for c in range(C):
        y = float(offset[c])
        floor = math.floor(y)
        for h in range(out.shape[1]):
            for frame, weight in ((floor, 1 - (y - floor)), (floor + 1, y - floor)):
                if 0 <= h * stride + frame < T:
                    out[:, h, :, c] += weight * x[:, h * stride + frame, :, c]
    return out


def plain_spatial_shift(frame, direction):
    """``(V, C)``: channel j of joint i from joint i + direction * j, around."""
    V, C = frame.shape
    out = torch.empty_like(frame)
    for i in range(V):
        for j in range(C):
            out[i, j] = frame[(i + direction * j) % V, j]
    return out


def plain_graph_convolution(module, x):
    """One frame at a time, in evaluation mode."""

    def norm(layer, value):
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return (value - layer.running_mean) * scale + layer.bias

    out = []
    for frame in x.flatten(0, 1):
        y = plain_spatial_shift(frame, 1) * (torch.tanh(module.mask) + 1)
        y = plain_spatial_shift(y @ module.weight + module.bias, -1)
        y = norm(module.norm, y.flatten()).view(y.shape)
        kept = frame
        if module.down is not None:
            kept = norm(module.down_norm, frame @ module.down.weight.T + module.down.bias)
        out.append(torch.relu(y + kept))
    return torch.stack(out).view(*x.shape[:3], -1)


@pytest.mark.parametrize(("joints", "channels", "width"), [(25, 3, 7), (22, 4, 4), (5, 9, 6)])
def test_shift_graph_convolution_is_the_plain_one(joints, channels, width, scatter):
    module = scatter(ShiftGraphConvolution(channels, width, joints)).double().eval()
    x = torch.randn(2, 3, joints, channels, dtype=torch.float64)
    torch.testing.assert_close(module(x), plain_graph_convolution(module, x))


@given(st.integers(1, 31), st.integers(1, 70))
def test_shifts_over_joints_undo_each_other(joints, channels):
    there, back = spatial_shift(joints, channels, 1), spatial_shift(joints, channels, -1)
    assert sorted(there.tolist()) == list(range(joints * channels))
    assert torch.equal(there[back], torch.arange(joints * channels))


@settings(max_examples=50, deadline=None)
@given(
    frames=st.integers(1, 9),
    stride=st.integers(1, 3),
    offset=st.lists(
        st.floats(-12, 12, allow_nan=False) | st.integers(-3, 3).map(float), min_size=1, max_size=4
    ),
)
def test_temporal_shift_is_the_plain_one(frames, stride, offset):
    x = torch.randn(2, frames, 2, len(offset), dtype=torch.float64)
    y = torch.tensor(offset, dtype=torch.float64)
    torch.testing.assert_close(temporal_shift(x, y, stride), plain_temporal_shift(x, y, stride))


def test_whole_shifts_move_frames():
    x = torch.randn(1, 6, 2, 3)
    out = temporal_shift(x, torch.tensor([0.0, 2.0, -1.0]))
    assert torch.equal(out[..., 0], x[..., 0])
    assert torch.equal(out[:, :4, :, 1], x[:, 2:, :, 1])
    assert torch.equal(out[:, 1:, :, 2], x[:, :-1, :, 2])
    assert (out[:, 4:, :, 1] == 0).all()
    assert (out[:, 0, :, 2] == 0).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_temporal_shift_has_its_true_gradient(stride):
    x = torch.randn(2, 7, 2, 4, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.3, -0.7, 1.6, -9.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: temporal_shift(a, b, stride), (x, y))


def test_official_gradient_is_its_sign():
    x = torch.randn(2, 7, 2, 3)
    x[..., 2] = 0
    steps = {}
    for official in (False, True):
        module = TemporalShift(3, 2, official_gradient=official)
        with torch.no_grad():
            module.offset.copy_(torch.tensor([0.2, -0.4, 0.1]))
        out = module(x)
        (out * torch.arange(1.0, out.numel() + 1).view_as(out)).sum().backward()
        steps[official] = (out.detach(), module.offset.grad)
    assert torch.equal(steps[True][0], steps[False][0])
    wanted = 0.01 * steps[False][1].sign()
    wanted[2] = 1e-4
    assert steps[False][1][2] == 0
    assert torch.equal(steps[True][1], wanted)
    with torch.no_grad():
        assert torch.equal(module(x), steps[True][0])


def test_half_a_frame_at_stride_two():
    module = TemporalShift(1, 2, official_gradient=False)
    with torch.no_grad():
        module.offset.zero_()
        out = module(torch.arange(7.0).view(1, 7, 1, 1))
    assert out.flatten().tolist() == [0.5, 2.5, 4.5, 3.0]  # half of the last frame is outside


@settings(max_examples=10, deadline=None)
@given(
    frames=st.integers(1, 11),
    clips=st.integers(1, 2),
    bodies=st.integers(1, 3),
    layout=st.sampled_from(["kinect25", "kinect22", "hdm05-31", "coco17"]),
)
def test_any_clip(frames, clips, bodies, layout):
    config = replace(SMALL, output=None, persons=bodies, layout=layout)
    model = ShiftGcn(config).eval()
    x = torch.randn(clips, 3, frames, config.joints, bodies)
    with torch.no_grad():
        encoded = model.encode(x)
        steps = (frames + 3) // 4
        assert encoded.tokens.shape == (clips, steps, 6)
        assert model.activations(x).shape == (clips, bodies, steps, config.joints, 6)
        torch.testing.assert_close(encoded.tokens.mean(1), encoded.features)
        torch.testing.assert_close(model(x), encoded.features)
        torch.testing.assert_close(model(x[:1]), encoded.features[:1])


def test_moved_in_time_the_inner_tokens_move(scatter):
    model = scatter(ShiftGcn(SMALL)).double().eval()
    clips = torch.randn(1, 3, 60, 25, 2, dtype=torch.float64)
    with torch.no_grad():
        tokens = model.encode(clips).tokens[0]
        later = model.encode(clips[:, :, 4:]).tokens[0]  # four frames are one token
    torch.testing.assert_close(tokens[4:11], later[3:10])


def test_published_sizes():
    model = ShiftGcn(ShiftGcnConfig(output=None))
    assert (model.width, len(model.blocks)) == (256, 10)
    with torch.no_grad():
        assert model.eval().activations(torch.zeros(1, 3, 16, 25, 2)).shape == (1, 2, 4, 25, 256)


@pytest.mark.parametrize("official", [False, True])
def test_every_weight_learns(official):
    model = ShiftGcn(replace(SMALL, official_gradient=official))
    model(torch.randn(2, 3, 8, 25, 2)).square().sum().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name


def test_gradient_matches_finite_differences(scatter):
    config = ShiftGcnConfig(channels=(2, 3), strides=(1, 2), persons=1, layout="coco17", output=2)
    model = scatter(ShiftGcn(config)).double().eval()
    clips = torch.randn(1, 3, 3, 17, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (clips,), fast_mode=True)


def test_half_precision_stays_half():
    model = ShiftGcn(SMALL).eval()
    clips = torch.randn(2, 3, 8, 25, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = model(clips)
    with torch.no_grad():
        torch.testing.assert_close(half.float(), model(clips), rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("settings_", "word"),
    [
        ({"channels": ()}, "channels"),
        ({"strides": (1,)}, "one per block"),
        ({"persons": 0}, "persons"),
        ({"output": 0}, "output"),
    ],
)
def test_bad_settings_are_named(settings_, word):
    with pytest.raises(ConfigError, match=f"Shift-GCN: .*{word}"):
        ShiftGcnConfig(**settings_)


def test_wrong_clip_shape_is_named():
    with pytest.raises(ConfigError, match="25 joints of kinect25, 2 bodies"):
        ShiftGcn(SMALL)(torch.randn(2, 3, 8, 17, 2))
