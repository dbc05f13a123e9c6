from __future__ import annotations

import json

import pytest
import torch
from tiny_run import TINY_CLIP

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.errors import ConfigError
from ski_skeleton.text.clip import ClipConfig
from ski_skeleton.zeroshot import texts
from ski_skeleton.zeroshot.neighbours import NeighbourConfig
from ski_skeleton.zeroshot.texts import ClassTexts, TextConfig, class_texts

CLIP = ClipConfig(architecture=None, sizes=TINY_CLIP)
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
    assert alone[1:] == (None,) * 5


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
    config = TextConfig(clip=CLIP)
    found = class_texts(config, NAMES, words=True, part_names=("head",), tokens=True)
    assert [tuple(x.shape) for x in found[:4]] == [(3, 16), (3, 16), (3, 16), (3, 1, 16)]
    assert not any(x.requires_grad for x in found)
    assert found.lengths.tolist() == [4, 3, 5]  # with those that begin and end a text
    assert found.tokens.shape == (3, 5, 16)
    torch.testing.assert_close(found.tokens[[0, 1, 2], found.lengths - 1], found.names)
    assert not found.tokens[1, 3:].any()


def test_neighbours_are_looked_for_among_the_classes_asked_for(tmp_path):
    path = tmp_path / "v.safetensors"
    whole = ClassTexts(torch.randn(4, 5), torch.randn(4, 5))
    texts.write_vectors(path, (*NAMES, "jump"), whole)
    config = TextConfig(file=str(path), neighbours=NeighbourConfig(k=1))
    found = class_texts(config, NAMES, words=False)
    assert torch.equal(found.names, whole.subset([0, 1, 2]).attuned(config.neighbours).names)
    assert not torch.allclose(found.names, whole.attuned(config.neighbours).names[:3])
    assert not torch.allclose(found.names, whole.names[:3])


def test_a_missing_file_tells_what_to_write(tower, tmp_path):
    for field, wanted in (
        ("parts", '{"drink water": {"head": "what the head does", "foot": "what the foot does"}}'),
        ("phrases", '{"drink water": {"verb": "drink", "noun": "water"}}'),
        ("descriptions", '{"drink water": "one sentence about the action"}'),
    ):
        config = TextConfig(clip=CLIP, **{field: str(tmp_path / "t.json")})
        with pytest.raises(MissingFileError, match="an entry for every class") as caught:
            class_texts(config, NAMES, words=True, part_names=("head", "foot"))
        assert "t.json" in str(caught.value)
        assert f"write JSON such as {wanted}" in str(caught.value)
        json.loads(wanted)


def test_tokens_from_a_file(tmp_path):
    path = tmp_path / "v.safetensors"
    plain = ClassTexts(torch.randn(3, 4))
    whole = plain._replace(tokens=torch.randn(3, 5, 4), lengths=torch.tensor([5, 1, 2]))
    config = TextConfig(file=str(path))
    texts.write_vectors(path, NAMES, plain)
    assert class_texts(config, NAMES, words=False, tokens=True).tokens is None
    texts.write_vectors(path, NAMES, whole)
    found = class_texts(config, NAMES[1:], words=False, tokens=True)
    assert torch.equal(found.tokens, whole.tokens[1:])
    assert found.lengths.tolist() == [1, 2]
    assert class_texts(config, NAMES, words=False).tokens is None
    for wrong, text in (
        (whole._replace(lengths=torch.tensor([6, 1, 2])), r"in 1\.\.5"),
        (whole._replace(lengths=None), "lacks vectors"),
        (whole._replace(tokens=torch.randn(3, 4)), "tokens has shape"),
    ):
        texts.write_vectors(path, NAMES, wrong)
        with pytest.raises(InputError, match=text):
            class_texts(config, NAMES, words=False, tokens=True)


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
