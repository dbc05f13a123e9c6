from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_vlm.calibration import (
    WindowRule,
    auroc,
    best_threshold,
    calibrate,
    hash_classes,
    read_calibration,
    score_of,
    write_calibration,
)
from ski_vlm.class_texts import Wording
from ski_vlm.errors import ConfigError

SCORES = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=12).map(np.array)


@given(SCORES, SCORES)
def test_area_is_that_of_scikit_learn(known, unknown):
    truth = [1] * len(known) + [0] * len(unknown)
    wanted = roc_auc_score(truth, np.concatenate([known, unknown]))
    assert auroc(known, unknown) == pytest.approx(wanted)


@given(SCORES, SCORES)
def test_no_threshold_is_better(known, unknown):
    threshold, accepted, rejected = best_threshold(known, unknown)
    assert accepted == pytest.approx((known >= threshold).mean())
    assert rejected == pytest.approx((unknown < threshold).mean())
    for other in np.arange(-0.5, 10):
        assert (known >= other).mean() + (unknown < other).mean() <= accepted + rejected + 1e-9


def test_scores():
    cosines = np.array([[0.3, 0.1, 0.2], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(score_of(cosines, 100.0, "cosine"), [0.3, 0.0])
    np.testing.assert_allclose(score_of(cosines, 100.0, "margin"), [0.1, 0.0], atol=1e-12)
    np.testing.assert_allclose(
        score_of(cosines, 10.0, "probability"), [1 / (1 + np.exp(-1) + np.exp(-2)), 1 / 3]
    )
    with pytest.raises(ConfigError, match="two classes"):
        score_of(cosines[:, :1], 1.0, "margin")


RULE = WindowRule(3.0, 0.75, "exponential", 3)


def made(**changes):
    """Known clips are near one class; all are equally unlike in the others."""
    rng = np.random.default_rng(0)
    cosines = rng.normal(0.1, 0.01, (40, 3))
    known = np.arange(40) < 20
    cosines[known, 0] += 0.2
    cosines[~known] += 0.3  # a cosine alone would be fooled
    found = calibrate(
        cosines,
        100.0,
        known,
        names=["a", "b", "c"],
        wording=Wording(),
        model_hash="m",
        windows=RULE,
    )
    return replace(found, **changes)


def test_the_best_score_is_taken():
    found = made()
    assert found.score != "cosine"
    assert found.auroc[found.score] == max(found.auroc.values())
    assert found.auroc["cosine"] < 0.1
    assert (found.accepted, found.rejected, found.known, found.unknown) == (1, 1, 20, 20)


def test_one_class_is_calibrated_by_its_cosine():
    cosines = np.array([[0.3], [0.1]])
    known = np.array([True, False])
    found = calibrate(
        cosines, 100.0, known, names=["a"], wording=Wording(), model_hash="m", windows=RULE
    )
    assert (found.score, found.threshold) == ("cosine", pytest.approx(0.2))


def test_both_kinds_are_needed():
    for known in (np.ones(3, bool), np.zeros(3, bool)):
        with pytest.raises(InputError, match="none of them"):
            calibrate(
                np.zeros((3, 2)),
                1.0,
                known,
                names=["a", "b"],
                wording=Wording(),
                model_hash="m",
                windows=RULE,
            )


def test_round_trip_and_what_it_fits(tmp_path):
    path = tmp_path / "c.json"
    write_calibration(path, made())
    found = read_calibration(path)
    assert found == made()
    found.check(["c", "a", "b"], Wording(), "m", RULE, "c.json")
    with pytest.raises(InputError, match="another list"):
        found.check(["a", "b", "d"], Wording(), "m", RULE, "c.json")
    with pytest.raises(InputError, match="another model"):
        found.check(["a", "b", "c"], Wording(), "n", RULE, "c.json")
    with pytest.raises(ExistingOutputError):
        write_calibration(path, made())
    with pytest.raises(InputError, match="templates"):
        found.check(["a", "b", "c"], Wording(("{name}",)), "m", RULE, "c.json")
    for change in ({"stride": 1.0}, {"smoothing": "none"}, {"span": 1}):
        with pytest.raises(InputError, match=r"--stride 0\.75 --smoothing exp"):
            found.check(["a", "b", "c"], Wording(), "m", replace(RULE, **change), "c.json")
    assert hash_classes(["喝水", "b"], Wording()) == hash_classes(["b", "喝水"], Wording())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"score": "guess"}', "\x00"])
def test_damaged_files(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.json"):
        read_calibration(path)
    with pytest.raises(MissingFileError):
        read_calibration(tmp_path / "absent.json")


def test_another_version(tmp_path):
    write_calibration(tmp_path / "c.json", made(format=2))
    assert json.loads((tmp_path / "c.json").read_text())["format"] == 2
    with pytest.raises(InputError, match="version 2"):
        read_calibration(tmp_path / "c.json")
