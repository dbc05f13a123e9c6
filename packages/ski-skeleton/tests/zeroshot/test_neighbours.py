from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.neighbours import NeighbourConfig, mixing_matrix
from ski_skeleton.zeroshot.texts import ClassTexts


def vectors(count, seed=0, width=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, dtype=torch.float64, generator=generator)


@given(st.integers(2, 9), st.integers(0, 50), st.data())
def test_every_text_gets_its_nearest_by_cosine(count, seed, data):
    k = data.draw(st.integers(1, count - 1))
    t = vectors(count, seed).numpy()
    expected = t.copy()
    for i in range(count):
        cosine = {
            j: t[i] @ t[j] / np.linalg.norm(t[i]) / np.linalg.norm(t[j])
            for j in range(count)
            if j != i
        }
        for j in sorted(cosine, key=cosine.get, reverse=True)[:k]:
            expected[i] += 0.4 / k * cosine[j] * t[j]
    found = mixing_matrix(torch.from_numpy(t), NeighbourConfig(k=k)).numpy() @ t
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(st.permutations(range(6)), st.integers(0, 20))
def test_the_order_of_classes_does_not_matter(order, seed):
    texts = ClassTexts(vectors(6, seed), parts=vectors(12, seed).reshape(6, 2, 5))
    one = texts.subset(order).attuned(NeighbourConfig())
    other = texts.attuned(NeighbourConfig()).subset(order)
    torch.testing.assert_close(one.names, other.names)
    torch.testing.assert_close(one.parts, other.parts)


def test_all_vectors_lean_as_the_names_tell():
    names = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.1]])
    nouns, tokens = torch.eye(3), torch.arange(9.0).reshape(3, 3, 1)
    whole = ClassTexts(names, nouns, nouns, None, tokens, torch.tensor([1, 3, 2]))
    found = whole.attuned(NeighbourConfig(k=1, mix=0.5))
    torch.testing.assert_close(found.names[0], names[0] + 0.5 * 0.8 * names[1])
    torch.testing.assert_close(found.nouns[0], torch.tensor([1.0, 0.4, 0.0]))
    torch.testing.assert_close(found.tokens[0], tokens[0] + 0.4 * tokens[1])
    assert found.lengths.tolist() == [3, 3, 3]  # the third leans towards the second
    assert found.parts is None
    assert whole.attuned(None) is whole


def test_classes_that_are_not_known_have_no_say():
    texts = ClassTexts(vectors(8))
    changed = ClassTexts(torch.cat([texts.names[:5], -texts.names[5:]]))
    config, known = NeighbourConfig(), [0, 1, 2, 3, 4]
    found = texts.subset(known).attuned(config).names
    assert torch.equal(found, changed.subset(known).attuned(config).names)
    assert not torch.allclose(found, texts.attuned(config).names[:5])


def test_too_few_classes():
    with pytest.raises(InputError, match=r"below 2"):
        mixing_matrix(vectors(2), NeighbourConfig(k=2))


@pytest.mark.parametrize("wrong", [{"k": 0}, {"mix": 0.0}, {"mix": 1.5}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="neighbours: "):
        NeighbourConfig(**wrong)
