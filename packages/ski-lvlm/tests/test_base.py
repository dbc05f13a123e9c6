from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ski_lvlm.base import BaseConfig, load_language_model, load_tokenizer
from ski_lvlm.errors import ConfigError


@pytest.fixture
def folder(tmp_path, golden_folder):
    """A language model as a folder of the hub's form."""
    config = LlamaConfig(
        vocab_size=500,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    PreTrainedTokenizerFast.from_pretrained(golden_folder / "tiny_tokenizer").save_pretrained(
        tmp_path / "base"
    )
    return tmp_path / "base"


def test_from_a_folder(folder):
    tokenizer, vocabulary = load_tokenizer(BaseConfig(str(folder)))
    assert vocabulary == 500
    assert len(tokenizer) == 509
    model = load_language_model(BaseConfig(str(folder)), precision="bfloat16")
    assert model.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


def test_what_cannot_be_loaded(folder, tmp_path):
    for name in (str(tmp_path / "absent"), str(tmp_path)):
        with pytest.raises(ConfigError, match="cannot be loaded"):
            load_tokenizer(BaseConfig(name))
        with pytest.raises(ConfigError, match="cannot be loaded"):
            load_language_model(BaseConfig(name), precision="float32")


def test_quantised_needs_its_extra(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ski-lvlm\[quantised\]"):
        load_language_model(BaseConfig(str(folder), quantised="4bit"), precision="float32")


def test_quantised_needs_a_gpu(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for bits in ("4bit", "8bit"):
        with pytest.raises(ConfigError, match=f"base model in {bits}: needs a GPU"):
            load_language_model(BaseConfig(str(folder), quantised=bits), precision="float32")


def test_unknown_attention(folder):
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_language_model(
            BaseConfig(str(folder)), precision="bfloat16", attention="flash_attention_2"
        )
