from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from ski_lvlm.caption import load_captioner
from ski_lvlm.cli import main
from ski_lvlm.feature_store import FeatureStore


@pytest.fixture
def command(trained, tmp_path):
    command = ["export-prompts", "clip00", "clip01", "--out", str(tmp_path / "prompts")]
    command += ["--model", str(trained / "run" / "model"), "--features", str(trained / "video")]
    return [*command, "--question", "What happens?", "--max_new_tokens", "9"]


def test_the_base_model_alone_answers_the_same(trained, tmp_path, command, capsys):
    assert main([*command, "--precision", "float32"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'prompts'}\n"
    captioner = load_captioner(trained / "run" / "model")
    store = FeatureStore(trained / "video")
    lines = (tmp_path / "prompts" / "index.jsonl").read_text().splitlines()
    assert len(lines) == 2
    for line in map(json.loads, lines):
        embeds = load_file(tmp_path / "prompts" / line["file"])["prompt_embeds"]
        assert embeds.shape == (line["tokens"], 16)
        assert len(line["ids"]) == line["tokens"]
        made = captioner.model.language_model.generate(
            inputs_embeds=embeds[None],
            max_new_tokens=line["sampling"]["max_tokens"],
            eos_token_id=line["sampling"]["stop_token_ids"],
            do_sample=False,
        )[0].tolist()
        ((text, _),) = captioner.answer([store[line["video"]]], "What happens?", max_new_tokens=9)
        assert captioner.text(made) == text
        assert line["sampling"]["temperature"] == 0
    meta = json.loads((tmp_path / "prompts" / "meta.json").read_text())
    assert meta["precision"] == "float32"
    assert meta["base"]["name"] == str(trained / "base")


def test_precision_and_what_is_refused(tmp_path, command, capsys):
    assert main(command) == 0
    assert load_file(tmp_path / "prompts" / "prompts" / "000000.safetensors")[
        "prompt_embeds"
    ].dtype.is_floating_point
    assert main(command) == 2
    assert "already there" in capsys.readouterr().err
    command[command.index(str(tmp_path / "prompts"))] = str(tmp_path / "other")
    assert main([*command, "--question", "What?\n" + "a b " * 600]) == 2
    assert "no room for an answer" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
