from __future__ import annotations

import json

import pytest
import torch

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.errors import ConfigError
from ski_skeleton.text.clip import ClipConfig, ClipSizes
from ski_skeleton.zeroshot import texts
from ski_skeleton.zeroshot.texts import ClassTexts, TextConfig, class_texts

SIZES = ClipSizes(
    embed=16,
    image=32,
    patch=32,
    vision_width=16,
    vision_layers=1,
    vision_head=16,
    text_width=16,
    text_layers=1,
    text_heads=1,
)
CLIP = ClipConfig(architecture=None, sizes=SIZES)
NAMES = ("drink water", "wave", "put on hat")


class Tower:
    """Says back what it was asked."""

    def __init__(self):
        self.asked = []

    def encode_text(self, prompts):
        self.asked.append(list(prompts))
        return torch.arange(len(prompts), dtype=torch.float32)[:, None] + torch.ones(2)


@pytest.fixture
def tower(monkeypatch):
    found = Tower()
    monkeypatch.setattr(texts, "_tower", lambda config: found)
    return found


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_names_words_and_parts(tower):
    config = TextConfig(clip=CLIP, template="a {name}!")
    found = class_texts(config, NAMES, words=True, part_names=("head", "foot"))
    assert tower.asked == [
        ["water", "wave", "on hat"],
        ["drink", "wave", "put"],
        [f"{name}, {part}" for name in NAMES for part in ("head", "foot")],
        ["a drink water!", "a wave!", "a put on hat!"],
    ]
    assert found.parts.shape == (3, 2, 2)
    assert found.parts[1, 0, 0] == 3
    alone = class_texts(config, NAMES, words=False)
    assert alone[1:] == (None, None, None)


def test_texts_from_files(tower, tmp_path):
    config = TextConfig(
        clip=CLIP,
        descriptions=write(tmp_path / "d.json", {n: f"somebody: {n}" for n in NAMES}),
        phrases=write(
            tmp_path / "p.json",
            {"drink water": {"verb": "drink", "noun": "water"}, "wave": {"verb": "wave"}}
            | {"put on hat": {"verb": "put on", "noun": ""}},
        ),
        parts=write(tmp_path / "q.json", {n: {"head": "still"} for n in NAMES}),
    )
    class_texts(config, NAMES, words=True, part_names=("head",))
    assert tower.asked[0] == ["water", "wave", "put on hat"]  # no noun: the whole name
    assert tower.asked[1] == ["drink", "wave", "put on"]
    assert tower.asked[2][0] == "drink water, still"
    assert tower.asked[3] == [f"somebody: {n}" for n in NAMES]


@pytest.mark.parametrize(
    ("field", "content", "text"),
    [
        ("descriptions", {"wave": "x"}, "no texts for"),
        ("descriptions", [1], "by class name"),
        ("descriptions", dict.fromkeys(NAMES, 3), "must have a text"),
        ("phrases", {n: {"verbs": "x"} for n in NAMES}, "must have texts for"),
        ("parts", {n: {"head": "x"} for n in NAMES}, "no text for"),
    ],
)
def test_files_that_do_not_do(tower, tmp_path, field, content, text):
    config = TextConfig(clip=CLIP, **{field: write(tmp_path / "t.json", content)})
    with pytest.raises(InputError, match=text) as caught:
        class_texts(config, NAMES, words=True, part_names=("head", "foot"))
    assert "t.json" in str(caught.value)


def test_json_errors_name_the_line(tower, tmp_path):
    (tmp_path / "t.json").write_text('{"a":\n')
    config = TextConfig(clip=CLIP, descriptions=str(tmp_path / "t.json"))
    with pytest.raises(InputError, match=r"t\.json, line 2: not JSON"):
        class_texts(config, NAMES, words=False)


def test_a_clip_tower_gives_vectors():
    found = class_texts(TextConfig(clip=CLIP), NAMES, words=True, part_names=("head",))
    assert [tuple(x.shape) for x in found] == [(3, 16), (3, 16), (3, 16), (3, 1, 16)]
    assert not any(x.requires_grad for x in found)


def test_vectors_from_a_file(tmp_path):
    path = tmp_path / "v.safetensors"
    whole = ClassTexts(torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4))
    texts.write_vectors(path, NAMES, whole)
    found = class_texts(TextConfig(file=str(path)), NAMES[::-1][:2], words=True)
    assert torch.equal(found.names, whole.names[[2, 1]])
    assert torch.equal(found.nouns, whole.nouns[[2, 1]])
    assert torch.equal(found.subset([1]).verbs, whole.verbs[[1]])
    for names, parts, text in ((NAMES, ("x",), "lacks vectors"), (("jump",), (), "lacks")):
        with pytest.raises(InputError, match=text):
            class_texts(TextConfig(file=str(path)), names, words=False, part_names=parts)
    with pytest.raises(MissingFileError):
        class_texts(TextConfig(file=str(tmp_path / "no")), NAMES, words=False)
    path.write_bytes(b"?")
    with pytest.raises(InputError, match="damaged"):
        class_texts(TextConfig(file=str(path)), NAMES, words=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"file": "a", "clip": CLIP},
        {"clip": CLIP, "template": "nothing"},
        {"file": "a", "parts": "b"},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="text: "):
        TextConfig(**wrong)
