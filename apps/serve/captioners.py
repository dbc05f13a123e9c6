"""A language model that sees behind the queue: captions in batches, conversations in pieces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apps.serve.videos import Reading
from ski_lvlm.caption import QUESTION, Captioner, load_captioner
from ski_lvlm.chat import Chat
from ski_lvlm.errors import ConfigError
from ski_lvlm.features import nearest
from ski_lvlm.generation import RunningBatch, Sampling, room_for
from ski_lvlm.model import Batch
from ski_lvlm.pooling import frame_indices
from ski_lvlm.prompts import Message, question_with_placeholders

CHAT = "chat"
"""Kind of the jobs of conversations; captions' is their limit of tokens."""


@dataclass(frozen=True)
class Question:
    """A question about one video."""

    frames: np.ndarray
    """uint8 ``(T, H, W, 3)``, see :meth:`CaptionEngine.frames`."""
    text: str


@dataclass(frozen=True)
class Turn:
    """A conversation about one video that ends with a question."""

    frames: np.ndarray
    messages: tuple[Message, ...]
    max_new_tokens: int
    tell: Callable[[str], None]
    """Gets the answer piece by piece; called in the model's thread."""
    stopped: threading.Event
    """Set when nobody listens any more."""


@dataclass(frozen=True)
class Said:
    """An answer."""

    text: str
    finished: bool
    """The model ended it itself; otherwise a limit did."""


class CaptionEngine:
    """A captioner as the queue asks it.

    Args:
        captioner: the model.
        batch_size: questions that are answered at once.
    """

    question = QUESTION
    """What is asked by default."""

    def __init__(self, captioner: Captioner, batch_size: int) -> None:
        if captioner.tower is None:
            raise ConfigError(
                f"{captioner.name}: does not say how its video tokens were made, so it cannot be "
                "asked about files; train it on features that ski-lvlm made"
            )
        self.captioner, self.batch_size = captioner, batch_size
        self._tower, self._made = captioner.tower

    def frames(self, reading: Reading) -> np.ndarray:
        """What the model sees of a video; runs in the reader's thread."""
        chosen = frame_indices(reading.info.frames, self._made.frames)
        return reading.fitted(chosen, lambda frames: nearest(frames, self._tower.size))

    def answer(self, kind: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        """See :class:`apps.serve.batching.Engine`."""
        if kind != CHAT:
            return self._captions(payloads, int(kind))  # type: ignore[call-overload]
        found: list[Any] = []
        for turn in payloads:
            try:
                found.append(self._chat(turn))
            except Exception as error:
                found.append(error)
        return found

    def _captions(self, asked: Sequence[Question], limit: int) -> list[Any]:
        found: list[Any] = [None] * len(asked)
        prompts: list[tuple[int, Batch]] = []
        for number, question in enumerate(asked):
            try:
                prompt = self.captioner.prompt(
                    self.captioner.frame_tokens(question.frames), question.text
                )
                room_for(self.captioner.model.language_model, prompt.ids.shape[1], limit)
                prompts.append((number, prompt))
            except Exception as error:  # this one's; the others go on
                found[number] = error
        running = RunningBatch(
            self.captioner.model,
            size=self.batch_size,
            sampling=Sampling(limit),
            ends=self.captioner.ends,
        )
        for made in running.answers(prompt for _, prompt in prompts):
            found[prompts[made.number][0]] = Said(self.captioner.text(made.ids), made.finished)
        return found

    def _chat(self, turn: Turn) -> Said:
        chat = Chat(
            self.captioner,
            self.captioner.frame_tokens(turn.frames),
            sampling=Sampling(turn.max_new_tokens),
        )
        *before, last = turn.messages
        if before:
            first = question_with_placeholders(before[0].text, video=True, skeleton=False)
            chat.messages = [Message(before[0].speaker, first), *before[1:]]
        pieces = chat.ask(last.text)
        for piece in pieces:
            turn.tell(piece)
            if turn.stopped.is_set():
                pieces.close()  # type: ignore[attr-defined]
        return Said(chat.answer, bool(chat.finished))


def open_captioner(name: str, source: str, device: str, batch_size: int) -> CaptionEngine:
    """Load a model; errors call it by its name, not by the place of its files."""
    captioner = load_captioner(source, device=device)
    captioner.name = f"the model {name}"
    return CaptionEngine(captioner, batch_size)
