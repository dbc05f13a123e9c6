from __future__ import annotations

import json

import pytest

from ski_data.errors import InputError, MissingFileError
from ski_vlm.errors import ConfigError
from ski_vlm.students.templates import (
    TEMPLATES,
    read_rewritten,
    rewritten_labels,
    template_prompts,
)


def test_the_published_28():
    assert len(set(TEMPLATES)) == 28
    assert TEMPLATES[0] == "a photo of {name}."
    assert TEMPLATES[8] == "a video of a person {name}."
    assert TEMPLATES[-1] == "a demonstration of a person practicing {name}."


def test_the_title_goes_in_the_template_and_the_label_behind_it():
    prompts = template_prompts(["wave", "sit"], TEMPLATES[0], {"wave": "waving: a hand moves."})
    assert prompts == ["a photo of waving. waving: a hand moves.", "a photo of sit. sit"]


def test_names_are_their_own_labels_unless_rewritten():
    assert rewritten_labels(["a", "b"], {"b": "B: c"}) == ["a", "B: c"]
    with pytest.raises(ConfigError, match="no class names"):
        rewritten_labels([], {})


def test_reading(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"wave": "waving: a hand moves."}), encoding="utf-8")
    assert read_rewritten(path) == {"wave": "waving: a hand moves."}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 1}', '{"a": " "}', "{"])
def test_bad_files_are_named(tmp_path, text):
    path = tmp_path / "labels.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"labels\.json"):
        read_rewritten(path)


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError):
        read_rewritten(tmp_path / "none.json")
