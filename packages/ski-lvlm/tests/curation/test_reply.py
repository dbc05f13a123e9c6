from __future__ import annotations

import json

import pytest

from ski_lvlm.curation.errors import CurationError, ReplyError
from ski_lvlm.curation.prompts import NAMES, load_prompt
from ski_lvlm.curation.reply import read_description, read_pairs

PAIRS = [{"Q": "Who?", "A": "A man."}, {"Q": "Where?", "A": " A room. "}]


def test_pairs_with_and_without_a_fence():
    text = json.dumps(PAIRS)
    wanted = [PAIRS[0], {"Q": "Where?", "A": "A room."}]
    assert read_pairs(f" {text}\n", 2) == wanted
    assert read_pairs(f"```json\n{text}\n```", 2) == wanted


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Here you are: []", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "a list of 2 pairs"),
        (json.dumps(PAIRS[:1]), "a list of 1"),
        (json.dumps([PAIRS[0], {"Q": "x", "A": "y", "id": 1}]), "keys Q and A"),
        (json.dumps([PAIRS[0], {"Q": "x", "A": ""}]), "A must be text"),
        (json.dumps([PAIRS[0], {"Q": 3, "A": "x"}]), "Q must be text"),
        (json.dumps([PAIRS[0], "x"]), "found str"),
        (json.dumps([PAIRS[0], PAIRS[0]]), "same question twice"),
    ],
)
def test_other_replies_say_what_is_wrong(text, problem):
    with pytest.raises(ReplyError, match=problem):
        read_pairs(text, 2)


def test_description_has_its_length():
    good = {"Q": "Describe.", "A": "word " * 200}
    assert read_description(json.dumps(good))["A"].count("word") == 200
    with pytest.raises(ReplyError, match="20 words"):
        read_description(json.dumps(good | {"A": "word " * 20}))


def test_prompts_are_files_with_a_hash():
    prompts = [load_prompt(name) for name in NAMES]
    assert len({prompt.sha256 for prompt in prompts}) == len(NAMES)
    assert all(prompt.system and len(prompt.sha256) == 64 for prompt in prompts)
    assert "- a man" in load_prompt("qa_summary").fill(captions="- a man")
    with pytest.raises(CurationError, match="captions"):
        load_prompt("qa_details").fill()
    with pytest.raises(CurationError, match="no prompt"):
        load_prompt("poem")
