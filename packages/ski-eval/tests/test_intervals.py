from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ski_eval import InputError, Interval, seeds_summary
from ski_eval.intervals import t_quantile


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 29, 100])
def test_t_quantile(level, freedom):
    assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom))


def test_seeds_summary():
    values = [0.70, 0.74, 0.78]
    found = seeds_summary(values)
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.mean, found.sd, found.n) == (pytest.approx(0.74), pytest.approx(0.04), 3)
    assert (found.interval.low, found.interval.high) == pytest.approx(expected)
    cut = seeds_summary([0.9, 1.0, 0.6]).share_interval
    assert cut.low > 0.0
    assert cut.high == 1.0
    single = seeds_summary([0.7])
    assert single.share_interval is None
    assert (single.mean, single.sd, single.interval) == (0.7, None, None)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: seeds_summary(["a"]), "numbers"),
        (lambda: t_quantile(0.95, 0), "1 or more"),
        (lambda: Interval(0.5, 0.4, 0.95, "x"), "low <= high"),
        (lambda: Interval(0.5, float("nan"), 0.95, "x"), "finite"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(InputError, match=text):
        call()
