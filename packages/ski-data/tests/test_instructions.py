"""Question-answer pairs in every published form, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.instructions import (
    Instruction,
    InstructionError,
    missing_videos,
    read_instructions,
    write_instructions,
)


def read(path, value):
    path.write_text(json.dumps(value))
    return read_instructions(path)


def turn(asked="What?\n<video><pose>", said="Sits."):
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]


def test_published_forms_mean_the_same(tmp_path):
    path = tmp_path / "a.json"
    one = {"id": "x", "video": "S001.pkl", "pose": "S001.npy", "conversations": turn()}
    assert read(path, [one]) == [Instruction("x", "S001", "What?", "Sits.", "S001")]
    two = {**one, "conversations": turn() + turn("<video>\nAnd then?", "Stands.")}
    assert [(p.id, p.question) for p in read(path, [two])] == [
        ("x_0", "What?"),
        ("x_1", "And then?"),
    ]
    flat = [{"video_id": "S001", "q": "What?", "a": "Sits."}]
    assert read(path, flat) == [Instruction("S001_1", "S001", "What?", "Sits.")]
    upper = [{"video_name": "v/S001.mp4", "Q": "What?", "A": "Sits.", "pred": "x"}]
    assert read(path, upper) == [Instruction("S001_1", "S001", "What?", "Sits.")]
    grouped = [[{"Q": "What?", "A": "Sits."}, {"Q": "Who?", "A": "He."}, {"id": "S001"}]]
    assert [(p.id, p.answer) for p in read(path, grouped)] == [
        ("S001_0", "Sits."),
        ("S001_1", "He."),
    ]


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ({"id": "x", "video": "v", "conversations": turn()[:1]}, "pairs of human and gpt"),
        ({"id": "x", "video": "v", "conversations": turn()[::-1]}, "human first"),
        ({"id": "x", "video": "v", "conversations": turn("<video>")}, "empty question"),
        ({"id": "x", "video": "v", "conversations": turn(said=" ")}, "value must be text"),
        ({"id": "x", "video": "v", "conversations": turn("What?")}, "about v without <video>"),
        (
            {"id": "x", "video": "v", "conversations": turn("<video>What?\n<video>")},
            "<video> stands 2 times",
        ),
        ({"id": 3, "video": "v", "conversations": turn()}, "id must be text, found 3"),
        ({"video_id": "v", "q": "What?"}, "a must be text"),
        ([{"Q": "What?", "A": "Sits."}], "id was expected"),
        ([3], "Q/A objects"),
        ({"sentences": "x"}, "no known form"),
        ("text", "no known form"),
    ],
)
def test_a_wrong_item_is_named(tmp_path, item, word):
    good = {"video_id": "v", "q": "What?", "a": "Sits."}
    with pytest.raises(InstructionError, match=rf"a\.json, item 2: .*{word}"):
        read(tmp_path / "a.json", [good, item])


def test_a_wrong_file_is_refused(tmp_path):
    with pytest.raises(MissingFileError):
        read_instructions(tmp_path / "none.json")
    path = tmp_path / "a.json"
    with pytest.raises(InstructionError, match="no pairs"):
        read(path, [])
    with pytest.raises(InstructionError, match="a list was expected"):
        read(path, {})
    path.write_text('[{"id": ')
    with pytest.raises(InstructionError, match="not JSON"):
        read_instructions(path)
    path.write_text(f"[{'1' * 5000}]")
    with pytest.raises(InstructionError, match="not JSON"):
        read_instructions(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InstructionError, match="not JSON"):
        read_instructions(path)
    path.write_bytes(b'["\xff"]')
    with pytest.raises(InputError, match="UTF-8"):
        read_instructions(path)
    twice = {"id": "x", "video": "v", "conversations": turn()}
    with pytest.raises(InstructionError, match=r"item 2.*already in item 1"):
        read(path, [twice, twice])


TEXT = (
    st.text(min_size=1)
    .map(str.strip)
    .filter(lambda text: text and not any(p in text for p in ("<video>", "<pose>", "<object>")))
)


@given(st.lists(st.tuples(TEXT, TEXT, st.booleans()), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, rows):
    pairs = [
        Instruction(str(i), f"v{i}", q, a, f"s{i}" if with_skeleton else None)
        for i, (q, a, with_skeleton) in enumerate(rows)
    ]
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_instructions(path, pairs)
    assert read_instructions(path) == pairs
    with pytest.raises(ExistingOutputError):
        write_instructions(path, pairs)


def test_missing_videos_are_listed_once():
    pairs = [Instruction(str(i), video, "q", "a") for i, video in enumerate("abca")]
    assert missing_videos(pairs, {"b"}) == ["a", "c"]


def test_check_counts_and_converts(tmp_path, capsys):
    source, out = tmp_path / "a.json", tmp_path / "pairs.jsonl"
    item = {"id": "x", "video": "S001.pkl", "pose": "S001.npy", "conversations": turn()}
    source.write_text(json.dumps([item]))
    for folder, name in (("videos", "S001.avi"), ("skeletons", "deep/S001.skeleton")):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True)
        path.touch()
    folders = [f"--videos={tmp_path / 'videos'}", f"--skeletons={tmp_path / 'skeletons'}"]
    assert main(["check-instructions", str(source), *folders, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "pairs: 1\n" in text
    assert "no problems" in text
    assert read_instructions(out) == read_instructions(source)
    assert main(["check-instructions", str(source), "--out", str(out)]) == 2
    assert main(["check-instructions", str(source), "--videos", str(tmp_path / "gone")]) == 2


def test_check_lists_what_spoils_a_training(tmp_path, capsys):
    source = tmp_path / "pairs.jsonl"
    pairs = [
        Instruction("1", "a", "What?", "Sits.", "a"),
        Instruction("2", "a", "What?", "Sits."),
        Instruction("3", "b", "Who?", "See <video>."),
    ]
    write_instructions(source, pairs)
    (tmp_path / "b.mp4").touch()
    folders = [f"--videos={tmp_path}", f"--skeletons={tmp_path}"]
    assert main(["check-instructions", str(source), *folders, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["videos"] == 2
    assert [text.split(" in ")[0] for text in found["problems"]] == [
        "1 x videos not",
        "1 x skeletons not",
        "1 x the same pair twice: 2 = 1",
        "1 x a placeholder",
    ]


SIGNS = "ab <video>\n\x00\u2028"
KEYS = ("id", "video", "pose", "conversations", "from", "value", "video_id", "q", "a", "Q", "A")
JSON = st.recursive(
    st.none() | st.integers() | st.text(SIGNS, max_size=9) | st.sampled_from(["human", "gpt"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3))
def test_any_json_gives_pairs_or_an_error_with_file_and_item(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("pairs") / "a.json"
    try:
        pairs, text = read(path, items), ""
    except InstructionError as error:
        pairs, text = [], str(error)
    assert pairs or text.startswith((f"{path}, item ", f"{path}: no pairs"))
    assert all(pair.question.strip() and pair.answer.strip() for pair in pairs)


@pytest.mark.parametrize("depth", [100, 900, 980])
def test_a_value_nested_deeply_is_refused_in_few_words(tmp_path, depth):
    path = tmp_path / "a.json"
    path.write_text(f'[{{"video_id": {"[" * depth}{"]" * depth}, "q": "x", "a": "y"}}]')
    with pytest.raises(InstructionError, match=r"a\.json") as caught:
        read_instructions(path)
    assert len(str(caught.value)) < 300
