"""Charades annotations are read whole or refused with file and line."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.charades import (
    CLASSES_FILE,
    COLUMNS,
    PART_FILES,
    CharadesError,
    caption_pairs,
    prepare_charades,
    read_charades,
    read_charades_classes,
)
from ski_data.classes import ClassSet, read_classes
from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
from ski_data.instructions import read_instructions
from ski_data.manifest import read_manifest
from ski_data.timed_labels import Segment, labels_at, multi_hot, read_timed_labels

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
    with pytest.raises(InputError, match=r"f\.csv, line 1: not UTF-8"):
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


SIGNS = 'ac01 .;,"\t\n\r\x00\u2028\u0661é\N{GRINNING FACE}'


def outcome(read, *arguments):
    """What was read, and else the error's text."""
    try:
        return read(*arguments), ""
    except InputError as error:
        return [], str(error)


@given(st.data())
def test_any_cells_give_videos_or_an_error_with_file_and_line(tmp_path_factory, data):
    cells = st.text(SIGNS, max_size=8) | st.sampled_from(
        ["Yes", "5", "c001 1 2", "c001 1 2;c000 0.5 9e9", "1e400", "c000 1_0 inf", '"', "a\n,b"]
    )
    changed = data.draw(st.dictionaries(st.sampled_from(COLUMNS), cells, max_size=3))
    path = written(tmp_path_factory.mktemp("c") / "a.csv", ROW | {"id": "B"}, ROW | changed)
    videos, text = outcome(read_charades, path, CLASSES)
    assert videos or text.startswith(f"{path}, line ")
    assert all(0 <= s.start <= s.end < np.inf for video in videos for s in video.actions)
    assert multi_hot(videos, CLASSES).shape == (len(videos), 3)


@given(st.text(SIGNS, max_size=80))
def test_any_text_is_no_annotation_file(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("c")
    (folder / "a").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="a"):
        read_charades(folder / "a", CLASSES)
    classes, error = outcome(read_charades_classes, folder / "a")
    if classes:
        assert len(classes) == sum(
            bool(line.strip()) for line in text.replace("\r", "\n").split("\n")
        )
    else:
        assert str(folder / "a") in error


@pytest.fixture
def annotations(tmp_path):
    folder = tmp_path / "charades"
    folder.mkdir()
    lines = (f"{i} {n}\n" for i, n in zip(CLASSES.ids, CLASSES.names, strict=True))
    (folder / CLASSES_FILE).write_text("".join(lines))
    silent = {"id": "B", "subject": "AB12", "descriptions": "", "actions": ""}
    written(folder / PART_FILES["train"], ROW, ROW | silent)
    written(folder / PART_FILES["test"], ROW | {"id": "C", "descriptions": "Sits."})
    return folder


def test_prepared_files_speak_of_the_same_videos(annotations, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert main(["prepare-charades", str(annotations), str(out), "--question", "What?"]) == 0
    assert capsys.readouterr().out == (
        f"{out}/train.jsonl: 2 videos, 3 actions\n{out}/test.jsonl: 1 videos, 3 actions\n"
    )
    classes = read_classes(out / "classes.csv")
    assert classes == CLASSES
    first, silent = read_manifest(out / "train.jsonl")
    assert (first.name, first.video, first.subject) == ("46GP8", out / "46GP8.mp4", 2)
    assert (first.caption, silent.caption) == ("A person cooks.", "A person cooks, then sits.")
    assert (first.label, silent.subject, first.source) == (None, 1, "charades")
    timed = read_timed_labels(out / "train-actions.jsonl", classes)
    assert [video.name for video in timed] == ["46GP8", "B"]
    assert timed[0].actions[1] == Segment(0, 0.0, 12.6)
    assert multi_hot(timed, classes).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert [pair.question for pair in read_instructions(out / "train-pairs.jsonl")] == ["What?"] * 3
    assert [pair.answer for pair in read_instructions(out / "test-pairs.jsonl")] == ["Sits."]


def test_videos_that_are_not_there_are_left_out_and_listed(annotations, tmp_path, caplog):
    videos = tmp_path / "Charades_v1_480"
    (videos / "deep").mkdir(parents=True)
    (videos / "deep" / "B.mp4").touch()
    (videos / "notes.txt").touch()
    prepare_charades(str(annotations), str(tmp_path / "out"), str(videos))
    out = tmp_path / "out"
    (record,) = read_manifest(out / "train.jsonl")
    assert record.video == videos / "deep" / "B.mp4"
    assert (out / "missing.txt").read_text() == "46GP8\nC\n"
    assert "2 annotated videos are not there" in caplog.text
    assert sorted(path.name for path in out.iterdir()) == [
        "classes.csv",
        "missing.txt",
        "train-actions.jsonl",
        "train-pairs.jsonl",
        "train.jsonl",
    ]


def test_a_refused_preparation_leaves_nothing(annotations, tmp_path):
    out, videos = str(tmp_path / "new" / "out"), tmp_path / "videos"
    videos.mkdir()
    with pytest.raises(InputError, match="none of the 3 annotated videos"):
        prepare_charades(str(annotations), out, str(videos))
    with pytest.raises(MissingFileError, match="gone"):
        prepare_charades(str(annotations), out, str(tmp_path / "gone"))
    (videos / "B.mp4").touch()
    (videos / "B.avi").touch()
    with pytest.raises(InputError, match="same video"):
        prepare_charades(str(annotations), out, str(videos))
    with pytest.raises(InputError, match="question"):
        prepare_charades(str(annotations), out, question=" ")
    written(annotations / PART_FILES["test"], ROW)
    with pytest.raises(CharadesError, match="in train and test: 46GP8"):
        prepare_charades(str(annotations), out)
    for file in PART_FILES.values():
        (annotations / file).unlink()
    with pytest.raises(MissingFileError, match="neither"):
        prepare_charades(str(annotations), out)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ExistingOutputError):
        prepare_charades(str(annotations), str(videos))


@pytest.mark.parametrize("size", [0, 100, 200])
def test_a_full_disk_leaves_nothing(annotations, tmp_path, full_disk, size):
    with full_disk(size), pytest.raises(SkiDataError) as caught:
        prepare_charades(str(annotations), str(tmp_path / "new" / "out"))
    assert "cannot be written (File too large)" in str(caught.value)
    assert not (tmp_path / "new").exists()
