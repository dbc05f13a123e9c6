"""A trained model that answers questions about videos, from RGB alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ski_data.config import from_plain
from ski_data.errors import InputError
from ski_data.video.decode import probe, read_frames
from ski_lvlm.base import Precision
from ski_lvlm.conversations import PromptConfig
from ski_lvlm.errors import ConfigError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.features import ImageTower, VideoTokens, frame_tokens, nearest
from ski_lvlm.generation import RunningBatch, Sampling, end_tokens
from ski_lvlm.lvlm_folder import load_lvlm
from ski_lvlm.model import Batch, SkiLvlm
from ski_lvlm.pooling import frame_indices
from ski_lvlm.prompts import (
    IGNORE,
    Encoded,
    Message,
    TemplateName,
    collate,
    encode,
    question_with_placeholders,
    render,
)
from ski_skeleton.device import check_device

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

QUESTION = "Describe the video in detail."


@dataclass(frozen=True)
class Answer:
    """What the model says about a video."""

    video: str
    text: str
    finished: bool
    """The model ended its answer itself; otherwise the limit of tokens did."""


class Captioner:
    """Answers questions about videos; no skeleton and no skeleton weights are needed.

    Args:
        model: In evaluation mode.
        tokenizer: With the added tokens.
        prompts: As in its training.
        tower: Image tower and settings of its video tokens; None for stored tokens only.
        name: Of the model, for errors.
        notes: What was saved with the model, see :func:`ski_lvlm.lvlm_folder.load_lvlm`.
    """

    def __init__(
        self,
        model: SkiLvlm,
        tokenizer: PreTrainedTokenizerFast,
        prompts: PromptConfig,
        *,
        tower: tuple[ImageTower, VideoTokens] | None = None,
        name: str = "the model",
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.prompts = model, tokenizer, prompts
        self.tower, self.name, self.notes = tower, name, dict(notes or {})
        self.device = model.language_model.device
        self.ends = end_tokens(model.language_model, tokenizer)

    def tokens(self, video: str | Path, *, batch_size: int = 32) -> Tensor:
        """Video tokens (L, C) of a file, as in training.

        Raises:
            ConfigError: A model that does not say how its video tokens were made.
            InputError: A file that cannot be decoded.
        """
        tower, settings = self._seeing()
        chosen = frame_indices(probe(video).frames, settings.frames)
        frames = nearest(read_frames(video, chosen), tower.size)
        return self.frame_tokens(frames, batch_size=batch_size)

    def frame_tokens(self, frames: np.ndarray, *, batch_size: int = 32) -> Tensor:
        """Video tokens (L, C) of chosen frames (T, S, S, 3) uint8 at the tower's size S.

        Raises:
            ConfigError: A model that does not say how its video tokens were made.
        """
        tower, settings = self._seeing()
        return frame_tokens(tower, torch.from_numpy(frames), settings, batch_size=batch_size)

    def _seeing(self) -> tuple[ImageTower, VideoTokens]:
        """The image tower and its settings."""
        if self.tower is None:
            raise ConfigError(
                f"{self.name}: does not say how its video tokens were made; give stored ones"
            )
        return self.tower

    def answer(
        self,
        tokens: Sequence[Tensor],
        question: str | Sequence[Message] = QUESTION,
        *,
        template: TemplateName | None = None,
        max_new_tokens: int = 256,
        **options: Any,
    ) -> list[tuple[str, bool]]:
        """Answers about videos of given tokens, all in one batch with a key and value cache.

        Args:
            tokens: Video tokens (L, C) of each.
            question: The question, or a conversation that ends with one.
            template: Another template than in training.
            max_new_tokens: Limit of an answer.
            options: Of transformers' ``generate``, such as ``do_sample`` and ``temperature``.

        Returns:
            Text, and whether the model ended it itself.

        Raises:
            PromptError: A conversation that cannot be used.
        """
        prompts = [self.prompt(rows, question, template=template) for rows in tokens]
        rows = [Encoded(p.ids[0].tolist(), [IGNORE] * p.ids.shape[1], cut=False) for p in prompts]
        ids, _, mask = collate(rows, self.tokenizer.pad_token_id or 0, left=True)
        batch = Batch(
            ids.to(self.device),
            mask.to(self.device),
            video=[p.video[0] for p in prompts],  # type: ignore[index]
        )
        ends = sorted(self.ends)
        made = self.model.generate(
            batch, max_new_tokens=max_new_tokens, eos_token_id=ends or None, **options
        )
        return [(self.text(row), len(row) < max_new_tokens) for row in made]

    def prompt(
        self,
        tokens: Tensor,
        question: str | Sequence[Message] = QUESTION,
        *,
        template: TemplateName | None = None,
    ) -> Batch:
        """A question, or a conversation that ends with one, about a video of given tokens (L, C).

        Raises:
            PromptError: A conversation that cannot be used.
        """
        if isinstance(question, str):
            asked = question_with_placeholders(question, video=True, skeleton=False)
            question = [Message("human", asked)]
        rendered = render(
            question,
            self.tokenizer,
            template=template or self.prompts.template,
            system=self.prompts.system,
            video_tokens=len(tokens),
        )
        ids = torch.tensor([encode(rendered, self.tokenizer).ids], device=self.device)
        return Batch(ids, torch.ones_like(ids), video=[tokens.to(self.device)])

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say, without special ones and without white space around it."""
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        ).strip()


