from __future__ import annotations

import json

import pytest
import torch
from tiny_lvlm import ACTIONS, TINY

from ski_lvlm.caption import Captioner, captions, load_captioner
from ski_lvlm.cli import main
from ski_lvlm.conversations import PromptConfig
from ski_lvlm.errors import ConfigError, FeatureError, PromptError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.features import ImageTower
from ski_lvlm.generation import Sampling
from ski_lvlm.prompts import Message


def test_answers_tell_the_actions(trained):
    captioner = load_captioner(trained / "run" / "model")
    assert captioner.model.projectors.skeleton is None
    store = FeatureStore(trained / "video")
    sampling = Sampling(max_new_tokens=30)
    made = list(
        captions(captioner, store.names, store=store, question="What happens?", sampling=sampling)
    )
    assert {answer.video for answer in made} == set(store.names)
    made.sort(key=lambda answer: answer.video)
    right = [answer.text == f"A person {ACTIONS[n % 4]}." for n, answer in enumerate(made)]
    assert sum(right) > 12  # of 24; chance is 6
    assert all(answer.finished for answer in made)


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
    torch.testing.assert_close(captioner.tokens(records[2].video, batch_size=2), store["c"])


def test_command(trained, capsys):
    command = ["caption", "clip00", "clip01", "--model", str(trained / "run" / "model")]
    command += ["--features", str(trained / "video"), "--question", "What happens?"]
    assert main([*command, "--json", "--max_new_tokens", "2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["video"] for line in lines] == ["clip00", "clip01"]
    assert not lines[0]["finished"]
    assert main([*command, "--max_new_tokens", "0"]) == 2
    assert main([*command, "--batch-size", "0"]) == 2
    command[1] = "other"
    assert main(command) == 2
    assert "no features of clip other" in capsys.readouterr().err
    with pytest.raises(FeatureError):
        FeatureStore(trained / "video")["other"]


COMMAND = ("--question", "What happens?", "--max_new_tokens", "12")


def run(trained, *more):
    names = FeatureStore(trained / "video").names[:6]
    model = ["--model", str(trained / "run" / "model"), "--features", str(trained / "video")]
    return main(["caption", *names, *model, *COMMAND, *map(str, more)])


def test_file_of_a_killed_run_is_completed(trained, tmp_path, capsys, monkeypatch):
    from ski_lvlm import caption as module

    assert run(trained, "--out", tmp_path / "whole.jsonl") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'whole.jsonl'}\n"
    lines = (tmp_path / "whole.jsonl").read_text().splitlines()
    assert [json.loads(line)["video"] for line in lines] == [f"clip{n:02d}" for n in range(6)]
    assert json.loads((tmp_path / "whole.jsonl.settings.json").read_text())["template"] is None

    real = module.captions

    def killed(*args, **options):
        for number, answer in enumerate(real(*args, **options)):
            if number == 4:
                raise KeyboardInterrupt
            yield answer

    out = tmp_path / "new" / "cut.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(module, "captions", killed)
        assert run(trained, "--out", out, "--batch-size", 2) == 130
    assert not out.exists()
    with (out.parent / ".cut.jsonl.part").open("a") as file:
        file.write('{"video": "clip0')
    assert run(trained, "--out", out, "--temperature", 1) == 2
    assert "other settings" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(
        module, "captions", lambda c, videos, **o: asked.extend(videos) or real(c, videos, **o)
    )
    assert run(trained, "--out", out) == 0
    assert len(asked) == 2
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert {p.name for p in out.parent.iterdir()} == {"cut.jsonl", "cut.jsonl.settings.json"}
    assert run(trained, "--out", out) == 2
    assert "already" in capsys.readouterr().err


def test_unwritable_file_and_cut_answers(trained, tmp_path, capsys, caplog):
    tmp_path.joinpath("file").write_text("")
    assert run(trained, "--out", tmp_path / "file" / "a.jsonl") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert run(trained, "--max_new_tokens", 1) == 0
    assert "6 of 6 answers were cut at the limit of 1 tokens" in caplog.text
    assert capsys.readouterr().out.count("(cut at the limit)") == 6


def test_manifest_and_what_is_not_there(trained, tmp_path, capsys):
    tmp_path.joinpath("m.jsonl").write_text('{"name": "clip03", "video": "x.mp4", "label": 0}\n')
    command = ["caption", str(tmp_path / "m.jsonl"), "--model", str(trained / "run" / "model")]
    assert main([*command, "--features", str(trained / "video"), *COMMAND]) == 0
    assert capsys.readouterr().out.startswith("clip03: ")
    assert main([*command, *COMMAND]) == 2
    capsys.readouterr()
    assert main(["caption", "clip99", *command[2:], "--features", str(trained / "video")]) == 2
    assert "no features of clip clip99" in capsys.readouterr().err
