from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval import caption_tokens

GOLDEN = json.loads((Path(__file__).parent / "golden" / "captions.json").read_text("utf-8"))
TEXTS = {
    **GOLDEN["texts"],
    **{
        text: tokens
        for case in GOLDEN["sets"].values()
        for name, found in case["tokens"].items()
        for text, tokens in zip(
            [case["predictions"][name], *case["references"][name]], found, strict=True
        )
    },
}


@pytest.mark.parametrize("text", TEXTS)
def test_same_tokens_as_the_published_tokenizer(text):
    assert " ".join(caption_tokens(text)) == TEXTS[text]


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_gives_clean_tokens(text):
    for token in caption_tokens(text):
        assert token
        assert token == token.lower()
        assert not any(c.isspace() for c in token)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["the", "person", "opens", "a", "red", "door", "and", "waits"]), max_size=20
    )
)
def test_plain_words_are_kept_in_order(words):
    assert list(caption_tokens(" ".join(words).capitalize())) == words


def test_known_differences_stay_known():
    # The published tokenizer gives ":-rrb-" and "v1 .2" here.
    assert caption_tokens(":)") == ("-rrb-",)
    assert caption_tokens("v1.2") != ("v1.2",)