def load_captioner(
    folder: str | Path,
    *,
    base: str | None = None,
    precision: Precision = "float32",
    device: str | torch.device = "cpu",
) -> Captioner:
    """A captioner from what a training left.

    Args:
        folder: Its ``model`` folder.
        base: Where the base model is now, if elsewhere.
        precision: Of the base model.
        device: Where to.

    Raises:
        ConfigError: A model that was trained without videos, or parts that cannot be built; a
            device that is not there.
    """
    device = check_device(device)
    model, tokenizer, meta = load_lvlm(
        folder, base=base, precision=precision, device=device, skeletons=False
    )
    if model.projectors.video is None:
        raise ConfigError(f"{folder}: was trained without videos; it cannot caption them")
    prompts = from_plain(PromptConfig, meta.get("prompts", {}), f"{folder}: prompts")
    made = (meta.get("features") or {}).get("video") or {}
    tower = None
    if "settings" in made:
        settings = from_plain(VideoTokens, made["settings"], f"{folder}: features")
        tower = (ImageTower(settings.clip, settings.layer).to(device), settings)
    return Captioner(model, tokenizer, prompts, tower=tower, name=str(folder), notes=meta)


def captions(
    captioner: Captioner,
    videos: Sequence[str],
    *,
    store: FeatureStore | None = None,
    question: str = QUESTION,
    batch_size: int = 8,
    template: TemplateName | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
) -> Iterator[Answer]:
    """Answers about many videos, ``batch_size`` at a time, each as soon as it is done.

    A video that is answered makes room for the next one at once; the answers are those that each
    would get alone.

    Args:
        captioner: The model.
        videos: Files, or with ``store`` names of its clips.
        store: Stored video tokens.
        question: The same for all.
        batch_size: Videos at once.
        template: Another template than in training.
        sampling: How tokens are chosen.

    Raises:
        InputError: A batch of none, or a file that cannot be decoded.
        FeatureError: A clip that the store lacks.
        PromptError: A prompt that fills the context of the language model.
    """
    if batch_size < 1:
        raise InputError(f"--batch_size must be at least 1, got {batch_size}")

    def prompts() -> Iterator[Batch]:
        for video in videos:
            tokens = captioner.tokens(video) if store is None else store[video]
            yield captioner.prompt(tokens, question, template=template)

    running = RunningBatch(captioner.model, size=batch_size, sampling=sampling, ends=captioner.ends)
    for made in running.answers(prompts()):
        yield Answer(videos[made.number], captioner.text(made.ids), made.finished)
