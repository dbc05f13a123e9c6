from __future__ import annotations

import json

import pytest
import torch
from tiny_lvlm import ACTIONS, TINY, make_base, make_data, write_recipe
from transformers import AutoModelForCausalLM

from ski_lvlm.base import BaseConfig, load_tokenizer
from ski_lvlm.caption import Captioner, captions, load_captioner
from ski_lvlm.cli import main
from ski_lvlm.conversations import PromptConfig
from ski_lvlm.errors import ConfigError, FeatureError, PromptError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.features import ImageTower
from ski_lvlm.prompts import Message, collate, encode, render
from ski_lvlm.train import read_recipe, train


def teach_sentences(folder):
    """Train the base model on the four answers, so that it can say them and must choose."""
    torch.manual_seed(0)
    tokenizer, _ = load_tokenizer(BaseConfig(str(folder)))
    model = AutoModelForCausalLM.from_pretrained(folder)
    said = [[Message("human", "What happens?"), Message("gpt", f"A person {a}.")] for a in ACTIONS]
    ids, labels, mask = collate([encode(render(turns, tokenizer), tokenizer) for turns in said], 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(120):
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, golden_folder):
    """A model that learns from its clips which of four sentences to say."""
    folder = tmp_path_factory.mktemp("caption")
    make_base(folder / "base", golden_folder / "tiny_tokenizer")
    teach_sentences(folder / "base")
    make_data(folder)
    recipe = write_recipe(
        folder / "r.yaml", folder, epochs=20, lr=0.05, prompts={"skeleton": "absent"}
    )
    train(read_recipe(recipe), folder / "run")
    return folder


def test_answers_tell_the_actions(trained):
    captioner = load_captioner(trained / "run" / "model")
    assert captioner.model.projectors.skeleton is None
    store = FeatureStore(trained / "video")
    made = list(
        captions(captioner, store.names, store=store, question="What happens?", max_new_tokens=30)
    )
    right = [answer.text == f"A person {ACTIONS[n % 4]}." for n, answer in enumerate(made)]
    assert sum(right) > 12  # of 24; chance is 6
    assert all(answer.finished for answer in made)
    alone = list(
        captions(
            captioner,
            store.names[:3],
            store=store,
            question="What happens?",
            max_new_tokens=30,
            batch=1,
        )
    )
    assert alone == made[:3]


def test_conversations_go_on(trained):
    captioner = load_captioner(trained / "run" / "model")
    tokens = FeatureStore(trained / "video")["clip00"]
    turns = [
        Message("human", "What happens?\n<video>"),
        Message("gpt", "A person waves."),
        Message("human", "How often?"),
    ]
    ((text, _),) = captioner.answer([tokens], turns, max_new_tokens=5)
    assert isinstance(text, str)
    with pytest.raises(PromptError, match="stands in 0 questions"):
        captioner.answer([tokens], turns[2:], max_new_tokens=5)
    with pytest.raises(ConfigError, match="does not say how its video tokens"):
        captioner.tokens("a.mp4")


def test_tokens_of_a_file_are_those_of_the_store(trained, records, tmp_path):
    from ski_lvlm.feature_store import finish
    from ski_lvlm.features import video_features

    torch.manual_seed(0)
    video_features(records, tmp_path / "s", TINY)
    store = finish(tmp_path / "s", ["a", "b", "c"])
    torch.manual_seed(0)
    tower = ImageTower(TINY.clip, TINY.layer)
    model = load_captioner(trained / "run" / "model")
    captioner = Captioner(model.model, model.tokenizer, PromptConfig(), tower=(tower, TINY))
    torch.testing.assert_close(captioner.tokens(records[2].video, batch=2), store["c"])


def test_command(trained, capsys):
    command = ["caption", "clip00", "clip01", "--model", str(trained / "run" / "model")]
    command += ["--features", str(trained / "video"), "--question", "What happens?"]
    assert main([*command, "--json", "--max_new_tokens", "2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["video"] for line in lines] == ["clip00", "clip01"]
    assert not lines[0]["finished"]
    assert main([*command, "--max_new_tokens", "0"]) == 2
    assert main([*command, "--batch", "0"]) == 2
    command[1] = "other"
    assert main(command) == 2
    assert "no features of clip other" in capsys.readouterr().err
    with pytest.raises(FeatureError):
        FeatureStore(trained / "video")["other"]
