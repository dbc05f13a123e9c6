from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.plain_hyperformer import PlainHyperformer
from ski_skeleton.errors import ConfigError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig

SMALL = HyperformerConfig(heads=2, strides=(1, 2), output=8)


CONFIGS = {
    "small": SMALL,
    "one-body": HyperformerConfig(heads=1, strides=(2, 1), persons=1, output=None),
    "22-joints": HyperformerConfig(heads=3, strides=(1, 2), layout="kinect22", output=4),
    "seven-groups": HyperformerConfig(
        heads=2, strides=(1,), groups=tuple(i % 7 for i in range(25))
    ),
    "kernel-3": HyperformerConfig(heads=2, strides=(1, 2), kernel=3, dilations=(1, 3), persons=3),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@every_config
def test_equals_the_plain_formulation(config, scatter):
    model = scatter(Hyperformer(config)).double().eval()
    clips = torch.randn(2, 3, 9, config.joints, config.persons, dtype=torch.float64)
    with torch.no_grad():
        ours, plain = model.encode(clips).features, PlainHyperformer(model).features(clips)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


@every_config
def test_trains_as_the_plain_formulation(config, scatter):
    """Outputs, gradients and running statistics of a training step."""
    clips = torch.randn(2, 3, 9, config.joints, config.persons, dtype=torch.float64)
    found = []
    for way in (lambda model: model, PlainHyperformer):
        model = scatter(Hyperformer(config)).double().train()
        outputs = way(model)(clips)
        outputs.square().sum().backward()
        gradients = {f"gradient of {n}": p.grad for n, p in model.named_parameters()}
        statistics = {n: b for n, b in model.named_buffers() if "running" in n}
        found.append({"outputs": outputs.detach()} | gradients | statistics)
    assert len(found[0]) > 30
    for name, plain in found[1].items():
        scale = max(1.0, plain.abs().max().item())
        torch.testing.assert_close(
            found[0][name], plain, rtol=1e-7, atol=1e-8 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


class Operations(TorchDispatchMode):
    """Names of the operations that ran."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_training_step_stays_on_the_device():
    """Nothing is read back, and no index or constant is made on the host."""
    model = Hyperformer(SMALL)
    clips = torch.randn(2, 3, 8, 25, 2)
    with Operations() as seen:
        model(clips).square().sum().backward()
    assert {"convolution", "baddbmm", "index_select", "native_batch_norm"} <= seen.names
    hosts = {"_local_scalar_dense", "lift_fresh", "_to_copy", "nonzero", "arange", "scalar_tensor"}
    assert not seen.names & hosts


def test_parameter_count_is_the_published_one():
    count = sum(p.numel() for p in Hyperformer(HyperformerConfig(output=512)).parameters())
    assert count == 2_827_278
    count = sum(p.numel() for p in Hyperformer(HyperformerConfig(output=60)).parameters())
    assert count == 2_729_194


def test_attention_starts_off_and_alpha_learns():
    model = Hyperformer(SMALL)
    model(torch.randn(2, 3, 8, 25, 2)).square().sum().backward()
    attention = model.blocks[0].attention
    assert attention.alpha.item() == 0
    assert attention.alpha.grad.abs().item() > 0
    assert attention.hop_vectors.grad.abs().max() == 0


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 20))
def test_time_steps_and_pooling(frames):
    model = Hyperformer(SMALL).eval()
    with torch.no_grad():
        encoded = model.encode(torch.randn(2, 3, frames, 25, 2))
    assert encoded.tokens.shape == (2, (frames + 1) // 2, 48)
    torch.testing.assert_close(encoded.tokens.mean(1), encoded.features)


def test_tokens_keep_the_order_of_time(scatter):
    model = scatter(Hyperformer(HyperformerConfig(heads=1, strides=(1,), output=None))).eval()
    clips = torch.zeros(1, 3, 40, 25, 2)
    clips[:, :, 20:] = 1.0
    with torch.no_grad():
        tokens = model.encode(clips).tokens[0]
    assert torch.allclose(tokens[6], tokens[12])
    assert torch.allclose(tokens[28], tokens[33])
    assert not torch.allclose(tokens[6], tokens[28])


@pytest.mark.parametrize("tokens", ["frames", "joints"])
def test_tokens_are_ordered_by_time_then_joint(tokens, scatter):
    model = scatter(Hyperformer(SMALL)).double().eval()
    clips = torch.randn(2, 3, 9, 25, 2, dtype=torch.float64)
    with torch.no_grad():
        found = model.encode(clips, tokens=tokens)
        maps = model.activations(clips)  # (N, M, T', V, W)
        plain = []
        for n in range(2):
            rows = []
            for t in range(5):
                joints = [(maps[n, 0, t, v] + maps[n, 1, t, v]) / 2 for v in range(25)]
                rows += joints if tokens == "joints" else [sum(joints) / 25]
            plain.append(torch.stack(rows))
    torch.testing.assert_close(found.tokens, torch.stack(plain))
    torch.testing.assert_close(found.tokens.mean(1), found.features)


def test_joint_token_follows_its_joint():
    config = HyperformerConfig(heads=1, strides=(2,), persons=1, output=None)
    model = Hyperformer(config).eval()  # fresh attention is the identity: joints do not mix
    clips = torch.zeros(1, 3, 24, 25, 1)
    clips[:, :, 12:, 7] = 1.0
    with torch.no_grad():
        moved = model.encode(clips, tokens="joints").tokens[0]
        still = model.encode(torch.zeros_like(clips), tokens="joints").tokens[0]
    changed = ((moved - still).abs().amax(-1) > 1e-6).nonzero()[:, 0].tolist()
    assert {token % 25 for token in changed} == {7}
    assert min(changed) // 25 >= 3  # the kernel looks 4 frames ahead of frame 12
    assert (len(moved), max(changed) // 25) == (12 * 25, 11)


def test_unknown_tokens_are_named():
    with pytest.raises(ConfigError, match="frames or joints, not 'bodies'"):
        Hyperformer(SMALL).encode(torch.zeros(1, 3, 8, 25, 2), tokens="bodies")


def test_swapping_bodies_with_equal_norms_changes_nothing():
    model = Hyperformer(SMALL).eval()  # fresh data norm treats both bodies alike
    clips = torch.randn(2, 3, 8, 25, 2)
    with torch.no_grad():
        torch.testing.assert_close(model(clips), model(clips.flip(-1)))


def test_gradient_matches_finite_differences(scatter):
    config = HyperformerConfig(heads=1, strides=(2,), persons=1, output=2)
    model = scatter(Hyperformer(config)).double().eval()
    clips = torch.randn(1, 3, 3, 25, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (clips,), fast_mode=True)


@pytest.mark.parametrize(
    ("settings_", "word"),
    [
        ({"heads": 0}, "heads"),
        ({"strides": ()}, "strides"),
        ({"kernel": 4}, "kernel"),
        ({"persons": 0}, "persons"),
        ({"groups": (0, 1)}, "groups"),
        ({"dilations": ()}, "branches"),
    ],
)
def test_bad_settings_are_named(settings_, word):
    with pytest.raises(ConfigError, match=word):
        HyperformerConfig(**settings_)


def test_wrong_clip_shape_is_named():
    with pytest.raises(ConfigError, match="25 joints"):
        Hyperformer(SMALL)(torch.randn(2, 3, 8, 17, 2))
