from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from ski_lvlm import chat as module
from ski_lvlm.caption import load_captioner
from ski_lvlm.chat import Chat, talk
from ski_lvlm.cli import main
from ski_lvlm.errors import PromptError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.generation import Sampling
from ski_lvlm.prompts import Message

QUESTIONS = ("What happens?", "How often?", "What happens in the end?")


@pytest.fixture(scope="module")
def captioner(trained):
    return load_captioner(trained / "run" / "model")


@pytest.fixture
def chat(captioner, trained):
    tokens = FeatureStore(trained / "video")["clip01"]
    return Chat(captioner, tokens, sampling=Sampling(max_new_tokens=12))


def test_answers_are_those_of_the_whole_conversation(chat, captioner, monkeypatch):
    columns = []
    real = module.forward

    def forward(model, embeddings, mask, cache):
        columns.append(embeddings.shape[1])
        return real(model, embeddings, mask, cache)

    monkeypatch.setattr(module, "forward", forward)
    turns, read = [], []
    for number, question in enumerate(QUESTIONS):
        columns.clear()
        answer = "".join(chat.ask(question))
        read.append(columns[0])
        turns.append(Message("human", question if number else f"{question}\n<video>"))
        ((whole, finished),) = captioner.answer([chat._tokens], turns, max_new_tokens=12)
        assert (answer, chat.finished) == (whole, finished)
        assert answer == chat.answer
        turns.append(Message("gpt", answer))
    assert chat.messages == turns
    assert read[0] > 100
    assert max(read[1:]) < 40


def test_stopped_answers_stay_as_far_as_they_went(chat, captioner):
    pieces = chat.ask(QUESTIONS[0])
    first = next(pieces)
    pieces.close()
    assert chat.messages[-1] == Message("gpt", chat.answer)
    assert chat.answer.startswith(first.strip())
    assert not chat.finished
    "".join(chat.ask(QUESTIONS[1]))
    ((whole, _),) = captioner.answer([chat._tokens], chat.messages[:-1], max_new_tokens=12)
    assert chat.answer == whole


def test_an_interrupt_inside_the_model_leaves_a_usable_conversation(chat, captioner, monkeypatch):
    "".join(chat.ask(QUESTIONS[0]))
    layer = captioner.model.language_model.get_decoder().layers[1]
    handle = layer.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        "".join(chat.ask(QUESTIONS[1]))
    handle.remove()
    assert len(chat.messages) == 2
    "".join(chat.ask(QUESTIONS[2]))
    ((whole, _),) = captioner.answer([chat._tokens], chat.messages[:-1], max_new_tokens=12)
    assert chat.answer == whole


def test_outgrown_context_and_bad_questions(chat):
    for text, word in (("", "empty"), ("What\n<video>", "shown already")):
        if text:
            "".join(chat.ask(QUESTIONS[0]))
        with pytest.raises(PromptError, match=word):
            chat.ask(text)
    said = list(chat.messages)
    with pytest.raises(PromptError, match=r"context of 512: no room .* new conversation"):
        chat.ask("a b c " * 200)
    assert chat.messages == said
    assert "".join(chat.ask("Who?")) == chat.answer


def test_characters_of_several_tokens_come_whole(chat, monkeypatch):
    texts = {1: "Caf\ufffd", 2: "Caf\u00e9 ", 3: "Caf\u00e9 au"}
    monkeypatch.setattr(chat.captioner, "text", lambda ids: texts.get(len(ids), "").strip())
    chat.sampling = Sampling(max_new_tokens=3)
    monkeypatch.setattr(chat.captioner, "ends", frozenset())
    assert list(chat.ask("What?")) == ["Caf", "\u00e9", " au"]


def test_interrupt_stops_the_answer_and_a_second_one_ends(chat, monkeypatch):
    out, before = io.StringIO(), signal.getsignal(signal.SIGINT)
    real = chat.ask

    def ask(question, times=1):
        def pieces():
            for piece in inner:
                yield piece
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)

        inner = real(question)
        return pieces()

    monkeypatch.setattr(chat, "ask", ask)
    monkeypatch.setattr(chat.captioner, "ends", frozenset())
    talk(chat, [QUESTIONS[0], "", QUESTIONS[1]], out, stoppable=True)
    assert out.getvalue().count(" ... (stopped)\n") == 2
    monkeypatch.setattr(chat, "ask", lambda question: ask(question, 2))
    with pytest.raises(KeyboardInterrupt):
        talk(chat, [QUESTIONS[0]], out, stoppable=True)
    assert signal.getsignal(signal.SIGINT) is before


def test_command_reads_standard_input(trained, capsys, monkeypatch):
    command = ["chat", "clip01", "--model", str(trained / "run" / "model")]
    command += ["--features", str(trained / "video"), "--max_new_tokens", "12"]
    monkeypatch.setattr("sys.stdin", io.StringIO("What happens?\n\nHow often?\n"))
    assert main([*command, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["question"] for line in lines] == ["What happens?", "How often?"]
    assert all(line["finished"] == (not line["answer"] or line["finished"]) for line in lines)
    monkeypatch.setattr("sys.stdin", io.StringIO("a b c " * 300))
    assert main(command) == 2
    assert "no room for an answer" in capsys.readouterr().err
    command[1] = "clip99"
    assert main(command) == 2
    assert main(["chat", "no.mp4", "--model", str(trained / "run" / "model")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_program_in_a_pipe(trained):
    command = [sys.executable, "-m", "ski_lvlm", "chat", "clip01", "--max_new_tokens", "12"]
    command += ["--model", str(trained / "run" / "model"), "--features", str(trained / "video")]
    done = subprocess.run(
        command,
        input="What happens?\nHow often?\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2
