from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import ExistingOutputError
from ski_data.instructions import read_instructions
from ski_lvlm.cli import main
from ski_lvlm.curation.errors import CurationError, EndpointError
from ski_lvlm.curation.lines import Lines
from ski_lvlm.curation.pairs import Cached, make_pairs, read_captions
from ski_lvlm.curation.prompts import load_prompt
from ski_lvlm.curation.training import read_pairs_file, write_conversations, write_flat

CAPTIONS = {"a": ["a man drinks"], "b": ["a man sits", "a man stands"]}


class Writer:
    """Gives good pairs except where ``bad`` says otherwise: (part of the prompt, seed)."""

    name = "writer"

    def __init__(self, bad=(), count=3, stop_after=None):
        self.bad, self.count, self.stop_after = set(bad), count, stop_after
        self.asked = []

    def __call__(self, system, user, seed):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise EndpointError("down")
        self.asked.append((system, user, seed))
        if any(part in user and at == seed for part, at in self.bad):
            return "Sure!"
        pairs = [{"Q": f"Question {n} of {len(user)}?", "A": "Yes."} for n in range(self.count)]
        return json.dumps(pairs)


def test_two_calls_and_six_pairs_a_clip_with_provenance(tmp_path):
    writer = Writer()
    out = tmp_path / "pairs.jsonl"
    summary = make_pairs("qa", CAPTIONS, writer, out)
    assert (summary.clips, summary.made, summary.retries, summary.failed) == (2, 2, 0, ())
    assert len(writer.asked) == 4
    assert "- a man sits\n- a man stands" in writer.asked[2][1]
    row = Lines(out, "id").rows["b"]
    assert len(row["pairs"]) == 6
    hashes = {name: load_prompt(name).sha256 for name in ("qa_summary", "qa_details")}
    assert row["made_by"] == {"variant": "qa", "model": "writer", "seed": 0, "prompts": hashes}


def test_bad_replies_are_asked_again_and_failures_counted(tmp_path):
    writer = Writer(bad=[("drinks", 0), ("sits", 0), ("sits", 1), ("sits", 2)])
    out = tmp_path / "pairs.jsonl"
    summary = make_pairs("qa", CAPTIONS, writer, out, attempts=3)
    assert summary.failed == ("b",)
    assert (summary.clips, summary.made, summary.retries) == (1, 1, 5)
    assert list(Lines(out, "id").rows) == ["a"]


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(tmp_path):
    out, cache = tmp_path / "pairs.jsonl", tmp_path / "cache.jsonl"
    first = Writer(stop_after=3)
    with pytest.raises(EndpointError):
        make_pairs("qa", CAPTIONS, Cached(first, cache), out)
    with out.open("a") as file:
        file.write('{"id": "b", "pai')  # killed while it wrote
    second = Writer()
    summary = make_pairs("qa", CAPTIONS, Cached(second, cache), out)
    assert (summary.clips, summary.made) == (2, 1)
    assert len(second.asked) == 1
    assert not set(first.asked) & set(second.asked)
    third = Writer()
    make_pairs("qa", CAPTIONS, Cached(third, cache), tmp_path / "again.jsonl")
    assert third.asked == []
    assert (tmp_path / "again.jsonl").read_text() == out.read_text()


def test_other_variants(tmp_path):
    pose = Writer(count=2)
    with pytest.raises(CurationError, match="1 clips have no activity, first b"):
        make_pairs("pose", CAPTIONS, pose, tmp_path / "pose.jsonl", actions={"a": "drink"})
    actions = {"a": "drink", "b": "sit"}
    make_pairs("pose", CAPTIONS, pose, tmp_path / "pose.jsonl", actions=actions)
    assert "Activity: sit" in pose.asked[1][1]
    assert [len(r["pairs"]) for r in Lines(tmp_path / "pose.jsonl", "id").rows.values()] == [2, 2]

    class Describer(Writer):
        def __call__(self, system, user, seed):
            return json.dumps({"Q": "Describe it.", "A": "word " * (100 + 100 * seed)})

    summary = make_pairs("dense", CAPTIONS, Describer(), tmp_path / "dense.jsonl")
    assert (summary.made, summary.retries) == (2, 2)


