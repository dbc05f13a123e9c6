"""The benchmark of SmolLM2: its pairs, what is read off answers, and its tables."""

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from benchmarks.lvlm_smollm2 import tables
from benchmarks.lvlm_smollm2.pairs import (
    PHRASES,
    named,
    named_side,
    named_verb,
    phrase,
    training_pairs,
)
from benchmarks.lvlm_smollm2.runs import Bench, answers_file, other_clips
from ski_data.errors import InputError
from ski_data.manifest import Record, write_manifest
from ski_data.synthetic.classes import SEEN, UNSEEN


def test_no_phrase_is_a_part_of_another():
    assert len(PHRASES) == 25
    assert not any(a in b for a, b in permutations(PHRASES, 2))


def test_pairs_tell_the_class_and_the_truth():
    records = [Record(f"c{n}", caption=SEEN[n % 20].name) for n in range(60)]
    pairs = training_pairs(records)
    assert pairs == training_pairs(records)
    assert len({p.id for p in pairs}) == len(pairs) == 120
    for record, pair in zip(records, pairs[::2], strict=True):
        assert named(pair.answer) == record.caption
    asked = Counter(p.question for p in pairs)
    assert len(asked) == 6
    assert set(asked.values()) == {20}
    by_id = {p.id: p for p in pairs}
    cup = next(n for n in range(60) if "cup" in SEEN[n % 20].name and n % 3 == 1)
    assert by_id[f"c{cup}-attribute"].answer == "A cup."
    assert not any(a.name in p.answer for a in UNSEEN for p in pairs)


def test_what_an_answer_names():
    assert named("The person is waving left hand.") == "wave left hand"
    assert named("waving left hand or clapping hands") is None
    assert named("A dog.") is None
    assert named_verb("He is kicking with right foot.") == "kick"
    assert named_verb("waving and kicking") is None
    assert named_side("with both hands") == "both"
    assert named_side("left, then right") == "none"
    assert phrase("sit down") == "sitting down"


def test_every_clip_gets_the_features_of_another():
    names = [f"c{n}" for n in range(20)]
    given = other_clips(names, 3)
    assert sorted(given) == sorted(names)
    assert all(a != b for a, b in zip(names, given, strict=True))
    assert given == other_clips(names, 3)


@pytest.fixture
def bench(tmp_path):
    """A main job of eight clips, and answers of some lines."""
    data = tmp_path / "run" / "data"
    data.mkdir(parents=True)
    made = Bench(tmp_path / "run", tmp_path / "out")
    parts = {"test_seen": SEEN[:2], "test_unseen": UNSEEN[:2]}
    records = []
    for part, actions in parts.items():
        own = []
        for number, action in enumerate(actions):
            for camera in (1, 2):
                label = [*SEEN, *UNSEEN].index(action)
                name = f"S001C{camera:03d}P001R001A{label + 1:03d}"
                own.append(Record(name, data / f"{name}.mp4", None, number, caption=action.name))
        records += [replace(r, label=[*SEEN, *UNSEEN].index(PHRASES[phrase(r.caption)]))
                    for r in own]  # fmt: skip
        rows = "".join(f"{Path(r.video).name},{r.label}\n" for r in own)
        (data / f"{part}.csv").write_text(rows)
    write_manifest(data / "manifest.jsonl", records)
    for line, wrong in ((("video", "trained"), 1), (("video", "shuffled"), 3)):
        path = answers_file(made, line[0], 0, line[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        text = ""
        for number, record in enumerate(records):
            said = "A dog." if number < wrong else f"The person is {phrase(record.caption)}."
            text += json.dumps({"clip": record.name, "answer": said}) + "\n"
        path.write_text(text)
    return made


def test_tables_of_what_is_done(bench):
    text = tables.markdown(bench, 1)
    assert "Not finished: before training; trained on video+skeleton;" in text
    seen = next(x for x in text.splitlines() if x.startswith("| trained on video ")).split("|")
    assert seen[3].strip().startswith("75.0 [")
    assert "| +50.0 [" in text
    assert "The person is waving right hand." in text


def test_answers_about_other_clips_are_refused(bench):
    path = answers_file(bench, "video", 0, "trained")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match="not the answers about these clips"):
        tables.markdown(bench, 1)
