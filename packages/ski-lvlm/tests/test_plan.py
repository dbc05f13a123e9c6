from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tiny_lvlm import make_base, make_data, write_recipe
from transformers import LlamaConfig

from ski_lvlm.base import BaseConfig
from ski_lvlm.cli import main
from ski_lvlm.errors import ConfigError
from ski_lvlm.lvlm_folder import LoraSettings
from ski_lvlm.plan import GIB, plan, report
from ski_lvlm.recipe import DataConfig, LvlmRecipe, read_recipe


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The configuration of LLaMA 7B, without weights."""
    folder = tmp_path_factory.mktemp("large")
    LlamaConfig(vocab_size=32003, num_key_value_heads=32).save_pretrained(folder)
    return LvlmRecipe(
        base=BaseConfig(str(folder)),
        data=DataConfig("pairs.jsonl", "features/video", "features/skeleton"),
        prompts=LvlmRecipe.__dataclass_fields__["prompts"].default_factory(),
    )


def test_published_sizes(large):
    found = plan(replace(large, boundary_rows=False), processes=8)
    assert found.base_parameters == pytest.approx(6.738e9, rel=1e-3)
    assert found.trained_parameters == 5_087_232
    assert found.parts == 1
    assert found.base_bytes / GIB == pytest.approx(12.55, abs=0.1)
    assert found.trained_bytes < 0.1 * GIB
    assert found.updates is None
    assert len(found.notes) == 3
    assert "pairs: unknown" in report(found)
    assert plan(large, processes=8).trained_parameters == 5_087_232 + 6 * 4096


def test_stages_and_savings(large):
    whole = plan(large, processes=8)
    third = plan(replace(large, zero="3"), processes=8)
    offload = plan(replace(large, zero="3_offload"), processes=8)
    assert offload.base_bytes < third.base_bytes < whole.base_bytes / 4
    assert offload.deepspeed["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert plan(replace(large, zero="none"), processes=8).deepspeed is None
    again = plan(replace(large, checkpointing=True), processes=8)
    assert again.activation_bytes < whole.activation_bytes / 5
    lora = plan(replace(large, lora=LoraSettings(rank=8)), processes=8)
    assert lora.trained_parameters == whole.trained_parameters + 32 * 2 * 2 * 8 * 4096
    small = plan(replace(large, base=replace(large.base, quantised="4bit")), processes=8)
    assert small.base_bytes == pytest.approx(whole.base_bytes / 4, rel=0.01)


def test_command_and_what_is_refused(large, tmp_path, golden_folder, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no tries, no waiting
    make_base(tmp_path / "base", golden_folder / "tiny_tokenizer")
    make_data(tmp_path)
    path = write_recipe(tmp_path / "r.yaml", tmp_path)
    command = ["train", str(path), "--out", str(tmp_path / "run"), "--dry_run"]
    assert main([*command, "--json", "--processes", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["updates"] == 6
    assert found["recipe"]["lr"] == read_recipe(path).lr
    assert main([*command, "--processes", "3"]) == 2
    assert "cannot be dealt to 3 processes" in capsys.readouterr().err
    path.write_text(path.read_text().replace(str(tmp_path / "base"), "no/such"))
    assert main(command) == 2
    assert "no/such: cannot be loaded" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"data\.video names no"):
        plan(replace(large, data=DataConfig("pairs.jsonl")))
