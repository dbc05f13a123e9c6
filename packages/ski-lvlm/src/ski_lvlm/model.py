"""A frozen language model that reads video and skeleton features through trained projectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ski_lvlm.errors import ConfigError
from ski_lvlm.projector import Projectors
from ski_lvlm.prompts import IGNORE
from ski_lvlm.tokens import BOUNDARY_TOKENS, splice, with_boundary_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Features = Tensor | Sequence[Tensor | None] | None
"""Tokens of one modality: (N, L, C), or per prompt (L, C) or None, or None for no prompt."""

_SLIDING = ("sliding_attention", "chunked_attention")
_SCALED = ("final_logit_softcapping", "logit_scale", "logits_scaling")
ROWS_AT_ONCE = 2048
"""Supervised positions that go through the output layer together."""


@dataclass(frozen=True)
class Batch:
    """What a step needs; all tensors on one device.

    Attributes:
        ids: (N, L) int64 token ids.
        mask: (N, L) int64, 1 where there is a token.
        labels: (N, L) int64, ``IGNORE`` where not supervised; none for generation.
        video: Video tokens of the prompts.
        skeleton: Skeleton tokens of the prompts.
    """

    ids: Tensor
    mask: Tensor
    labels: Tensor | None = None
    video: Features = None
    skeleton: Features = None


class Loss(NamedTuple):
    """Cross entropy of a batch."""

    sum: Tensor
    """Over all supervised tokens."""
    tokens: int
    """Number of supervised tokens."""

    @property
    def mean(self) -> Tensor:
        """Per supervised token; what training minimises."""
        return self.sum / max(self.tokens, 1)


class SkiLvlm(nn.Module):
    """Any causal language model of transformers, frozen, with projectors in front.

    The base model keeps its own vocabulary: ids of added tokens never reach its embedding, because
    patch positions become features and start and end tokens have their own rows.

    Args:
        language_model: A causal language model; all its parameters are frozen here.
        projectors: Made for its width.
        vocabulary: Number of tokens before the added ones
            (:func:`ski_lvlm.prompts.add_modality_tokens`).

    Attributes:
        packed: Give the language model all prompts of a batch in one row, without padding. By
            SDPA, beginnings that a prompt has in common with the one before are computed once; by
            flash attention each prompt is a sequence of its own. Losses and gradients stay.

    Raises:
        ConfigError: Projectors of another width than the language model.
    """

    def __init__(
        self, language_model: PreTrainedModel, projectors: Projectors, vocabulary: int
    ) -> None:
        super().__init__()
        width = language_model.get_input_embeddings().weight.shape[1]
        if projectors.config.width != width:
            raise ConfigError(
                f"projectors to {projectors.config.width} channels, the language model's word "
                f"embeddings have {width}; choose the projectors of this base model"
            )
        rows = language_model.get_input_embeddings().weight.shape[0]
        if vocabulary > rows:
            raise ConfigError(
                f"the tokenizer has {vocabulary} tokens before the added ones, the language model "
                f"word embeddings for {rows}; take the tokenizer of this base model"
            )
        self.language_model = language_model.requires_grad_(False).eval()
        self.projectors = projectors
        self.vocabulary = vocabulary
        self.packed = False
        boundary = projectors.boundary
        if boundary is not None and not boundary.is_meta and not boundary.any():
            with torch.no_grad():
                projectors.boundary.copy_(mean_embedding(language_model, vocabulary))

    def train(self, mode: bool = True) -> SkiLvlm:
        """Set the mode of what trains; the language model stays in evaluation mode."""
        super().train(mode)
        self.language_model.eval()
        return self

    def embed(self, batch: Batch) -> Tensor:
        """What enters the language model: word embeddings with features spliced in, (N, L, D)."""
        table = self.language_model.get_input_embeddings()
        added = batch.ids >= self.vocabulary
        words = table(batch.ids.masked_fill(added, 0)).detach()
        rows = self.projectors.boundary
        if rows is None:
            rows = mean_embedding(self.language_model, self.vocabulary).expand(
                len(BOUNDARY_TOKENS), -1
            )
        words = with_boundary_rows(words, batch.ids, rows, self.vocabulary)
        for which, given in enumerate((batch.video, batch.skeleton)):
            if (
                torch.is_grad_enabled()
                and isinstance(given, list)
                and not any(rows is not None for rows in given)
            ):  # a gradient of zeros, so that all processes have the same ones to share
                words = words + _project_nothing(self.projectors, which)
        features = (
            _project(self.projectors, 0, batch.video),
            _project(self.projectors, 1, batch.skeleton),
        )
        return splice(words, batch.ids, features, self.vocabulary)

    def forward(self, batch: Batch) -> Loss:
        """Cross entropy at the supervised positions; no other logits are computed.

        Raises:
            ValueError: A batch without labels.
            TokenError: Features that do not fit the prompts.
        """
        if batch.labels is None:
            raise ValueError("a batch for training needs labels")
        position, wanted = next_tokens(batch.labels)
        hidden = self.hidden(batch)[position]
        return Loss(cross_entropy(self.language_model, hidden, wanted), len(wanted))

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states (N, L, D) of the language model, after its final norm."""
        embeddings = self.embed(batch).to(self.language_model.dtype)
        decoder = self.language_model.get_decoder()
        if not self.packed:
            return decoder(
                inputs_embeds=embeddings, attention_mask=batch.mask, use_cache=False
            ).last_hidden_state
        varlen = self.language_model.config._attn_implementation.startswith("flash")
        layout = packed_layout(embeddings.detach(), batch.mask, share=not varlen)
        states = decoder(
            inputs_embeds=embeddings[layout.rows, layout.columns][None],
            attention_mask=None if varlen else layout.visible()[None, None],
            position_ids=layout.columns[None],
            use_cache=False,
        ).last_hidden_state
        return states[0][layout.nodes]

    @torch.inference_mode()
    def generate(self, batch: Batch, **options: object) -> list[list[int]]:
        """New token ids of each prompt; greedy unless ``options`` say otherwise.

        Of the base model's own generation settings only the end and padding tokens are used.

        Args:
            batch: Prompts padded at the left.
            options: Of transformers' ``generate``, such as ``max_new_tokens``.
        """
        from transformers import GenerationConfig

        own = self.language_model.generation_config
        settings = {
            "do_sample": False,
            "eos_token_id": own.eos_token_id,
            "pad_token_id": own.pad_token_id or 0,
            "repetition_penalty": 1.0,
            "no_repeat_ngram_size": 0,
        } | options
        made = self.language_model.generate(
            inputs_embeds=self.embed(batch).to(self.language_model.dtype),
            attention_mask=batch.mask,
            generation_config=GenerationConfig(**settings),
        )
        ends = settings["eos_token_id"]
        stops = {*ends} if isinstance(ends, list | tuple) else {ends}
        return [_until(row.tolist(), stops) for row in made]


