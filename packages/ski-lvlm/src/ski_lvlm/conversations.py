"""Training pairs as batches: encoded once, grouped by length, the same on any number of ranks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ski_data.instructions import Instruction
from ski_lvlm.errors import PromptError
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.model import Batch
from ski_lvlm.prompts import (
    Encoded,
    Message,
    TemplateName,
    collate,
    encode,
    question_with_placeholders,
    render,
)
from ski_lvlm.tokens import added_token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)

Modality = Literal["features", "zeros", "absent"]
"""The features, zeros in their place (same tokens, no information), or nothing."""
_GROUP = 50
_SHOWN = 5


@dataclass(frozen=True)
class PromptConfig:
    """How pairs become prompts."""

    template: TemplateName = "vicuna_v1_1"
    system: str | None = None
    """Another system text than the template's."""
    max_length: int = 2048
    """Tokens of a prompt; more are cut off at the end."""
    video: Modality = "features"
    skeleton: Modality = "features"
    mask_video: float = 0.0
    """Share of the samples, drawn anew each epoch, whose video features become zeros."""
    mask_skeleton: float = 0.0
    """The same for skeletons."""
    drop_skeleton: float = 0.0
    """Share of the samples, drawn anew each epoch, whose prompt has no skeleton tokens at all, as
    prompts have none when the model is used."""

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise PromptError(f"max_length {self.max_length} leaves no room; give at least 8")
        if self.video == "absent" and self.skeleton == "absent":
            raise PromptError("video and skeleton are both absent; a model needs one of them")
        if self.video == "absent" and self.drop_skeleton:
            raise PromptError("drop_skeleton leaves prompts without features where video is absent")
        for name in ("mask_video", "mask_skeleton", "drop_skeleton"):
            if not 0 <= getattr(self, name) <= 1:
                raise PromptError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")


class Conversations:
    """Encoded training pairs and their features.

    Pairs whose answer is cut off wholly are left out, with a remark; so are none silently: a pair
    whose clip has no features is an error.

    Args:
        pairs: Questions and answers.
        tokenizer: With the added tokens.
        vocabulary: Number of tokens before the added ones.
        config: How pairs become prompts.
        video: Video tokens by clip name; needed unless ``config.video`` is absent.
        skeleton: Skeleton tokens by clip name; the same.

    Attributes:
        pairs: Those that are used.
        lengths: Tokens of each prompt, int64 (N,).
        supervised: Supervised tokens of each, int64 (N,).
        features_first: Whether the features stand before the question, bool (N,).
        cut: Prompts whose answer lost tokens to the limit.
        dropped: Pairs left out since no token of the answer was left.

    Raises:
        PromptError: Clips without features, or no pair that can be used.
    """

    def __init__(
        self,
        pairs: Sequence[Instruction],
        tokenizer: PreTrainedTokenizerFast,
        vocabulary: int,
        config: PromptConfig,
        *,
        video: FeatureStore | None = None,
        skeleton: FeatureStore | None = None,
    ) -> None:
        self.config, self._pad = config, tokenizer.pad_token_id or 0
        self._ids = added_token_ids(vocabulary)
        self._stores = {
            "video": video if config.video != "absent" else None,
            "skeleton": skeleton if config.skeleton != "absent" else None,
        }
        _check_clips(pairs, self._stores)
        self.pairs: list[Instruction] = []
        self._rows: list[Encoded] = []
        self.cut = self.dropped = 0
        first = []
        for number, pair in enumerate(pairs):
            row = self._encode(pair, tokenizer, first=bool(number % 2))
            if not row.supervised:
                self.dropped += 1
                continue
            self.cut += row.cut
            first.append(bool(number % 2))
            self.pairs.append(pair)
            self._rows.append(row)
        if self.dropped or self.cut:
            log.warning(
                "of %d pairs, %d lost the end of their answer to the limit of %d tokens, %d all of "
                "it and are left out",
                len(pairs), self.cut, config.max_length, self.dropped,
            )  # fmt: skip
        if not self._rows:
            raise PromptError(
                f"no pair is left: all answers begin behind {config.max_length} tokens; raise "
                "max_length"
            )
        self.features_first = np.array(first)
        self.supervised = np.array([row.supervised for row in self._rows])
        self.lengths = np.array(
            [
                len(row.ids) + self._more(pair)
                for pair, row in zip(self.pairs, self._rows, strict=True)
            ]
        ).clip(max=config.max_length)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Sequence[int] | np.ndarray, *, seed: int = 0, epoch: int = 0) -> Batch:
        """The prompts ``indices`` padded to the longest of them, with their features."""
        kept = [self._keeps_skeleton(int(i), seed, epoch) for i in indices]
        rows = [self._full(int(i), keep) for i, keep in zip(indices, kept, strict=True)]
        ids, labels, mask = collate(rows, self._pad)
        features = {
            name: [
                self._features(name, int(i), seed, epoch) if keep or name != "skeleton" else None
                for i, keep in zip(indices, kept, strict=True)
            ]
            if store is not None
            else None
            for name, store in self._stores.items()
        }
        return Batch(ids, mask, labels, features["video"], features["skeleton"])

    def _count(self, name: str, pair: Instruction) -> int:
        store = self._stores[name]
        if store is None:
            return 0
        clip = _clip(name, pair)
        return store.rows.get(clip) or len(store[next(iter(store.names))])

    def _more(self, pair: Instruction) -> int:
        """Tokens that the full prompt has beyond the encoded one, which has one for each patch."""
        counts = [self._count(name, pair) for name in self._stores]
        return sum(count - 1 for count in counts if count)

    def _encode(
        self, pair: Instruction, tokenizer: PreTrainedTokenizerFast, first: bool
    ) -> Encoded:
        """One patch token stands for all of its modality; cut as the full prompt will be."""
        video, skeleton = (self._stores[name] is not None for name in ("video", "skeleton"))
        asked = question_with_placeholders(
            pair.question, video=video, skeleton=skeleton, first=first
        )
        rendered = render(
            [Message("human", asked), Message("gpt", pair.answer)],
            tokenizer,
            template=self.config.template,
            system=self.config.system,
            video_tokens=int(video),
            skeleton_tokens=int(skeleton),
        )
        room = self.config.max_length - self._more(pair)
        return encode(rendered, tokenizer, max_length=max(room, 0))

    def _keeps_skeleton(self, index: int, seed: int, epoch: int) -> bool:
        if not self.config.drop_skeleton:
            return True
        drawn = np.random.default_rng([seed, epoch, index, 2]).random()
        return bool(drawn >= self.config.drop_skeleton)

    def _full(self, index: int, skeleton: bool) -> Encoded:
        """All tokens of a prompt. White space at the skeleton's span is in no token: it may go."""
        row, pair = self._rows[index], self.pairs[index]
        ids, labels = np.array(row.ids), np.array(row.labels)
        repeats = np.ones(len(ids), np.int64)
        for name, token in (("video", "<vid_patch>"), ("skeleton", "<pose_patch>")):
            repeats[ids == self._ids[token]] = self._count(name, pair)
        if not skeleton:
            span = [self._ids[f"<pose_{part}>"] for part in ("start", "patch", "end")]
            repeats[np.isin(ids, span)] = 0
        return Encoded(
            np.repeat(ids, repeats).tolist(), np.repeat(labels, repeats).tolist(), row.cut
        )

    def _features(self, name: str, index: int, seed: int, epoch: int) -> Tensor:
        tokens = self._stores[name][_clip(name, self.pairs[index])]  # type: ignore[index]
        share = getattr(self.config, f"mask_{name}")
        drawn = np.random.default_rng([seed, epoch, index, name == "skeleton"]).random()
        if getattr(self.config, name) == "zeros" or drawn < share:
            return torch.zeros_like(tokens)
        return tokens


