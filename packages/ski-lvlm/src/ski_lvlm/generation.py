"""Answers token by token: keys and values are kept, and prompts join and leave a running batch.

All prompts of a batch end at the same column of the cache. A prompt that is done makes room at once
for the next one, whose keys and values are written into its row; columns that no row needs any more
are dropped. So a batch of answers of any lengths never waits for its longest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from ski_lvlm.errors import ConfigError, PromptError
from ski_lvlm.model import Batch, SkiLvlm

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_ROOM = 64
_ATTENTION = ("full_attention", "sliding_attention", "chunked_attention")


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen."""

    max_new_tokens: int = 256
    """Limit of an answer."""
    temperature: float = 0.0
    """0 takes the likeliest token; more draws among them."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that have this probability together."""
    seed: int = 0
    """Of the draws; each prompt has its own, whatever batch it is in."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"{self}: max_new_tokens from 1, temperature from 0, top_p above 0 and up to 1"
            )

    def generator(self, number: int) -> torch.Generator | None:
        """Draws for prompt ``number``; none where nothing is drawn."""
        if self.temperature == 0:
            return None
        return torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)

    def choose(self, logits: Tensor, generators: Sequence[torch.Generator | None]) -> list[int]:
        """A token for each row of logits (N, vocabulary)."""
        if self.temperature == 0:
            return logits.argmax(-1).tolist()
        shares = (logits.float() / self.temperature).softmax(-1).cpu()
        ordered, tokens = shares.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= self.top_p] = 0
        return [
            int(own[torch.multinomial(row, 1, generator=generator)])
            for row, own, generator in zip(ordered, tokens, generators, strict=True)
        ]


class Generated(NamedTuple):
    """An answer."""

    number: int
    """Of the prompt, from 0."""
    ids: list[int]
    finished: bool
    """It ended with an end token, which is left out of ``ids``; otherwise a limit cut it."""


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Tokens that end an answer: those of the model's generation settings and the tokenizer's."""
    given = model.generation_config.eos_token_id
    ends = {*given} if isinstance(given, list | tuple) else {given}
    return frozenset((ends | {tokenizer.eos_token_id}) - {None})


def context_length(model: PreTrainedModel) -> int | None:
    """Most tokens that a model was made for, if it says so."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def room_for(model: PreTrainedModel, tokens: int, wanted: int) -> int:
    """How many of ``wanted`` new tokens fit behind a prompt of so many tokens.

    Raises:
        PromptError: The prompt alone fills the context.
    """
    limit = context_length(model)
    if limit is None:
        return wanted
    if tokens >= limit:
        raise PromptError(
            f"the prompt has {tokens} tokens and the language model a context of {limit}: no room "
            "for an answer; ask less, or begin a new conversation"
        )
    return min(wanted, limit - tokens)


def new_cache(model: PreTrainedModel) -> Cache:
    """An empty cache for :func:`forward`.

    Raises:
        ConfigError: A language model that keeps something else than keys and values.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    odd = sorted({kind for kind in kinds if kind not in _ATTENTION})
    if odd:
        raise ConfigError(
            f"{type(model).__name__}: has layers of {', '.join(odd)}, which keep other things than "
            "keys and values; use Captioner.answer, or another base model"
        )
    return Cache(layer_class_to_replicate=GrowingLayer)


