from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ski_eval import over_seeds, write_card
from ski_eval.cli import main

VALUES = (0.70, 0.74, 0.78)


@pytest.fixture
def seeded(make_card):
    def make(i: int, value: float, **changes):
        config = {"lr": 1e-3, "recipe": {"seed": i}, "seeds": [i]}
        return make_card(
            **{
                "name": f"run {i}",
                "value": value,
                "interval": None,
                "seeds": (i,),
                "config": config,
                **changes,
            }
        )

    return make


def test_runs_of_several_seeds_become_their_mean(seeded, make_card):
    other = make_card(name="other", method="other")
    cards = [seeded(i, value) for i, value in enumerate(VALUES)]
    found = over_seeds([cards[2], other, cards[0], cards[1]])
    assert found[1:] == [other]
    mean = found[0]
    low, high = stats.t.interval(0.95, 2, np.mean(VALUES), stats.sem(VALUES))
    assert mean.value == pytest.approx(0.74)
    assert (mean.interval.low, mean.interval.high) == pytest.approx((low, high))
    assert mean.interval.method == "Student's t, 3 seeds"
    assert (mean.seeds, mean.wall_time_s) == ((0, 1, 2), 37.5)
    assert "seeds 0, 1, 2; standard deviation 4.0." in mean.notes[0]
    assert mean.notes[1:] == ("made up",)
    assert mean.config == {"lr": 1e-3, "recipe": {}}


def test_shares_stay_within_0_and_1(seeded):
    [mean] = over_seeds([seeded(0, 0.9), seeded(1, 1.0)])
    assert (mean.interval.low > 0.0, mean.interval.high) == (True, 1.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": (0,)},
        {"seeds": ()},
        {"config": {"lr": 1.0}},
        {"data_hash": "c" * 64},
        {"n": 44},
        {"value": None},
    ],
)
def test_others_stay_as_they_are(seeded, changes):
    cards = [seeded(0, 0.7), seeded(1, **{"value": 0.8, **changes})]
    assert over_seeds(cards) == cards


def test_table_and_report_show_the_mean(seeded, tmp_path, capsys):
    for i, value in enumerate(VALUES):
        write_card(seeded(i, value), tmp_path)
    assert main(["table", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "| SKI-ViFi-CLIP | 74.0 [64.1, 83.9] |" in text
    assert "mean of 3 runs, seeds 0, 1, 2; standard deviation 4.0." in text
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "74.0 [64.1, 83.9]" in page
    for i in range(3):  # each run is named where the figures come from
        assert f'<th scope="row">run {i}</th>' in page
