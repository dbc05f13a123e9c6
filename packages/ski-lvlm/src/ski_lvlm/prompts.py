"""Conversations as prompts: templates, token ids, and the labels of what the model shall say.

Labels come from the places of the answers in the prompt's characters, which a fast tokenizer maps
to its tokens. Nothing is tokenised twice and no token is counted by hand, so it makes no difference
how a tokenizer treats white space, special tokens or characters of several bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from ski_lvlm.errors import PromptError
from ski_lvlm.tokens import (
    ADDED_TOKENS,
    SKELETON_PLACEHOLDER,
    VIDEO_PLACEHOLDER,
    TokenStyle,
    expand_placeholders,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORE = -100
"""Label of a token that is not supervised."""

SYSTEMS = {
    "vicuna_v1_1": (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions."
    ),
    "skilvlm_v1": (
        "You are skilvlm, a large vision-language assistant. You are able to understand the video "
        "content that the user provides, and assist the user with a variety of tasks using natural "
        "language.Follow the instructions carefully and explain your answers in detail based on "
        "the provided video."
    ),
}
"""System texts of the published templates: training, and inference as released."""

TemplateName = Literal["vicuna_v1_1", "skilvlm_v1", "chat"]
"""A published template, or ``chat`` for the one that the tokenizer brings."""


class Message(NamedTuple):
    """What one side says."""

    speaker: Literal["human", "gpt"]
    text: str


class Rendered(NamedTuple):
    """A prompt, and where the model's answers stand in it (character spans, end tokens inside)."""

    text: str
    answers: tuple[tuple[int, int], ...]
    has_special: bool
    """The text holds the first special token already."""


class Encoded(NamedTuple):
    """Token ids of a prompt and a label for each: the id where supervised, else ``IGNORE``."""

    ids: list[int]
    labels: list[int]
    cut: bool
    """Tokens were left out at the end to keep the length."""

    @property
    def supervised(self) -> int:
        """Number of supervised tokens."""
        return sum(label != IGNORE for label in self.labels)


def add_modality_tokens(tokenizer: PreTrainedTokenizerFast) -> int:
    """Give a tokenizer the nine added tokens; the number of tokens before them is returned.

    White space around them is swallowed, as the tokenizers of the published models do. A tokenizer
    that has them already is left as it is.

    Raises:
        PromptError: A slow tokenizer, or one that has some of the tokens, or has them elsewhere.
    """
    from transformers import AddedToken

    if not tokenizer.is_fast:
        raise PromptError(
            f"{type(tokenizer).__name__}: a slow tokenizer does not tell where its tokens stand; "
            "use the fast one of the model (tokenizer.json)"
        )
    present = set(ADDED_TOKENS) & set(tokenizer.get_vocab())
    if not present:
        first = len(tokenizer)
        tokenizer.add_tokens(
            [
                AddedToken(token, special=True, normalized=False, lstrip=True, rstrip=True)
                for token in ADDED_TOKENS
            ]
        )
    else:
        first = tokenizer.convert_tokens_to_ids(ADDED_TOKENS[0])
    ids = tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS))
    if (present and len(present) < len(ADDED_TOKENS)) or ids != [*range(first, first + len(ids))]:
        raise PromptError(
            f"the tokenizer knows {sorted(present)}, with ids {ids}; it must know all of "
            f"{', '.join(ADDED_TOKENS)}, one after the other, or none: use that of the base model"
        )
    return first


def question_with_placeholders(
    question: str, *, video: bool, skeleton: bool, first: bool = False
) -> str:
    """A question with the places of the features in a line of their own, behind it or first.

    The published training pairs alternate between the two.
    """
    places = VIDEO_PLACEHOLDER * video + SKELETON_PLACEHOLDER * skeleton
    if not places:
        return question
    return f"{places}\n{question}" if first else f"{question}\n{places}"


def render(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerFast,
    *,
    template: TemplateName = "vicuna_v1_1",
    system: str | None = None,
    video_tokens: int = 0,
    skeleton_tokens: int = 0,
    style: TokenStyle = TokenStyle(),  # noqa: B008 - frozen
) -> Rendered:
    """The prompt of a conversation. One that ends with a question asks for the answer.

    Args:
        messages: From human and gpt in turn; a greeting of gpt at the start is left out.
        tokenizer: Names the end token, and brings the template ``chat``.
        template: Which template.
        system: Another system text than the template's.
        video_tokens: Patch tokens for ``<video>``, which must stand in exactly one question; with
            0 the placeholder is removed.
        skeleton_tokens: The same for ``<pose>``.
        style: How the tokens of a modality stand in the prompt.

    Raises:
        PromptError: Speakers out of turn, an empty text, a missing or repeated placeholder, an
            unknown template, or one that does not keep what is said.
    """
    turns = list(messages)
    if turns and turns[0].speaker == "gpt":
        turns = turns[1:]
    _check_turns(turns)
    turns = _expand(turns, video_tokens, skeleton_tokens, style)
    if template == "chat":
        return _chat(turns, tokenizer, system)
    if template not in SYSTEMS:
        raise PromptError(f"unknown template {template!r}; known: {', '.join([*SYSTEMS, 'chat'])}")
    end = tokenizer.eos_token
    text = (SYSTEMS[template] if system is None else system) + " "
    answers = []
    for turn in turns:
        if turn.speaker == "human":
            text += f"USER: {turn.text} ASSISTANT:"
        else:
            start = len(text)  # the space is the answer's: a question ends at the colon
            text += f" {turn.text}{end}"
            answers.append((start, len(text)))
    return Rendered(text, tuple(answers), has_special=False)


