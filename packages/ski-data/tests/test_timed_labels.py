"""Timed labels keep every action, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.timed_labels import (
    Segment,
    TimedLabelError,
    TimedLabels,
    labels_at,
    multi_hot,
    read_timed_labels,
    write_timed_labels,
)

CLASSES = ClassSet(("c000", "c001", "c002"), ("Holding a towel", "Sitting down", "Opening a door"))
SEGMENTS = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0, 50), st.floats(0, 50)).map(
        lambda t: Segment(t[0], min(t[1:]), max(t[1:]))
    ),
    max_size=6,
).map(tuple)


@given(SEGMENTS)
def test_labels_over_time_agree_with_the_video(segments):
    video = TimedLabels("a", 50.0, segments)
    times = np.array([segment.start for segment in segments] + [60.0])
    over_time = labels_at(video, times, CLASSES)
    assert over_time.max(0).tolist() == multi_hot([video], CLASSES)[0].tolist()
    assert not over_time[-1].any()


@given(st.lists(st.tuples(st.floats(0, 1e6), SEGMENTS), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, rows):
    videos = [TimedLabels(f"\u2028{i}", *row) for i, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("t") / "a.jsonl"
    write_timed_labels(path, videos)
    assert read_timed_labels(path, CLASSES) == videos
    with pytest.raises(ExistingOutputError):
        write_timed_labels(path, videos)


GOOD = {"name": "a", "length": 3, "actions": [{"label": 2, "start": 0, "end": 1.5}]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([1], "an object with"),
        ({"name": "b"}, "an object with"),
        (GOOD | {"name": ""}, "name must be text"),
        (GOOD, "already in line 1"),
        (GOOD | {"name": "b", "length": True}, "length is True"),
        (GOOD | {"name": "b", "length": float("nan")}, "length is nan"),
        (GOOD | {"name": "b", "actions": {}}, "must be a list"),
        (GOOD | {"name": "b", "actions": [{}]}, "exactly label, start and end"),
        (GOOD | {"name": "b", "actions": [{"label": 3, "start": 0, "end": 1}]}, r"0\.\.2"),
        (GOOD | {"name": "b", "actions": [{"label": 0, "start": 2, "end": 1}]}, "before it starts"),
        (GOOD | {"name": "b", "actions": [{"label": 0, "start": "0", "end": 1}]}, "start is '0'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, row, words):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(row))
    with pytest.raises(TimedLabelError, match=rf"a\.jsonl, line 2: .*{words}"):
        read_timed_labels(path, CLASSES)


def test_a_wrong_file_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(MissingFileError):
        read_timed_labels(path, CLASSES)
    path.write_text("\n")
    with pytest.raises(InputError, match="no timed labels"):
        read_timed_labels(path, CLASSES)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        read_timed_labels(path, CLASSES)
