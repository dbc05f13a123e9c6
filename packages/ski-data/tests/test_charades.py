"""Charades annotations are read whole or refused with file and line."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.charades import (
    COLUMNS,
    CharadesError,
    CharadesVideo,
    Segment,
    caption_pairs,
    labels_at,
    multi_hot,
    read_charades,
    read_charades_classes,
)
from ski_data.classes import ClassSet
from ski_data.errors import MissingFileError

CLASSES = ClassSet(("c000", "c001", "c002"), ("Holding a towel", "Sitting down", "Opening a door"))
ROW = {
    "id": "46GP8",
    "subject": "HR43",
    "scene": "Kitchen",
    "quality": "6",
    "relevance": "",
    "verified": "Yes",
    "script": "A person cooks, then sits.",
    "objects": "food;stove",
    "descriptions": "A person cooks.;Someone sits down, then eats.",
    "actions": "c001 11.90 21.20;c000 0.00 12.60;c001 25.00 30.50",
    "length": "24.83",
}


def written(path, *rows, columns=COLUMNS):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_row_becomes_a_video(tmp_path):
    (video,) = read_charades(written(tmp_path / "a.csv", ROW), CLASSES)
    assert video.actions[0] == Segment(1, 11.9, 21.2)
    assert (video.quality, video.relevance, video.verified) == (6, None, True)
    assert video.objects == ("food", "stove")
    assert video.descriptions[1] == "Someone sits down, then eats."
    assert multi_hot([video], CLASSES).tolist() == [[1, 1, 0]]
    times = np.array([0, 12.0, 12.6, 22.0, 30.5])
    assert labels_at(video, times, CLASSES)[:, :2].tolist() == [
        [1, 0],
        [1, 1],
        [1, 1],
        [0, 0],
        [0, 1],
    ]


def test_every_description_is_a_pair_and_else_the_script(tmp_path):
    silent = ROW | {"id": "B", "descriptions": "", "actions": ""}
    videos = read_charades(written(tmp_path / "a.csv", ROW, silent), CLASSES)
    pairs = caption_pairs(videos, "What?")
    assert [(p.id, p.video, p.answer) for p in pairs] == [
        ("46GP8_0", "46GP8", "A person cooks."),
        ("46GP8_1", "46GP8", "Someone sits down, then eats."),
        ("B_0", "B", "A person cooks, then sits."),
    ]
    assert videos[1].actions == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"actions": "c157 1 2"}, "c157"),
        ({"actions": "c000 1"}, "class start end"),
        ({"actions": "c000 3 2"}, "before it starts"),
        ({"actions": "c000 nan 2"}, "number of seconds"),
        ({"length": "-1"}, "length"),
        ({"quality": "8"}, "quality"),
        ({"verified": "maybe"}, "verified"),
        ({"id": " "}, "no video id"),
    ],
)
def test_a_wrong_value_names_the_line(tmp_path, change, word):
    path = written(tmp_path / "a.csv", ROW, ROW | {"id": "B"} | change)
    with pytest.raises(CharadesError, match=rf"a\.csv, line 3.*{word}"):
        read_charades(path, CLASSES)


def test_a_wrong_file_is_refused(tmp_path):
    with pytest.raises(MissingFileError):
        read_charades(tmp_path / "none.csv", CLASSES)
    row = {k: v for k, v in ROW.items() if k != "actions"}
    fewer = written(tmp_path / "b.csv", row, columns=list(row))
    with pytest.raises(CharadesError, match="no column actions"):
        read_charades(fewer, CLASSES)
    with pytest.raises(CharadesError, match=r"line 3.*already in line 2"):
        read_charades(written(tmp_path / "c.csv", ROW, ROW), CLASSES)
    with pytest.raises(CharadesError, match="no videos"):
        read_charades(written(tmp_path / "d.csv"), CLASSES)
    (tmp_path / "e.csv").write_text(",".join(COLUMNS) + "\nonly,two\n")
    with pytest.raises(CharadesError, match="line 2: not as many fields"):
        read_charades(tmp_path / "e.csv", CLASSES)
    (tmp_path / "f.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CharadesError, match="UTF-8"):
        read_charades(tmp_path / "f.csv", CLASSES)


def test_classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("c000 Holding some clothes\nc001 Putting clothes somewhere\n")
    classes = read_charades_classes(path)
    assert classes.ids == ("c000", "c001")
    assert classes.label("Putting clothes somewhere") == 1
    path.write_text("c000 Holding\nc001\n")
    with pytest.raises(CharadesError, match="line 2"):
        read_charades_classes(path)
    path.write_text("\n")
    with pytest.raises(CharadesError, match="no classes"):
        read_charades_classes(path)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 50), st.floats(0, 50)).map(
            lambda t: Segment(t[0], min(t[1:]), max(t[1:]))
        ),
        max_size=6,
    )
)
def test_labels_over_time_agree_with_the_video(segments):
    video = CharadesVideo("a", "", "", None, None, True, "", (), (), tuple(segments), 50.0)
    times = np.array([segment.start for segment in segments] + [60.0])
    over_time = labels_at(video, times, CLASSES)
    assert over_time.max(0).tolist() == multi_hot([video], CLASSES)[0].tolist()
    assert not over_time[-1].any()