def encode(
    rendered: Rendered, tokenizer: PreTrainedTokenizerFast, *, max_length: int | None = None
) -> Encoded:
    """Token ids and labels of a prompt; what is beyond ``max_length`` tokens is cut off."""
    found = tokenizer(
        rendered.text,
        add_special_tokens=not rendered.has_special,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    ids: list[int] = found["input_ids"]
    labels = [IGNORE] * len(ids)
    spans = iter(rendered.answers)
    span = next(spans, None)
    for position, (start, end) in enumerate(found["offset_mapping"]):
        while span is not None and start >= span[1]:
            span = next(spans, None)
        if span is not None and start < end and end > span[0]:
            labels[position] = ids[position]
    length = len(ids) if max_length is None else max_length
    return Encoded(ids[:length], labels[:length], cut=len(ids) > length)


def collate(
    rows: Sequence[Encoded], pad: int, *, left: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels and attention mask, each int64 (N, L), padded to the longest prompt.

    The mask comes from the lengths, so that a prompt may hold the padding token.

    Args:
        rows: The prompts.
        pad: Token that fills the ends.
        left: Pad at the start, for generation.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), IGNORE)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for n, row in enumerate(rows):
        at = slice(longest - len(row.ids), longest) if left else slice(0, len(row.ids))
        ids[n, at] = torch.tensor(row.ids)
        labels[n, at] = torch.tensor(row.labels)
        mask[n, at] = 1
    return ids, labels, mask


def _check_turns(turns: Sequence[Message]) -> None:
    if not turns:
        raise PromptError("a conversation needs a question")
    for number, turn in enumerate(turns):
        due = "gpt" if number % 2 else "human"
        if turn.speaker != due:
            raise PromptError(
                f"message {number + 1} is from {turn.speaker!r}; human and gpt speak in turn, "
                "human first"
            )
        if not turn.text.strip():
            raise PromptError(f"message {number + 1} from {turn.speaker} is empty")


def _expand(
    turns: Sequence[Message], video: int, skeleton: int, style: TokenStyle
) -> list[Message]:
    """The turns with tokens for placeholders, which may stand in one question of them."""
    asked = [number for number, turn in enumerate(turns) if turn.speaker == "human"]
    counts = dict.fromkeys(asked, (0, 0))
    for index, (placeholder, tokens) in enumerate(
        ((VIDEO_PLACEHOLDER, video), (SKELETON_PLACEHOLDER, skeleton))
    ):
        places = [number for number in asked if placeholder in turns[number].text]
        if len(places) > 1 or (tokens and not places):
            raise PromptError(
                f"{placeholder} stands in {len(places)} questions of the conversation; it must "
                "stand in one where there are features, and in at most one otherwise"
            )
        for number in places:
            pair = list(counts[number])
            pair[index] = tokens
            counts[number] = tuple(pair)  # type: ignore[assignment]
    return [
        turn._replace(text=expand_placeholders(turn.text, *counts[number], style))
        if number in counts
        else turn
        for number, turn in enumerate(turns)
    ]


def _chat(
    turns: Sequence[Message], tokenizer: PreTrainedTokenizerFast, system: str | None
) -> Rendered:
    """The tokenizer's own template; answers are found by rendering marks in their place."""
    if not tokenizer.chat_template:
        raise PromptError("this tokenizer brings no chat template; use vicuna_v1_1")
    roles = {"human": "user", "gpt": "assistant"}
    head = [] if system is None else [{"role": "system", "content": system}]
    said = [turn.text.strip() for turn in turns]
    marks = [f"\ue000{number}\ue001" for number in range(len(turns))]

    def fill(texts: Sequence[str]) -> str:
        return tokenizer.apply_chat_template(
            head
            + [
                {"role": roles[turn.speaker], "content": text}
                for turn, text in zip(turns, texts, strict=True)
            ],
            tokenize=False,
            add_generation_prompt=turns[-1].speaker == "human",
        )

    pieces, rest = [], fill(marks)
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise PromptError("the tokenizer's chat template repeats or leaves out messages")
        pieces.append(before)
    pieces.append(rest)
    text = pieces[0]
    answers = []
    for turn, content, after in zip(turns, said, pieces[1:], strict=True):
        start = len(text)
        text += content
        if turn.speaker == "gpt":
            answers.append((start, len(text) + _end_token(after, tokenizer)))
        text += after
    if text != fill(said):
        raise PromptError("the tokenizer's chat template changes what is said; use vicuna_v1_1")
    return Rendered(text, tuple(answers), has_special=True)


def _end_token(after: str, tokenizer: PreTrainedTokenizerFast) -> int:
    """Length of the special token that ends an answer."""
    ends = [token for token in tokenizer.all_special_tokens if after.startswith(token)]
    if not ends:
        raise PromptError(
            "the tokenizer's chat template puts no special token behind an answer, so a model "
            "could not learn to stop; use vicuna_v1_1"
        )
    return max(map(len, ends))