class Layout(NamedTuple):
    """Prompts in one row without padding, where equal beginnings may stand once."""

    nodes: Tensor
    """(N, L) place in the row of each prompt's token; 0 where there is none."""
    lengths: list[int]
    """Tokens of each prompt."""
    rows: Tensor
    """(S,) prompt that each place is taken from."""
    columns: Tensor
    """(S,) position in that prompt."""

    def visible(self) -> Tensor:
        """(S, S) True where a place sees another: itself and what stands before it in a prompt."""
        size = len(self.rows)
        seen = torch.zeros(size, size, dtype=torch.bool, device=self.rows.device)
        for path, length in zip(self.nodes, self.lengths, strict=True):
            own = path[:length]
            seen[own[:, None], own] = torch.ones(
                length, length, dtype=torch.bool, device=own.device
            ).tril()
        return seen


def packed_layout(embeddings: Tensor, mask: Tensor, *, share: bool) -> Layout:
    """How padded prompts stand in one row.

    Args:
        embeddings: (N, L, D) of the prompts, padded at the right.
        mask: (N, L), 1 where there is a token.
        share: Let a prompt begin with the places of the one before it as far as both are equal.
            Every token sees the same tokens at the same positions as alone, so nothing changes.
    """
    lengths = mask.sum(1).tolist()
    shared = [0] * len(lengths)
    if share and len(lengths) > 1:
        equal = (embeddings[1:] == embeddings[:-1]).all(-1) & (mask[1:] * mask[:-1]).bool()
        shared[1:] = equal.long().cumprod(1).sum(1).tolist()
    nodes = torch.zeros_like(mask)
    rows, columns, size = [], [], 0
    for n, (length, common) in enumerate(zip(lengths, shared, strict=True)):
        if common:
            nodes[n, :common] = nodes[n - 1, :common]
        new = length - common
        nodes[n, common:length] = torch.arange(size, size + new, device=mask.device)
        rows.append(mask.new_full((new,), n))
        columns.append(torch.arange(common, length, device=mask.device))
        size += new
    return Layout(nodes, lengths, torch.cat(rows), torch.cat(columns))


