from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_eval import Predictions
from ski_skeleton.ensemble import WEIGHTS, combine, stream_weights

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
FILES = tuple(f"{stream}.npz" for stream in STREAMS)


def part(stream, *, clips=6, classes=4):
    """Random scores of the same clips, other ones for each stream."""
    rng = np.random.default_rng(STREAMS.index(stream))
    return Predictions(
        names=tuple(f"clip-{i}" for i in range(clips)),
        labels=np.arange(clips) % classes,
        logits=rng.normal(0, 3, (clips, classes)),
        classes=tuple("abcd"[:classes]),
        groups=tuple(str(i % 2) for i in range(clips)),
        meta={"stream": stream},
    )


PARTS = [part(stream) for stream in STREAMS]


def test_published_weights_by_stream():
    assert stream_weights(PARTS, FILES) == (0.4, 0.6, 0.2, 0.2)
    assert stream_weights(PARTS[2:0:-1], FILES[:2]) == (0.2, 0.6)
    found = combine(PARTS, stream_weights(PARTS, FILES), FILES)
    j, b, jm, bm = (p.logits.astype(np.float64) for p in PARTS)
    np.testing.assert_allclose(found.logits, 0.4 * j + 0.6 * b + 0.2 * jm + 0.2 * bm, rtol=1e-6)
    assert found.groups == PARTS[0].groups
    assert [m["stream"] for m in found.meta["ensemble"]] == list(STREAMS)
    assert found.meta["weights"] == list(WEIGHTS.values())


@settings(max_examples=20, deadline=None)
@given(
    weights=st.lists(st.floats(0.1, 5), min_size=2, max_size=4),
    scale=st.sampled_from(["logits", "probabilities"]),
    seed=st.integers(0, 99),
)
def test_any_weights_and_any_order_of_clips(weights, scale, seed):
    order = np.random.default_rng(seed).permutation(6)
    parts, expected = [], np.zeros((6, 4))
    for index, weight in enumerate(weights):
        p = PARTS[index]
        scores = p.logits.astype(np.float64)
        if scale == "probabilities":
            scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        expected += weight * scores
        if index:
            names, groups = (tuple(np.array(v)[order].tolist()) for v in (p.names, p.groups))
            p = replace(
                p, names=names, groups=groups, labels=p.labels[order], logits=p.logits[order]
            )
        parts.append(p)
    found = combine(parts, weights, FILES[: len(parts)], scale=scale)
    assert found.names == PARTS[0].names
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"classes": tuple("abdc")}, "bone.npz: classes or their order differ from joint.npz"),
        ({"names": tuple(f"clip-{i + 1}" for i in range(6))}, "bone.npz: 2 clips are only"),
        ({"labels": np.array([0, 1, 2, 3, 0, 2])}, "bone.npz: clip clip-5 has another label"),
        ({"groups": tuple("012345")}, "bone.npz: clips are by other people"),
        ({"unseen": (1,)}, "bone.npz: other classes are unseen"),
    ],
)
def test_other_clips_labels_or_classes_are_refused(change, text):
    parts = [PARTS[0], replace(PARTS[1], **change)]
    with pytest.raises(InputError, match=text):
        combine(parts, (1, 1), FILES[:2])


@pytest.mark.parametrize(
    ("count", "weights", "text"),
    [
        (1, (1,), "at least two"),
        (2, (1,), "1 weights for 2"),
        (2, (0, 0), "not all 0"),
        (2, (1, -1), "0 or more"),
        (2, (1, float("nan")), "0 or more"),
    ],
)
def test_bad_numbers(count, weights, text):
    with pytest.raises(InputError, match=text):
        combine(PARTS[:count], weights, FILES[:count])


def test_bad_scale():
    with pytest.raises(InputError, match="logits or probabilities"):
        combine(PARTS[:2], (1, 1), FILES[:2], scale="ranks")


@pytest.mark.parametrize("stream", [None, "ctrgcn_bone", 3])
def test_stream_without_a_published_weight(stream):
    odd = replace(PARTS[1], meta={"stream": stream})
    with pytest.raises(InputError, match=r"bone.npz: stream .* give --weights"):
        stream_weights([PARTS[0], odd], FILES[:2])


def test_one_stream_twice():
    with pytest.raises(InputError, match="2 predictions of the joint stream"):
        stream_weights([PARTS[0], PARTS[0]], FILES[:2])
