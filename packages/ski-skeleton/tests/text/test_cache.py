from __future__ import annotations

import torch

from ski_skeleton.text.cache import KEPT, RecentTexts


def test_the_oldest_goes():
    cache = RecentTexts()
    for number in range(KEPT + 2):
        cache[(str(number),)] = torch.tensor(number)
    assert len(cache) == KEPT
    assert ("1",) not in cache
    assert cache["2",] == 2
    cache["2",] = torch.tensor(5)
    assert len(cache) == KEPT
    assert cache["2",] == 5
