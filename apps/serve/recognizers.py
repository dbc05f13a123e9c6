"""A video student behind the queue: several requests' clips go through it together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ski_vlm.attention_map import relevance
from ski_vlm.predict import Prediction, Recognizer, load, softmax
from ski_vlm.students import XClip

CLIPS, TEXTS, RELEVANCE = "clips", "texts", "relevance"
"""Kinds of jobs."""


@dataclass(frozen=True)
class Clips:
    """Clips of one request."""

    clips: np.ndarray
    """uint8 ``(n, T, H, W, 3)`` at the model's input size."""
    names: tuple[str, ...] | None
    """Classes to rank; None asks for the features ``(n, D)``."""


@dataclass(frozen=True)
class Relevance:
    """Where the evidence for a class is in one clip ``(T, H, W, 3)``."""

    clip: np.ndarray
    names: tuple[str, ...]
    target: int


class RecognizerEngine:
    """A recognizer as the queue asks it.

    Args:
        recognizer: the model.
        batch_size: clips that it sees at once.
    """

    def __init__(self, recognizer: Recognizer, batch_size: int) -> None:
        self.recognizer, self.batch_size = recognizer, batch_size

    @property
    def classes(self) -> list[str] | None:
        """Classes that it was trained on, where its folder tells."""
        found = self.recognizer.meta.get("classes_seen")
        return [str(name) for name in found] if isinstance(found, list) and found else None

    @property
    def length(self) -> int:
        """Frames T of a clip."""
        return self.recognizer.model.config.frames

    def answer(self, kind: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        """See :class:`apps.serve.batching.Engine`."""
        if kind == CLIPS:
            return self._clips(payloads)
        each = self._texts if kind == TEXTS else self._relevance
        return [_attempt(each, payload) for payload in payloads]

    def _clips(self, asked: Sequence[Clips]) -> list[Any]:
        if isinstance(self.recognizer.model, XClip):  # its texts follow the clip: none are shared
            return [_attempt(self._alone, one) for one in asked]
        features = self._features(np.concatenate([one.clips for one in asked]))
        parts = features.split([len(one.clips) for one in asked])
        return [_attempt(self._ranked, *pair) for pair in zip(asked, parts, strict=True)]

    def _features(self, clips: np.ndarray) -> Tensor:
        """Features ``(N, D)`` of clips."""
        model, device = self.recognizer.model, self.recognizer.device
        with torch.inference_mode():
            parts = [
                model.encode_video(model.normalise(part.to(device)))
                for part in torch.from_numpy(clips).split(self.batch_size)
            ]
            return torch.cat(parts)

    def _ranked(self, asked: Clips, features: Tensor) -> Any:
        recognizer = self.recognizer
        if asked.names is None:
            return recognizer.checked(features)
        with torch.inference_mode():
            texts = recognizer.class_texts(asked.names)
            cosines = recognizer.checked(recognizer.model.compared(features, texts).cosines)
        return ranked(softmax(recognizer.scale * cosines), asked.names)

    def _alone(self, asked: Clips) -> Any:
        if asked.names is None:
            return self.recognizer.checked(self._features(asked.clips))
        found: list[list[Prediction]] = []
        for first in range(0, len(asked.clips), self.batch_size):
            found += self.recognizer.rank(asked.clips[first : first + self.batch_size], asked.names)
        return found

    def _texts(self, names: tuple[str, ...]) -> np.ndarray:
        return self.recognizer.checked(self.recognizer.class_texts(names))

    def _relevance(self, asked: Relevance) -> np.ndarray:
        recognizer = self.recognizer
        pixels = torch.from_numpy(asked.clip).to(recognizer.device)
        text = recognizer.class_texts(asked.names)[asked.target]
        return relevance(recognizer.model, pixels, text)


def ranked(probabilities: np.ndarray, names: Sequence[str]) -> list[list[Prediction]]:
    """Classes by falling probability of each row of ``(n, K)``."""
    orders = np.argsort(-probabilities, axis=1, kind="stable")
    return [
        [Prediction(names[k], float(row[k])) for k in order]
        for row, order in zip(probabilities, orders, strict=True)
    ]


def _attempt(work: Any, *given: Any) -> Any:
    """The answer, or the exception as a value: one request must not spoil the others' batch."""
    try:
        return work(*given)
    except Exception as error:
        return error


def open_recognizer(name: str, source: str, device: str, batch_size: int) -> RecognizerEngine:
    """Load a model; errors call it by its name, not by the place of its files."""
    recognizer = load(source, device=device)
    recognizer.name = f"the model {name}"
    return RecognizerEngine(recognizer, batch_size)
