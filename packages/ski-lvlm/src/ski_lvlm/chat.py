"""A conversation about one video: each turn feeds the language model its new tokens alone."""

from __future__ import annotations

import json as json_format
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from ski_data.errors import InputError
from ski_lvlm.caption import Captioner
from ski_lvlm.errors import PromptError
from ski_lvlm.generation import Sampling, forward, new_cache, room_for
from ski_lvlm.model import Batch
from ski_lvlm.prompts import Message, TemplateName, question_with_placeholders
from ski_lvlm.tokens import VIDEO_PLACEHOLDER

_BROKEN = "\ufffd"


class Chat:
    """Asks a model about one video, turn after turn.

    Keys and values of what was said stay, so a turn costs its own tokens. The answers are those
    that the whole conversation would get at once.

    Args:
        captioner: The model.
        video: File of the video, or its tokens (L, C).
        template: Another template than in training.
        sampling: How tokens are chosen.

    Attributes:
        messages: What was said, human first; answers that were stopped as far as they went.
        answer: The last answer, also where it is empty; such a turn is forgotten.
        finished: The model ended its last answer itself; None before the first.

    Raises:
        ConfigError: A model that does not say how its video tokens were made.
        InputError: A file that cannot be decoded.
    """

    def __init__(
        self,
        captioner: Captioner,
        video: Tensor | str | Path,
        *,
        template: TemplateName | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    ) -> None:
        self._tokens = video if isinstance(video, Tensor) else captioner.tokens(video)
        self.captioner, self.template, self.sampling = captioner, template, sampling
        self.messages: list[Message] = []
        self.answer = ""
        self.finished: bool | None = None
        self._cache = new_cache(captioner.model.language_model)
        self._fed: list[int] = []

    def ask(self, text: str) -> Iterator[str]:
        """Ask, and get the answer in pieces as it is made; to stop it, close the iterator.

        Raises:
            PromptError: An empty question, one with a placeholder, or a conversation that has
                outgrown the context of the language model; the turn is not taken.
        """
        if VIDEO_PLACEHOLDER in text and self.messages:
            raise PromptError(f"{VIDEO_PLACEHOLDER} stands for the video, which was shown already")
        if not text.strip():
            raise PromptError("an empty question")
        if not self.messages and VIDEO_PLACEHOLDER not in text:
            text = question_with_placeholders(text, video=True, skeleton=False)
        turns = [*self.messages, Message("human", text)]
        prompt = self.captioner.prompt(self._tokens, turns, template=self.template)
        language_model = self.captioner.model.language_model
        room = room_for(language_model, prompt.ids.shape[1], self.sampling.max_new_tokens)
        return self._answer(turns, prompt, room)

    def _answer(self, turns: list[Message], prompt: Batch, room: int) -> Iterator[str]:
        captioner, ids = self.captioner, prompt.ids[0].tolist()
        generator = self.sampling.generator(len(turns))
        self.finished = False
        made: list[int] = []
        said = ""
        try:
            logits = self._read(prompt, ids)
            while True:
                (token,) = self.sampling.choose(logits, [generator])
                self.finished = token in captioner.ends
                if not self.finished:
                    made.append(token)
                text = captioner.text(made)
                last = self.finished or len(made) == room
                # The end may still change: bytes of a character, or white space to be stripped.
                sure = text if last else text.rstrip(_BROKEN).rstrip()
                if len(sure) > len(said) and sure.startswith(said):
                    yield sure[len(said) :]
                    said = sure
                if last:
                    return
                logits = self._feed([token])
        finally:
            self.answer = captioner.text(made)
            if self.answer:
                self.messages = [*turns, Message("gpt", self.answer)]

    @torch.inference_mode()
    def _read(self, prompt: Batch, ids: list[int]) -> Tensor:
        """Feed what of the prompt is new; logits behind it."""
        same = 0
        for mine, its in zip(self._fed, ids[:-1], strict=False):
            if mine != its:
                break
            same += 1
        model = self.captioner.model
        inside = any(token >= model.vocabulary for token in ids[same:])
        if inside:  # the video is not read yet, or not whole
            same = 0
        for layer in self._cache.layers:
            layer.keep_columns(0, same)
        self._fed = ids[:same]
        if not inside:
            return self._feed(ids[same:])
        logits = self._forward(model.embed(prompt))
        self._fed = ids
        return logits

    @torch.inference_mode()
    def _feed(self, ids: list[int]) -> Tensor:
        table = self.captioner.model.language_model.get_input_embeddings()
        logits = self._forward(table(torch.tensor([ids], device=self.captioner.device)))
        self._fed = [*self._fed, *ids]
        return logits

    def _forward(self, embeddings: Tensor) -> Tensor:
        for layer in self._cache.layers:  # what a stopped turn may have left in some layers
            layer.keep_columns(0, len(self._fed))
        length = len(self._fed) + embeddings.shape[1]
        mask = torch.ones(1, length, dtype=torch.bool, device=embeddings.device)
        return forward(self.captioner.model, embeddings, mask, self._cache)


def talk(
    chat: Chat,
    questions: Iterable[str],
    out: TextIO,
    *,
    json: bool = False,
    stoppable: bool = False,
) -> None:
    """Ask every question and write the answers as they are made.

    Args:
        chat: The conversation.
        questions: One each; empty ones are passed over.
        out: Where the answers go, one per line.
        json: One object for each turn instead.
        stoppable: An interrupt stops the answer and the next question is asked; a second one
            during the same answer goes on to the caller as KeyboardInterrupt.
    """
    for question in questions:
        question = question.strip()
        if not question:
            continue
        pieces = chat.ask(question)
        with _interrupts(stoppable) as interrupted:
            for piece in pieces:
                if not json:
                    out.write(piece)
                    out.flush()
                if interrupted:
                    break
            pieces.close()  # type: ignore[attr-defined]
        if json:
            line = {"question": question, "answer": chat.answer, "finished": chat.finished}
            out.write(json_format.dumps(line, ensure_ascii=False))
        elif interrupted:
            out.write(" ... (stopped)")
        elif not chat.finished:
            out.write(" ... (cut at the limit)")
        out.write("\n")
        out.flush()


def typed_questions() -> Iterator[str]:
    """Lines of standard input, asked for where a person sits at a terminal."""
    if not sys.stdin.isatty():
        try:
            yield from sys.stdin
        except UnicodeDecodeError as error:
            raise InputError("standard input: not UTF-8 text") from error
        return
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return
        yield line


@contextmanager
def _interrupts(wanted: bool) -> Iterator[list[int]]:
    """Collects the first interrupt from the keyboard in a list; the second one is raised."""
    found: list[int] = []

    def note(number: int, frame: object) -> None:
        del frame
        if found:
            raise KeyboardInterrupt
        found.append(number)

    if not wanted:
        yield found
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)