def mean_embedding(language_model: PreTrainedModel, vocabulary: int) -> Tensor:
    """Mean of the base model's word embeddings, (D,): the start of new tokens."""
    weight = language_model.get_input_embeddings().weight
    return weight[: min(vocabulary, len(weight))].detach().float().mean(0).to(weight.dtype)


def next_tokens(labels: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Positions (rows, columns) whose next token is supervised, and these tokens."""
    rows, columns = (labels[:, 1:] != IGNORE).nonzero(as_tuple=True)
    return (rows, columns), labels[rows, columns + 1]


def cross_entropy(language_model: PreTrainedModel, hidden: Tensor, wanted: Tensor) -> Tensor:
    """Summed cross entropy of hidden states (P, D) against token ids (P,), in float32 or more.

    The output layer runs over a part of the positions at a time and again in the backward pass, so
    that memory does not grow with positions times vocabulary.
    """
    total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    for begin in range(0, len(wanted), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        total = total + checkpoint(
            _part_loss, language_model, hidden[part], wanted[part], use_reentrant=False
        )
    return total


def _part_loss(language_model: PreTrainedModel, hidden: Tensor, wanted: Tensor) -> Tensor:
    logits = language_model.get_output_embeddings()(hidden)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise, wanted, reduction="sum")


def check_language_model(language_model: PreTrainedModel, name: str) -> None:
    """Refuse base models whose logits are more than the output layer's.

    Raises:
        ConfigError: The configuration scales or caps logits.
    """
    special = [key for key in _SCALED if getattr(language_model.config, key, None) not in (None, 1)]
    if special:
        raise ConfigError(
            f"{name}: its logits are changed after the output layer ({', '.join(special)}), which "
            "training here does not do; choose another base model"
        )


def check_packing(language_model: PreTrainedModel, name: str) -> None:
    """Refuse to pack prompts for base models whose layers do not see all of a prompt.

    Raises:
        ConfigError: Layers with a window.
    """
    config = language_model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or []
    if any(kind in _SLIDING for kind in kinds) or getattr(config, "sliding_window", None):
        raise ConfigError(f"{name}: has layers that see a window alone; leave packed out")


def _project(projectors: Projectors, which: int, features: Features) -> Features:
    """Projected tokens; clips of one length go through the layer together."""
    if features is None:
        return None
    given = [None, None]
    dtype = next(projectors.parameters()).dtype
    if isinstance(features, Tensor):
        given[which] = features.to(dtype)
        return projectors(*given)[which]
    present = [rows for rows in features if rows is not None]
    if not present:
        return None
    given[which] = torch.cat(present).to(dtype)
    parts = iter(projectors(*given)[which].split([len(rows) for rows in present]))
    return [None if rows is None else next(parts) for rows in features]


def _project_nothing(projectors: Projectors, which: int) -> Tensor:
    """A zero that hangs on the projector of a modality that no prompt of a batch has."""
    config = projectors.config
    channels = (config.video_channels, config.skeleton_channels)[which]
    if channels is None:
        return torch.zeros(())
    given: list[Tensor | None] = [None, None]
    given[which] = next(projectors.parameters()).new_zeros(0, channels)
    projected = projectors(*given)[which]
    assert projected is not None
    return projected.sum()


def _until(ids: list[int], stops: set[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in stops:
            return ids[:position]
    return ids
