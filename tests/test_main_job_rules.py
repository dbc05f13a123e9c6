"""Rules of the main job: which captions hold, who competes with whom, what is one performance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from apps.adl_mini import evaluation
from apps.adl_mini.job import claim
from apps.adl_mini.recipe import DEFAULT, read_recipe
from apps.adl_mini.stages import true_captions
from ski_data.errors import InputError
from ski_data.manifest import Record
from ski_eval import Predictions

CLASSES = ("sit", "stand", "wave", "kick")


def predictions(logits, labels):
    return Predictions(
        names=tuple(f"S001C{k % 3 + 1:03d}P001R001A{k:03d}" for k in range(len(labels))),
        labels=np.array(labels),
        logits=np.array(logits, float),
        classes=CLASSES,
        groups=tuple(str(k) for k in range(len(labels))),
        unseen=(2, 3),
        meta={},
    )


@pytest.fixture
def scores():
    """Two seen clips, two unseen ones; the last is right only among the unseen names."""
    logits = [[9, 1, 0, 0], [3, 2, 0, 0], [0, 1, 5, 2], [8, 0, 1, 2]]
    return predictions(logits, [0, 1, 2, 3])


def test_unseen_clips_choose_among_unseen_names(scores):
    answered, labels, classes = evaluation.answers(scores, evaluation.UNSEEN)
    assert classes == [2, 3]
    assert answered.tolist() == labels.tolist() == [0, 1]


def test_seen_clips_choose_among_seen_names(scores):
    answered, labels, classes = evaluation.answers(scores, evaluation.PEOPLE)
    assert classes == [0, 1]
    assert labels.tolist() == [0, 1]
    assert answered.tolist() == [0, 0]


def test_generalised_answers_may_be_any_name(scores):
    answered, labels, classes = evaluation.answers(scores, evaluation.HARMONIC)
    assert classes == [0, 1, 2, 3]
    assert labels.tolist() == [0, 1, 2, 3]
    assert answered.tolist() == [0, 0, 2, 0]


def test_seeds_are_averaged_and_compared_on_the_same_clips(scores):
    better = predictions([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]], [0, 1, 2, 3])
    one = evaluation.Row("a", (scores,), (0,), 0.0)
    both = evaluation.Row("b", (scores, better), (0, 1), 0.0)
    assert both.correct(evaluation.PEOPLE).tolist() == [1.0, 0.5]
    assert evaluation.difference(both, one, evaluation.PEOPLE).difference == pytest.approx(0.25)


def test_cameras_of_one_performance_share_a_name():
    names = [f"S001C{camera:03d}P002R001A003" for camera in (1, 2, 3)]
    records = [Record(name=name, video=Path("v"), skeleton=None, label=0) for name in names]
    assert {evaluation.performance(record) for record in records} == {"S001P002R001A003"}


def test_a_caption_holds_where_each_of_its_phrases_does():
    batch = {"phrases": [frozenset({"wave", "left hand up"}), frozenset({"wave"})]}
    captions = ["wave", "wave and left hand up", "left hand up, wave", "wave, right hand up"]
    assert true_captions(batch, captions).tolist() == [
        [True, True, True, False],
        [True, False, False, False],
    ]


# whose folder it is


def without(path, *keys):
    """An earlier version's file, which knows nothing of the last of ``keys``."""
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    part = plain
    for key in keys[:-1]:
        part = part[key]
    del part[keys[-1]]
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")


@pytest.mark.parametrize(
    ("keys", "default", "other"),
    [(("pair_dropout",), 0.0, 0.5), (("scd", "alpha"), 10.0, 5.0), (("align", "seed"), 0, 1)],
)
def test_a_run_before_a_setting_was_there_has_its_default(tmp_path, keys, default, other):
    settings = changed(read_recipe(DEFAULT), keys, default)
    claim(tmp_path, settings)
    without(tmp_path / "config.yaml", *keys)
    before = (tmp_path / "config.yaml").read_bytes()
    claim(tmp_path, settings)
    assert (tmp_path / "config.yaml").read_bytes() == before
    with pytest.raises(InputError, match="other settings"):
        claim(tmp_path, changed(settings, keys, other))


def changed(settings, keys, value):
    """The settings with one of them, perhaps of a part, set."""
    if len(keys) == 1:
        return replace(settings, **{keys[0]: value})
    return replace(settings, **{keys[0]: changed(getattr(settings, keys[0]), keys[1:], value)})


def test_a_run_with_settings_that_are_no_more_is_refused(tmp_path):
    settings = read_recipe(DEFAULT)
    claim(tmp_path, settings)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "gone: 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"other settings.*gone"):
        claim(tmp_path, settings)
