"""Where video and skeleton enter a prompt: added tokens, placeholders, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ski_lvlm.errors import TokenError

ADDED_TOKENS = (
    "<vid_patch>",
    "<object_patch>",
    "<pose_patch>",
    "<vid_start>",
    "<vid_end>",
    "<object_start>",
    "<object_end>",
    "<pose_start>",
    "<pose_end>",
)
"""Tokens that published models add to the vocabulary, in the order of their ids.

The object tokens keep their ids although nothing here uses them.
"""

BOUNDARY_TOKENS = ADDED_TOKENS[3:]
"""The start and end tokens: the only word embeddings that training changes."""

VIDEO_PLACEHOLDER, SKELETON_PLACEHOLDER = "<video>", "<pose>"


@dataclass(frozen=True)
class TokenStyle:
    """How the tokens of a modality stand in a prompt."""

    framed: bool = True
    """Between a start and an end token; without, two modalities are told apart by their ids."""
    named: bool = False
    """Behind the words `` video: `` and `` pose: ``."""


@dataclass(frozen=True)
class Span:
    """Token ids that frame the features of one modality."""

    name: str
    patch: int
    start: int
    end: int


def added_token_ids(vocabulary: int) -> dict[str, int]:
    """Ids of the added tokens behind a vocabulary of that many tokens (32003 in the paper)."""
    return {token: vocabulary + i for i, token in enumerate(ADDED_TOKENS)}


def spans(vocabulary: int) -> tuple[Span, Span]:
    """Ids that frame video and skeleton features, for :func:`splice`."""
    ids = added_token_ids(vocabulary)
    return tuple(  # type: ignore[return-value]
        Span(name, ids[f"<{word}_patch>"], ids[f"<{word}_start>"], ids[f"<{word}_end>"])
        for name, word in (("video", "vid"), ("skeleton", "pose"))
    )


def expand_placeholders(
    text: str,
    video_tokens: int = 0,
    skeleton_tokens: int = 0,
    style: TokenStyle = TokenStyle(),  # noqa: B008 - frozen
) -> str:
    """``text`` with ``<video>`` and ``<pose>`` replaced by start, patch and end tokens.

    A count of 0 removes the placeholder: the modality is absent.

    Raises:
        TokenError: a negative count, a placeholder that stands twice, or one that is missing
            although tokens are asked for.
    """
    for placeholder, word, count in (
        (VIDEO_PLACEHOLDER, "vid", video_tokens),
        (SKELETON_PLACEHOLDER, "pose", skeleton_tokens),
    ):
        found = text.count(placeholder)
        if count < 0:
            raise TokenError(f"{placeholder}: {count} tokens asked for; wanted 0 or more")
        if found > 1 or (count and not found):
            raise TokenError(
                f"{placeholder} stands {found} times in {text!r}; it must stand once where there "
                "are features, and at most once otherwise"
            )
        run = f"<{word}_patch>" * count
        if style.framed:
            run = f"<{word}_start>{run}<{word}_end>"
        if style.named:
            run = f" {'video' if word == 'vid' else word}: {run}"
        text = text.replace(placeholder, run if count else "")
    return text


def with_boundary_rows(embeddings: Tensor, ids: Tensor, rows: Tensor, vocabulary: int) -> Tensor:
    """``embeddings`` whose start and end tokens come from a small trainable table.

    Training changes the embeddings of these six tokens only; six rows give the same update as
    the whole matrix.

    Args:
        embeddings: (N, L, D) word embeddings.
        ids: (N, L) their token ids.
        rows: (6, D) embeddings of :data:`BOUNDARY_TOKENS`, in that order.
        vocabulary: number of tokens before the added ones.
    """
    first = vocabulary + ADDED_TOKENS.index(BOUNDARY_TOKENS[0])
    place = ids.long() - first
    inside = (place >= 0) & (place < len(BOUNDARY_TOKENS))
    chosen = rows[place.clamp(0, len(BOUNDARY_TOKENS) - 1)].to(embeddings.dtype)
    return torch.where(inside[..., None], chosen, embeddings)


def splice(
    embeddings: Tensor,
    ids: Tensor,
    features: Sequence[Tensor | Sequence[Tensor | None] | None],
    vocabulary: int,
) -> Tensor:
    """Word embeddings with the patch positions replaced by projected features.

    Start and end tokens and all text keep their embeddings, and the length stays. Modalities may
    stand in any order, and each clip may have or lack each of them.

    Args:
        embeddings: (N, L, D) word embeddings of the prompts.
        ids: (N, L) their token ids.
        features: video, then skeleton: each (N, L_modality, D), or per prompt (L_modality, D) or
            None, or None for no prompt.
        vocabulary: number of tokens before the added ones.

    Returns:
        (N, L, D); gradients flow to embeddings and features.

    Raises:
        TokenError: features without exactly one span of as many patch tokens, patch tokens
            without features, or shapes that do not fit.
    """
    if embeddings.ndim != 3 or ids.shape != embeddings.shape[:2]:
        raise TokenError(
            f"embeddings {tuple(embeddings.shape)} and ids {tuple(ids.shape)}; wanted (N, L, D) "
            "and (N, L)"
        )
    result = embeddings.clone()
    for span, given in zip(spans(vocabulary), features, strict=True):
        per_prompt = [None] * len(ids) if given is None else list(given)
        if len(per_prompt) != len(ids):
            raise TokenError(f"{span.name}: features of {len(per_prompt)} for {len(ids)} prompts")
        for n, rows in enumerate(per_prompt):
            begin, end = find_span(ids[n], span, f"prompt {n}")
            length = 0 if rows is None else len(rows)
            if end - begin != length:
                raise TokenError(
                    f"prompt {n}: {end - begin} {span.name} patch tokens for {length} feature rows"
                )
            if rows is not None:
                if rows.shape[1:] != embeddings.shape[2:]:
                    raise TokenError(
                        f"prompt {n}: {span.name} features {tuple(rows.shape)}; the embeddings "
                        f"are {embeddings.shape[2]} wide"
                    )
                result[n, begin:end] = rows.to(result.dtype)
    return result


def find_span(ids: Tensor, span: Span, where: str) -> tuple[int, int]:
    """First and one past the last patch position of a modality in one prompt; (0, 0) if absent.

    Start and end tokens must both stand around the patch tokens, or neither anywhere.

    Raises:
        TokenError: more than one span, a gap in it, or start and end that do not frame it.
    """
    starts, ends, patches = (
        (ids == token).nonzero().flatten().tolist() for token in (span.start, span.end, span.patch)
    )
    if not starts and not ends and not patches:
        return 0, 0
    if not starts and not ends and patches == list(range(patches[0], patches[0] + len(patches))):
        return patches[0], patches[-1] + 1
    framed = len(starts) == len(ends) == 1
    if not framed or patches != list(range(starts[0] + 1, ends[0])):
        raise TokenError(
            f"{where}: {len(starts)} {span.name} start, {len(patches)} patch and {len(ends)} end "
            "tokens; wanted one start, patch tokens without a gap, one end (was the prompt cut?)"
        )
    return starts[0] + 1, ends[0]