class GrowingLayer(DynamicLayer):
    """Keys and values (N, H, L, D) in larger buffers: new ones are written, the old not copied."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._buffers: list[Tensor] = []
        self._first = self._last = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append columns; all keys and all values are returned."""
        del args, kwargs
        if not self._buffers:
            self.dtype, self.device = key_states.dtype, key_states.device
            self._buffers = [key_states[:, :, :0], value_states[:, :, :0]]
            self.is_initialized = True
        count = key_states.shape[2]
        if self._last + count > self._buffers[0].shape[2]:
            self._move(0, count + max(_ROOM, (self._last - self._first) // 4))
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, self._last : self._last + count] = new
        self._last += count
        self._show()
        return self.keys, self.values

    def keep_columns(self, first: int, last: int) -> None:
        """Keep columns from ``first`` to before ``last`` only."""
        self._first, self._last = self._first + first, self._first + last
        self._show()

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep these rows only, in this order."""
        self._buffers = [buffer[list(rows)] for buffer in self._buffers]
        self._show()

    def replace_rows(self, rows: Sequence[int], other: GrowingLayer) -> None:
        """Put the rows of ``other`` in place of ``rows``, ending at the same column."""
        width = other.keys.shape[2]
        if width > self._last:
            self._move(width - (self._last - self._first), _ROOM)
        self._first = min(self._first, self._last - width)
        for buffer, new in zip(self._buffers, (other.keys, other.values), strict=True):
            buffer[list(rows), :, self._last - width : self._last] = new
        self._show()

    def _move(self, before: int, behind: int) -> None:
        """Into new buffers with room before and behind what is used."""
        used = self._last - self._first
        for n, buffer in enumerate(self._buffers):
            shape = list(buffer.shape)
            shape[2] = before + used + behind
            larger = buffer.new_zeros(shape)
            larger[:, :, before : before + used] = buffer[:, :, self._first : self._last]
            self._buffers[n] = larger
        self._first, self._last = before, before + used

    def _show(self) -> None:
        self.keys, self.values = (b[:, :, self._first : self._last] for b in self._buffers)


@torch.inference_mode()
def forward(model: SkiLvlm, embeddings: Tensor, mask: Tensor, cache: Cache) -> Tensor:
    """Logits (N, vocabulary) behind the last of the new columns, which the cache then holds.

    Args:
        model: The model.
        embeddings: (N, Q, D) of the new columns.
        mask: (N, L) bool of all columns, the new ones at the end; False before a row's first token.
        cache: Of the columns before.
    """
    new = embeddings.shape[1]
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -new:]
    hidden = model.language_model.get_decoder()(
        inputs_embeds=embeddings.to(model.language_model.dtype),
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[:, -1]
    return model.language_model.get_output_embeddings()(hidden)


@dataclass
class _Row:
    """A prompt in the running batch."""

    number: int
    columns: int
    """Columns of the cache that are its own."""
    limit: int
    generator: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    done: bool = False


class RunningBatch:
    """At most ``size`` prompts that are answered at once.

    Args:
        model: In evaluation mode.
        size: Prompts at once.
        sampling: How tokens are chosen.
        ends: Tokens that end an answer.
    """

    def __init__(
        self, model: SkiLvlm, *, size: int, sampling: Sampling, ends: frozenset[int]
    ) -> None:
        if size < 1:
            raise ConfigError(f"a batch holds 1 prompt or more, not {size}")
        self.model, self.size, self.sampling, self.ends = model, size, sampling, ends

    def answers(self, prompts: Iterable[Batch]) -> Iterator[Generated]:
        """Answers in the order in which they are done.

        Args:
            prompts: One prompt (1, L) each, without padding; taken when there is room.

        Raises:
            PromptError: A prompt that fills the context of the language model.
        """
        self._rows: list[_Row] = []
        self._cache = new_cache(self.model.language_model)
        waiting = enumerate(prompts)
        while True:
            free = self.size - sum(not row.done for row in self._rows)
            newcomers = list(islice(waiting, free))
            if newcomers:
                self._admit(newcomers)
            elif free == self.size:
                return
            else:
                self._shrink()
                self._step()
            for row in self._rows:
                if row.done and row.number >= 0:
                    finished = bool(row.ids) and row.ids[-1] in self.ends
                    yield Generated(row.number, row.ids[:-1] if finished else row.ids, finished)
                    row.number = -1

    @torch.inference_mode()
    def _admit(self, newcomers: Sequence[tuple[int, Batch]]) -> None:
        """Read prompts, choose their first tokens, and put them into free rows."""
        language_model = self.model.language_model
        rows = []
        for number, prompt in newcomers:
            length = prompt.ids.shape[1]
            limit = room_for(language_model, length, self.sampling.max_new_tokens)
            rows.append(_Row(number, length, limit, self.sampling.generator(number)))
        longest = max(row.columns for row in rows)
        parts = [self.model.embed(prompt)[0] for _, prompt in newcomers]
        embeddings = parts[0].new_zeros(len(rows), longest, parts[0].shape[1])
        for n, part in enumerate(parts):
            embeddings[n, longest - len(part) :] = part
        cache = new_cache(language_model)
        logits = forward(self.model, embeddings, _mask(rows, longest, embeddings.device), cache)
        if self._rows:
            places = [n for n, row in enumerate(self._rows) if row.done]
            for mine, its in zip(self._cache.layers, cache.layers, strict=True):
                mine.replace_rows(places[: len(rows)], its)
            for place, row in zip(places, rows, strict=False):
                self._rows[place] = row
        else:
            self._rows, self._cache = list(rows), cache
        self._take(rows, logits)

    def _shrink(self) -> None:
        """Drop columns that no prompt needs, and rows if half of them are done."""
        active = [n for n, row in enumerate(self._rows) if not row.done]
        if len(active) <= len(self._rows) // 2:
            for layer in self._cache.layers:
                layer.keep_rows(active)
            self._rows = [self._rows[n] for n in active]
        width = self._cache.get_seq_length()
        needed = max(row.columns for row in self._rows if not row.done)
        if needed < width:
            for layer in self._cache.layers:
                layer.keep_columns(width - needed, width)

    @torch.inference_mode()
    def _step(self) -> None:
        """One more token for every prompt."""
        table = self.model.language_model.get_input_embeddings()
        width = self._cache.get_seq_length() + 1
        last = [0 if row.done else row.ids[-1] for row in self._rows]
        for row in self._rows:
            row.columns = 1 if row.done else row.columns + 1
        device = table.weight.device
        embeddings = table(torch.tensor(last, device=device))[:, None]
        mask = _mask(self._rows, width, device)
        logits = forward(self.model, embeddings, mask, self._cache)
        self._take(self._rows, logits)

    def _take(self, rows: Sequence[_Row], logits: Tensor) -> None:
        chosen = self.sampling.choose(logits, [row.generator for row in rows])
        for row, token in zip(rows, chosen, strict=True):
            if not row.done:
                row.ids.append(token)
                row.done = token in self.ends or len(row.ids) == row.limit


def _mask(rows: Sequence[_Row], width: int, device: torch.device) -> Tensor:
    """True for the last columns of each row, those that are its own."""
    columns = torch.tensor([row.columns for row in rows], device=device)
    return torch.arange(width, device=device) >= width - columns[:, None]
