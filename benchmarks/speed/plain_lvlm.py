"""Projector training and captioning as published code does it: what their speed is compared with.

In training the language model keeps float32 weights that autocast turns to bfloat16 in every step,
recomputes its activations in the backward pass, and attends by a softmax that stands alone. The
whole word embedding trains, of which text takes no gradient; logits are computed at all positions,
padding included. Clips are captioned one by one, with weights in bfloat16.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_lvlm.model import Batch, SkiLvlm
from ski_lvlm.prompts import IGNORE
from ski_lvlm.tokens import BOUNDARY_TOKENS, added_token_ids, find_span, spans


class PlainLvlm(nn.Module):
    """The same model with weights of its own.

    Args:
        model: Whose weights are copied, in float32.
        checkpointing: Recompute activations, as published.
    """

    def __init__(self, model: SkiLvlm, *, checkpointing: bool = True) -> None:
        super().__init__()
        self.vocabulary = model.vocabulary
        self.language_model = copy.deepcopy(model.language_model).float()
        self.language_model.requires_grad_(False)
        self.language_model.set_attn_implementation("eager")
        if checkpointing:
            self.language_model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )
        self.projectors = copy.deepcopy(model.projectors).float()
        words = self.language_model.get_input_embeddings().weight.detach()
        added = added_token_ids(self.vocabulary)
        rows = words.mean(0).repeat(len(added), 1)
        assert self.projectors.boundary is not None
        rows[-len(BOUNDARY_TOKENS) :] = self.projectors.boundary.detach()
        self.projectors.boundary = None
        self.table = nn.Parameter(torch.cat([words[: self.vocabulary], rows]).clone())

    def embed(self, batch: Batch) -> Tensor:
        """Word embeddings with features in their places, a prompt after the other."""
        words = F.embedding(batch.ids, self.table)
        # Of all tokens only start and end tokens take gradient.
        words = torch.where((batch.ids >= self.vocabulary)[..., None], words, words.detach())
        made = []
        for n, (row, ids) in enumerate(zip(words, batch.ids, strict=True)):
            features = zip(spans(self.vocabulary), (batch.video, batch.skeleton), strict=True)
            for (span, given), project in zip(
                features, (self.projectors.video, self.projectors.skeleton), strict=True
            ):
                begin, end = find_span(ids, span, f"prompt {n}")
                if end == begin or given is None or given[n] is None:
                    continue
                shown = project(given[n].to(self.table.dtype))
                row = torch.cat([row[:begin], shown.to(row.dtype), row[end:]])
            made.append(row)
        return torch.stack(made)

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross entropy of the supervised tokens."""
        assert batch.labels is not None
        logits = self.language_model(
            inputs_embeds=self.embed(batch), attention_mask=batch.mask, use_cache=False
        ).logits.float()
        return F.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORE
        )

    @torch.no_grad()
    def generate(self, prompt: Batch, new_tokens: int) -> list[int]:
        """Greedy tokens of one prompt, with a cache of its own."""
        found = self.language_model.generate(
            inputs_embeds=self.embed(prompt),
            attention_mask=prompt.mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return found[0].tolist()