def length_grouped(lengths: np.ndarray, size: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Batches of one epoch whose prompts are about equally long; the incomplete last is left out.

    The shuffled samples are cut into groups of 50 batches, each group is sorted by length and cut
    into batches, and the batches are shuffled. Depends on the arguments alone.

    Returns:
        int64 (size,) each, longest prompt first.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    batches = []
    for begin in range(0, len(order), size * _GROUP):
        group = order[begin : begin + size * _GROUP]
        group = group[np.argsort(-lengths[group], kind="stable")]
        batches += [group[at : at + size] for at in range(0, len(group) - size + 1, size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def clip_grouped(
    clips: Sequence[str], features_first: np.ndarray, size: int, *, seed: int, epoch: int
) -> list[np.ndarray]:
    """Batches of one epoch that hold the pairs of a clip together; the incomplete last is left out.

    Clips are shuffled, their pairs ordered so that those that begin with the features are
    neighbours, all cut into batches, and the batches shuffled. Depends on the arguments alone.

    Returns:
        int64 (size,) each.
    """
    rng = np.random.default_rng([seed, epoch])
    names, which = np.unique(np.asarray(clips), return_inverse=True)
    place = rng.permutation(len(names))[which]
    order = np.lexsort((np.arange(len(which)), features_first, place))
    batches = [order[at : at + size] for at in range(0, len(order) - size + 1, size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _clip(name: str, pair: Instruction) -> str:
    return pair.skeleton or pair.video if name == "skeleton" else pair.video


def _check_clips(pairs: Sequence[Instruction], stores: dict[str, FeatureStore | None]) -> None:
    for name, store in stores.items():
        if store is None:
            continue
        absent = list(dict.fromkeys(c for p in pairs if (c := _clip(name, p)) not in store))
        if absent:
            shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
            raise PromptError(
                f"{store.folder}: no {name} features for {len(absent)} clips of the training "
                f"pairs: {shown}; extract them, or leave these pairs out"
            )
