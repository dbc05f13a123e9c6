from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ski_skeleton.errors import ConfigError
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text.sentence import SentenceConfig, SentenceTextTower

transformers = pytest.importorskip("transformers", reason="the extra 'sentence' is not installed")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "photo", "of", "sit", "down", "clap", "wave", ".", "##s"]
SHORT, LONG = "clap", "a photo of sit down wave"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of one layer with 12 positions."""
    path = tmp_path_factory.mktemp("bert")
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return path


@pytest.fixture
def tower(folder):
    return SentenceTextTower(SentenceConfig(str(folder)))


def test_mean_over_the_real_tokens_only(tower):
    ids = torch.tensor([[WORDS.index(word) for word in ("[CLS]", "clap", "[SEP]")]])
    with torch.no_grad():
        expected = tower.encoder(input_ids=ids).last_hidden_state.mean(1)
    padded = tower.encode_text([SHORT, LONG])[:1]
    torch.testing.assert_close(padded, expected, rtol=1e-5, atol=1e-6)


def test_tokens_of_a_text_have_its_vector_as_their_mean(tower):
    tokens, lengths = tower.token_text([SHORT, LONG])
    assert lengths.tolist() == [3, 8]
    assert tokens.shape == (2, 8, tower.width)
    means = torch.stack([row[:n].mean(0) for row, n in zip(tokens, lengths, strict=True)])
    torch.testing.assert_close(means, tower.encode_text([SHORT, LONG]), rtol=1e-5, atol=1e-6)
    assert not tokens.requires_grad


def test_a_text_has_the_same_vector_alone_and_in_a_batch(tower):
    together = tower.encode_text([SHORT, LONG, "sit"])
    assert together.shape == (3, tower.width)
    for row, text in zip(together, [SHORT, LONG, "sit"], strict=True):
        torch.testing.assert_close(row, tower.encode_text([text])[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_unit_text(tower):
    unit = tower.unit_text([SHORT, LONG])
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(unit, F.normalize(tower.encode_text([SHORT, LONG]), dim=-1))


def test_frozen_and_cached(tower):
    first = tower.encode_text([SHORT])
    assert tower.encode_text([SHORT]) is first
    assert not first.requires_grad
    assert not any(p.requires_grad for p in tower.parameters())
    assert not tower.train().encoder.training
    assert tower.freeze() is tower


def test_cache_is_dropped_when_weights_change(tower):
    before = tower.encode_text([SHORT])
    tower.load_state_dict({k: v * 0.5 for k, v in tower.state_dict().items()})
    assert not torch.allclose(before, tower.encode_text([SHORT]))
    assert tower.double().encode_text([SHORT]).dtype == torch.float64


def test_long_text_is_cut_to_the_positions(tower):
    features = tower.encode_text(["clap " * 10, "clap " * 50])
    torch.testing.assert_close(features[0], features[1])


def test_in_the_place_of_clips_text_tower(folder):
    config = SkeletonClipConfig(
        HyperformerConfig(heads=1, strides=(2,), output=16), sentence=SentenceConfig(str(folder))
    )
    model = SkeletonClip(config).train()
    logits = model.logits(torch.randn(2, 3, 8, 25, 2), ["sit down", "clap"])
    assert logits.shape == (2, 2)
    logits.sum().backward()
    assert all(p.grad is None for p in model.text.parameters())
    assert model.encoder.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("content", [None, "empty", "damaged"])
def test_no_encoder_there(tmp_path, content):
    path = tmp_path / "nothing" / "model"
    if content is not None:
        path.mkdir(parents=True)
    if content == "damaged":
        (path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="no sentence encoder could be loaded") as caught:
        SentenceTextTower(SentenceConfig(str(path)))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def copied(folder, target):
    for part in folder.iterdir():
        (target / part.name).write_bytes(part.read_bytes())
    return target / "model.safetensors"


def test_damaged_weights_are_named(folder, tmp_path):
    weights = copied(folder, tmp_path)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ConfigError, match="no sentence encoder") as caught:
        SentenceTextTower(SentenceConfig(str(tmp_path)))
    assert str(tmp_path) in str(caught.value)


def test_weights_that_do_not_cover_the_encoder_are_refused(folder, tmp_path):
    weights = copied(folder, tmp_path)
    state = {k: v for k, v in load_file(weights).items() if not k.startswith("pooler.")}
    save_file(state, weights, metadata={"format": "pt"})
    SentenceTextTower(SentenceConfig(str(tmp_path)))  # the pooler is not used
    del state["embeddings.word_embeddings.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 entries \(embeddings\.word_embeddings"):
        SentenceTextTower(SentenceConfig(str(tmp_path)))
