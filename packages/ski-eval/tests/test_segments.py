from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval import InputError, Segment, average_precision, detection, read_segments, t_iou

ENDS = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda v: (v[0], v[0] + v[1]))
TRUTH = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("ab"), ENDS), min_size=1, max_size=8
)
FOUND = st.lists(st.tuples(st.sampled_from("uvw"), ENDS, st.integers(0, 99)), max_size=10)


def brute_precision(flags, n_truth):
    """For each recall step, the best precision at that recall or beyond (area by definition)."""
    hits = np.cumsum(flags)
    total = 0.0
    for i, flag in enumerate(flags):
        if flag:
            total += max(hits[j] / (j + 1) for j in range(i, len(flags))) / n_truth
    return total


def brute_map(predicted, truth, threshold):
    """Matching and area written out, one threshold, one class after the other."""
    values = []
    for label in {s.label for s in truth}:
        free = [s for s in truth if s.label == label]
        n_truth, flags = len(free), []
        for p in sorted((s for s in predicted if s.label == label), key=lambda s: -s.score):
            near = [s for s in free if s.video == p.video and t_iou(p, s) >= threshold]
            if near:
                free.remove(max(near, key=lambda s: t_iou(p, s)))
            flags.append(bool(near))
        values.append(brute_precision(flags, n_truth))
    return np.mean(values)


@settings(deadline=None)
@given(TRUTH, FOUND, st.sampled_from([0.1, 0.3, 0.5, 0.7]))
def test_map_by_brute_force(truth, found, threshold):
    theirs = [Segment(v, label, *map(float, ends)) for v, label, ends in truth]
    label = theirs[0].label
    # Different scores: with ties the order of the predictions would decide.
    mine = [
        Segment(v, label, *map(float, ends), score + i / 100)
        for i, (v, ends, score) in enumerate(found)
    ]
    [one, mean] = detection(mine, theirs, [threshold])
    assert one.value == pytest.approx(brute_map(mine, theirs, threshold))
    assert mean.value == one.value
    assert 0.0 <= one.value <= 1.0 + 1e-9


@settings(deadline=None)
@given(TRUTH)
def test_the_truth_itself_is_perfect(truth):
    theirs = list(dict.fromkeys(Segment(v, a, *map(float, ends)) for v, a, ends in truth))
    assert all(s.value == pytest.approx(1.0) for s in detection(theirs, theirs))
    assert all(s.value == 0.0 for s in detection([], theirs))


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=15), st.integers(0, 5))
def test_average_precision(flags, missed):
    n_truth = sum(flags) + missed
    if n_truth:
        assert average_precision(np.array(flags, bool), n_truth) == pytest.approx(
            brute_precision(flags, n_truth)
        )


def test_by_hand():
    truth = [Segment("v", "a", 0, 10), Segment("v", "a", 20, 30), Segment("w", "b", 0, 4)]
    mine = [
        Segment("v", "a", 1, 10, 0.9),  # tIoU 0.9
        Segment("v", "a", 0, 9, 0.8),  # the same again: wrong
        Segment("v", "a", 20, 24, 0.7),  # tIoU 0.4
        Segment("w", "b", 0, 2, 0.6),  # tIoU 0.5
    ]
    found = {s.threshold: s for s in detection(mine, truth, [0.3, 0.5, 0.7])}
    assert found[0.3].by_class == pytest.approx({"a": (1 + 2 / 3) / 2, "b": 1.0})
    assert found[0.5].by_class == pytest.approx({"a": 0.5, "b": 1.0})
    assert found[0.7].value == pytest.approx(0.25)
    expected = np.mean([found[t].value for t in (0.3, 0.5, 0.7)])
    assert found[None].value == pytest.approx(expected)


def test_intervals_draw_videos(rng):
    truth = [Segment(f"v{i}", "ab"[i % 2], 0, 10) for i in range(20)]
    mine = [Segment(f"v{i}", "ab"[i % 2], 0, 10 if i % 3 else 2, 1 + i) for i in range(20)]
    easy, *hard = detection(mine, truth, (0.2, 0.5), rng=rng, samples=200)
    assert (easy.value, easy.interval) == (1.0, None)  # all right: no resample differs
    for line in hard:
        assert line.interval.low <= line.value <= line.interval.high
        assert line.interval.method == "bootstrap, 20 videos"
    # Resamples without any ground truth say nothing and are left out.
    lonely = detection([*mine[1:2], Segment("z", "b", 0, 1)], truth[1:2], rng=rng, samples=100)
    assert (lonely[0].value, lonely[0].interval) == (1.0, None)
    twice = detection([*mine, *mine], [*truth, *truth])
    assert 0.0 < twice[0].value <= 1.0


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30).filter(any))
def test_average_precision_is_the_area_under_scikit_learns_curve(right):
    metrics = pytest.importorskip("sklearn.metrics", reason="the second opinion")
    falling = -np.arange(len(right))
    precision, recall, _ = metrics.precision_recall_curve(right, falling)
    envelope = np.maximum.accumulate(precision)[:-1]  # recall falls along the curve
    expected = -(np.diff(recall) * envelope).sum()
    assert average_precision(np.array(right), sum(right)) == pytest.approx(expected)


def test_bad_input():
    truth = [Segment("v", "a", 0, 1)]
    with pytest.raises(InputError, match="no ground truth"):
        detection([], [])
    with pytest.raises(InputError, match="class 'z' is predicted"):
        detection([Segment("v", "z", 0, 1)], truth)
    with pytest.raises(InputError, match="thresholds"):
        detection([], truth, [0.0])
    for ends in ((1.0, 1.0), (-1.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(InputError, match="start < end"):
            Segment("v", "a", *ends)


def test_files(tmp_path):
    nested = {"results": {"v": [{"label": "a", "segment": [0, 2.5], "score": 0.5}], "w": []}}
    truth = {"database": {"v": {"annotations": [{"label": "a", "segment": [0, 2]}]}}}
    flat = '{"name": "v", "label": "a", "start": 0, "end": 2.5, "score": 0.5}\n'
    timed = '{"name": "v", "length": 9.0, "actions": [{"label": 3, "start": 0, "end": 2}]}\n'
    paths = [tmp_path / name for name in ("n.json", "t.json", "f.jsonl", "timed.jsonl")]
    contents = (json.dumps(nested), json.dumps(truth), flat, timed)
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, "utf-8")
    expected = [Segment("v", "a", 0.0, 2.5, 0.5)]
    assert read_segments(paths[0], scored=True) == read_segments(paths[2], scored=True) == expected
    assert read_segments(paths[1], scored=False) == [Segment("v", "a", 0.0, 2.0)]
    assert read_segments(paths[3], scored=False) == [Segment("v", "3", 0.0, 2.0)]


@pytest.mark.parametrize(
    ("content", "scored", "text"),
    [
        ({"database": {}}, True, "no 'results'"),
        ({"database": {}}, False, "no segments"),
        ({"database": {"v": 3}}, False, "video 'v' holds no list"),
        ([{"name": "v", "label": "a", "start": 0, "end": 1}], True, "score must be numbers"),
        ([{"name": "v", "label": "a", "segment": 3}], False, "start and end must be numbers"),
        ([{"name": "v", "label": "a", "start": 2, "end": 1}], False, "segment 0: segment of 'v'"),
        ([{"name": "v", "start": 0, "end": 1}], False, "none of the fields label"),
        ([{"name": "v", "actions": 3}], False, "no list of records"),
    ],
)
def test_bad_files(tmp_path, content, scored, text):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=text):
        read_segments(path, scored=scored)
