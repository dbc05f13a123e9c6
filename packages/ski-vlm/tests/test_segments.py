from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_vlm.errors import ConfigError
from ski_vlm.segments import Segment, Segmenter, Smoother


def run(labels, stride=1.0, window=4.0, starts=None):
    segmenter, found = Segmenter(stride), []
    starts = [stride * i for i in range(len(labels))] if starts is None else starts
    for i, (start, label) in enumerate(zip(starts, labels, strict=True)):
        found += segmenter.add(start, start + window, label, float(i))
    return found + segmenter.close()


def test_windows_of_one_class_are_one_segment():
    assert run(["a", "a", "b", "b", "b"]) == [
        Segment(0.0, 3.5, "a", 0.5),
        Segment(3.5, 8.0, "b", 3.0),
    ]


def test_rejected_windows_are_no_segment():
    assert [(s.start, s.end, s.label) for s in run([None, "a", None, "a", None])] == [
        (2.5, 3.5, "a"),
        (4.5, 5.5, "a"),
    ]
    assert run([None, None]) == []
    assert run([]) == []


def test_one_window_is_its_own_segment():
    assert run(["a"]) == [Segment(0.0, 4.0, "a", 0.0)]


def test_a_break_ends_a_segment():
    found = run(["a", "a", "a"], starts=[0.0, 1.0, 60.0])
    assert [(s.start, s.end) for s in found] == [(0.0, 5.0), (60.0, 64.0)]


@given(st.lists(st.sampled_from(["a", "b", None])), st.floats(0.1, 4.0))
def test_segments_follow_each_other_and_lie_in_the_video(labels, stride):
    found = run(labels, stride=stride)
    edges = [edge for s in found for edge in (s.start, s.end)]
    assert edges == sorted(edges)
    assert all(s.end > s.start for s in found)
    if found:
        assert found[0].start >= 0
        assert found[-1].end <= stride * (len(labels) - 1) + 4.0 + 1e-9
    assert {s.label for s in found} == set(labels) - {None}
    if None not in labels and labels:
        assert sum(s.end - s.start for s in found) == pytest.approx(
            stride * (len(labels) - 1) + 4.0
        )


@given(st.lists(st.floats(-1, 1), min_size=1), st.integers(1, 4))
def test_smoothing(values, span):
    rows = [np.array([v, -v]) for v in values]
    for how in ("none", "exponential", "median"):
        smoother = Smoother(how, span)
        found = [smoother.add(row) for row in rows]
        assert all(min(values) - 1e-9 <= f[0] <= max(values) + 1e-9 for f in found)
        if how == "none" or span == 1:
            np.testing.assert_allclose(found, rows, atol=1e-12)
        if how == "median":
            np.testing.assert_allclose(found[-1][0], np.median(values[-span:]))


def test_exponential_weights_and_forgetting():
    smoother = Smoother("exponential", 3)
    assert smoother.add(np.array([1.0])) == 1.0
    assert smoother.add(np.array([0.0])) == 0.5
    assert smoother.add(np.array([0.0])) == 0.25
    smoother.clear()
    assert smoother.add(np.array([0.0])) == 0.0
    with pytest.raises(ConfigError):
        Smoother("median", 0)
