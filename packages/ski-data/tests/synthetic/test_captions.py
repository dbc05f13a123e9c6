"""Captions are true, of seen words, and never name an unseen class."""

import numpy as np
import pytest

from ski_data.synthetic.body import random_body
from ski_data.synthetic.captions import frame_captions, names_unseen, phrases, vocabulary, words
from ski_data.synthetic.classes import SEEN, UNSEEN
from ski_data.synthetic.motions import perform, random_style


def said(action, seed, frames=24):
    rng = np.random.default_rng(seed)
    body, style = random_body(rng), random_style(rng)
    clip = perform(action, body, style, frames, rng)
    return [
        frame_captions(action, clip, frame, body.height, 6, rng) for frame in range(0, frames, 3)
    ]


def captions(action, seed, frames=24):
    return [caption for texts, _ in said(action, seed, frames) for caption in texts]


@pytest.mark.parametrize("action", SEEN, ids=lambda action: action.name)
def test_only_seen_words_and_no_unseen_name(action):
    texts = [caption for seed in range(4) for caption in captions(action, seed)]
    texts += [phrase for seed in range(4) for _, true in said(action, seed) for phrase in true]
    assert action.name in texts
    assert len(set(texts)) >= 5
    for text in texts:
        assert set(words(text)) <= vocabulary()
        plain = " ".join(words(text))
        assert not any(unseen.name in plain for unseen in UNSEEN)


@pytest.mark.parametrize("action", SEEN, ids=lambda action: action.name)
def test_captions_join_phrases_that_are_true(action):
    for texts, true in said(action, 1):
        assert len(set(texts)) == len(texts)
        for text in texts:
            assert set(phrases(text)) <= set(true)


def test_unseen_names_are_found_across_punctuation():
    assert names_unseen("both, Raise left hand")
    assert names_unseen("raise, left hand")
    assert not names_unseen("raise and left hand up")


def test_sides_are_told_apart():
    lifted = next(action for action in SEEN if action.name == "raise right hand")
    texts = captions(lifted, 0, 40)
    assert "with right hand" in texts
    assert any("right hand up" in text for text in texts)
    assert any("left hand down" in text for text in texts)
    assert not any("left hand up" in text or "both hands up" in text for text in texts)
