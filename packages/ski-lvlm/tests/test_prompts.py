from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from ski_lvlm.errors import PromptError, TokenError
from ski_lvlm.prompts import (
    IGNORE,
    Encoded,
    Message,
    add_modality_tokens,
    collate,
    encode,
    question_with_placeholders,
    render,
)
from ski_lvlm.tokens import ADDED_TOKENS

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(golden_folder):
    made = PreTrainedTokenizerFast.from_pretrained(golden_folder / "tiny_tokenizer")
    add_modality_tokens(made)
    return made


@pytest.fixture(scope="module")
def chat(golden_folder):
    made = PreTrainedTokenizerFast.from_pretrained(golden_folder / "tiny_tokenizer")
    add_modality_tokens(made)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = CHATML
    return made


def said(*texts):
    return [Message("gpt" if n % 2 else "human", text) for n, text in enumerate(texts)]


def supervised(tokenizer, encoded):
    return tokenizer.decode([label for label in encoded.labels if label != IGNORE])


TEXTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="<>\ue000\ue001"),
    min_size=1,
    max_size=30,
).filter(str.strip)


@given(answers=st.lists(TEXTS, min_size=1, max_size=3), question=TEXTS)
def test_labels_are_the_answers_and_their_ends(tokenizer, answers, question):
    turns = [text for answer in answers for text in (question, answer)]
    rendered = render(said(*turns), tokenizer)
    encoded = encode(rendered, tokenizer)
    wanted = "".join(rendered.text[a:b] for a, b in rendered.answers)
    assert wanted == "".join(f" {answer}</s>" for answer in answers)
    assert encoded.labels.count(tokenizer.eos_token_id) == len(answers)
    for answer in answers:
        alone = encode(render(said(question, answer), tokenizer), tokenizer)
        assert answer.split()[0][:1] in supervised(tokenizer, alone)
    assert sum(label != IGNORE for label in encoded.labels) == encoded.supervised


def test_question_asks_for_the_answer(tokenizer):
    rendered = render(said("Who?", "A man.", "Where?"), tokenizer)
    assert rendered.text.endswith("USER: Where? ASSISTANT:")
    assert len(rendered.answers) == 1


def test_chat_template_of_the_tokenizer(chat):
    rendered = render(
        said("<video>\nyes?", "yes", "yes?", "yes"),
        chat,
        template="chat",
        system="Be brief.",
        video_tokens=2,
    )
    assert rendered.text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert [rendered.text[a:b] for a, b in rendered.answers] == ["yes<|im_end|>"] * 2
    ids = encode(rendered, chat).ids
    assert ids.count(chat.bos_token_id) == 0
    assert ids.count(chat.convert_tokens_to_ids("<vid_patch>")) == 2
    asked = render(said("yes?"), chat, template="chat")
    assert asked.text.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}", "repeats"),
        ("{% for m in messages %}{{ m['content'] | upper + '</s>' }}{% endfor %}", "changes"),
        ("{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}", "no special token"),
        (None, "no chat template"),
    ],
)
def test_chat_templates_that_cannot_be_used(chat, template, word):
    before, chat.chat_template = chat.chat_template, template
    try:
        with pytest.raises(PromptError, match=word):
            render(said("What?", "That."), chat, template="chat")
    finally:
        chat.chat_template = before


def test_cut_prompts_say_so(tokenizer):
    rendered = render(said("What?", "A person drinks."), tokenizer)
    whole = encode(rendered, tokenizer)
    assert not whole.cut
    short = encode(rendered, tokenizer, max_length=len(whole.ids) - 3)
    assert short.cut
    assert short.supervised == whole.supervised - 3
    assert encode(rendered, tokenizer, max_length=5).supervised == 0


@pytest.mark.parametrize(
    ("messages", "word"),
    [
        ([], "needs a question"),
        (said("a", "b")[1:], "needs a question"),
        ([Message("human", "a"), Message("human", "b")], "speak in turn"),
        (said("a", "  "), "message 2 from gpt is empty"),
        (said("<video> a", "b", "<video> c"), "stands in 2 questions"),
        (said("a", "<video>", "c"), "stands in 0 questions"),
    ],
)
def test_conversations_that_cannot_be_used(tokenizer, messages, word):
    with pytest.raises(PromptError, match=word):
        render(messages, tokenizer, video_tokens=2)


def test_other_refusals(tokenizer, golden_folder):
    with pytest.raises(PromptError, match="unknown template"):
        render(said("a"), tokenizer, template="alpaca")
    with pytest.raises(TokenError, match="stands 2 times"):
        render(said("<video><video>"), tokenizer, video_tokens=1)
    partly = PreTrainedTokenizerFast.from_pretrained(golden_folder / "tiny_tokenizer")
    partly.add_tokens(["<vid_patch>"])
    with pytest.raises(PromptError, match="all of"):
        add_modality_tokens(partly)


def test_tokens_are_added_once(tokenizer):
    before = len(tokenizer)
    assert add_modality_tokens(tokenizer) == before - len(ADDED_TOKENS)
    assert len(tokenizer) == before


def test_padding_masks_by_length():
    rows = [Encoded([5, 0, 7], [IGNORE, 0, 7], False), Encoded([4], [4], False)]
    ids, labels, mask = collate(rows, pad=0)
    assert ids.tolist() == [[5, 0, 7], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert labels.tolist() == [[IGNORE, 0, 7], [4, IGNORE, IGNORE]]
    ids, labels, mask = collate(rows, pad=9, left=True)
    assert ids.tolist() == [[5, 0, 7], [9, 9, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert ids.dtype == labels.dtype == mask.dtype == torch.int64


def test_places_of_features():
    assert question_with_placeholders("Q", video=True, skeleton=True) == "Q\n<video><pose>"
    assert question_with_placeholders("Q", video=False, skeleton=True, first=True) == "<pose>\nQ"
    assert question_with_placeholders("Q", video=False, skeleton=False) == "Q"