def test_a_file_of_other_origin_is_refused(tmp_path):
    out = tmp_path / "pairs.jsonl"
    make_pairs("qa", CAPTIONS, Writer(), out)
    with pytest.raises(CurationError, match="another model, seed or prompt"):
        make_pairs("qa", CAPTIONS, Writer(), out, seed=1)
    with pytest.raises(CurationError, match="attempts"):
        make_pairs("qa", CAPTIONS, Writer(), out, attempts=0)
    out.write_text('{"x": 1}\n')
    with pytest.raises(CurationError, match="line 1"):
        make_pairs("qa", CAPTIONS, Writer(), out)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"a": {"A": "one"}, "b": ["two", "three"]}'),
        ("c.json", '{"prefix": {"a": {"pose_desc": "one"}, "b": {"sentences": ["two", "three"]}}}'),
        ("c.jsonl", '{"id": "a", "caption": "one"}\n{"id": "b", "caption": ["two", "three"]}\n'),
    ],
)
def test_captions_of_every_form(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_captions(tmp_path / name) == {"a": ["one"], "b": ["two", "three"]}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("c.json", "{", "no captions by clip"),
        ("c.json", "{}", "no clips"),
        ("c.json", '{"a": 3, "b": "x"}', "clip a: no text"),
        ("c.json", '{"a": [], "b": "x"}', "clip a: no text"),
        ("c.jsonl", '{"id": "a", "caption": "x"}\n{"id": "a", "caption": "y"}', "stands twice"),
        ("c.jsonl", '{"caption": "x"}', "no captions by clip"),
    ],
)
def test_bad_captions(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(CurationError, match=problem):
        read_captions(tmp_path / name)


def test_training_files(tmp_path, capsys):
    out = tmp_path / "pairs.jsonl"
    make_pairs("qa", CAPTIONS, Writer(), out)
    assert main(["curate-convert", str(out), str(tmp_path / "train.json")]) == 0
    assert main(["curate-convert", str(out), str(tmp_path / "flat.json"), "--flat"]) == 0
    assert "12 pairs" in capsys.readouterr().out
    items = json.loads((tmp_path / "train.json").read_text())
    asked = [item["conversations"][0]["value"] for item in items]
    assert asked[0].endswith("?\n<video><pose>")
    assert asked[1].startswith("<video><pose>\nQuestion")
    assert (items[7]["id"], items[7]["video"], items[7]["pose"]) == ("b_1", "b.pkl", "b.pkl")
    assert set(json.loads((tmp_path / "flat.json").read_text())[0]) == {"video_id", "q", "a"}
    pairs = read_pairs_file(out)
    back = read_instructions(tmp_path / "train.json")
    assert [(p.id, p.question, p.answer) for p in back] == [
        (p.id, p.question, p.answer) for p in pairs
    ]
    assert read_pairs_file(tmp_path / "flat.json")[3].question == pairs[3].question
    with pytest.raises(ExistingOutputError):
        write_flat(pairs, tmp_path / "flat.json")
    write_conversations(pairs, tmp_path / "video.json", skeletons=False)
    item = json.loads((tmp_path / "video.json").read_text())[0]
    assert "pose" not in item
    assert "<pose>" not in item["conversations"][0]["value"]


def test_command_with_a_model_that_writes_no_json(tmp_path, capsys):
    from tiny_models import tiny_chat_model

    model = tiny_chat_model(tmp_path / "model")
    captions = tmp_path / "captions.json"
    captions.write_text('{"a": "a man drinks", "b": "a man sits"}')
    arguments = ["curate-qa", str(captions), str(tmp_path / "out.jsonl"), "--model", model]
    assert main([*arguments, "--attempts", "1", "--max_new_tokens", "4", "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["clips"], summary["failed"]) == (0, ["a", "b"])
    assert not (tmp_path / "out.jsonl").exists()
    assert len((tmp_path / "out.jsonl.cache").read_text().splitlines()) == 2


@given(st.lists(st.text(min_size=1), unique=True, max_size=5), st.text())
def test_lines_come_back(tmp_path_factory, names, value):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    lines = Lines(path, "id")
    for name in names:
        lines.add({"id": name, "value": value})
    assert list(Lines(path, "id").rows) == names
    assert all(row["value"] == value for row in Lines(path, "id").rows.values())
