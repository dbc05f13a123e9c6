from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_methods import METHODS

from ski_data.errors import InputError
from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.fitting import (
    FeatureSource,
    check_inputs,
    class_scores,
    prototype_scores,
    seen_logits,
    train_method,
)
from ski_skeleton.zeroshot.methods import METHODS as KNOWN
from ski_skeleton.zeroshot.methods import method_of, space_of
from ski_skeleton.zeroshot.pgfa import PrototypeConfig
from ski_skeleton.zeroshot.protocol import derangement
from ski_skeleton.zeroshot.smie import SmieConfig
from ski_skeleton.zeroshot.star import StarConfig

UNSEEN = [0, 6, 12, 18, 24]
SEEN = [k for k in range(30) if k not in UNSEEN]


def accuracy(config, clips, texts, folder):
    rows = np.flatnonzero(np.isin(clips.labels, SEEN) & (clips.subjects < 5))
    test = np.flatnonzero(np.isin(clips.labels, UNSEEN))
    model = train_method(
        config, clips, rows, clips.labels[rows], texts, SEEN, seed=0, folder=folder
    )
    scores = class_scores(model, clips, test, texts.subset(UNSEEN), batch_size=64)
    assert scores.shape == (len(test), len(UNSEEN))
    return float((np.array(UNSEEN)[scores.argmax(1)] == clips.labels[test]).mean())


@pytest.mark.parametrize("kind", METHODS)
def test_unseen_classes_are_found_by_their_texts_alone(kind, clips, classes, tmp_path):
    config, (_, texts) = METHODS[kind], classes
    assert accuracy(config, clips, texts, tmp_path / "right") > 0.45  # chance is 0.2
    wrong = texts.subset(derangement(30, np.random.default_rng(3)).tolist())
    assert accuracy(config, clips, wrong, tmp_path / "null") < 0.35


def test_every_method_is_tried_here():
    assert set(METHODS) == set(KNOWN)
    assert all(method_of(config) is KNOWN[kind] for kind, config in METHODS.items())


@pytest.mark.parametrize("kind", ["pgfa", "star"])
def test_prototypes_answer_by_the_clips_themselves(kind, clips, classes, tmp_path):
    rows = np.flatnonzero(np.isin(clips.labels, SEEN) & (clips.subjects < 5))
    test = np.flatnonzero(np.isin(clips.labels, UNSEEN))
    texts, config = classes[1].subset(UNSEEN), replace(METHODS[kind], epochs=10)
    model = train_method(
        config, clips, rows, clips.labels[rows], classes[1], SEEN, seed=0, folder=tmp_path
    )
    plain = class_scores(model, clips, test, texts)
    found = prototype_scores(model, clips, test, texts, PrototypeConfig(0.9), batch_size=50)
    assert found.shape == plain.shape
    assert np.abs(found).max() <= 1 + 1e-6
    assert not np.allclose(found, plain)
    blind = replace(clips, labels=0 * clips.labels)
    same = prototype_scores(model, blind, test, texts, PrototypeConfig(0.9))
    np.testing.assert_allclose(same, found, atol=1e-6)
    right = [(np.array(UNSEEN)[s.argmax(1)] == clips.labels[test]).mean() for s in (plain, found)]
    assert right[1] > right[0] - 0.02


@pytest.mark.parametrize("kind", ["smie", "tdsm", "synse", "sa-dvae"])
def test_methods_without_cosines_have_no_prototypes(kind):
    with pytest.raises(ConfigError, match=f"STAR and PGFA have one, {KNOWN[kind].title} has none"):
        space_of(KNOWN[kind])


def test_smie_with_the_temporal_term_learns_too(clips, classes, tmp_path):
    config = replace(METHODS["smie"], temporal=True)
    assert accuracy(config, clips, classes[1], tmp_path / "run") > 0.6


def test_source_goes_round_and_draws_masks_by_epoch(clips):
    rows = np.array([4, 9])
    source = FeatureSource(clips, rows, np.array([2, 3]), maps=True, masked=True, length=5)
    assert len(source) == 5
    assert [source[i]["index"] for i in range(5)] == [4, 9, 4, 9, 4]
    assert [source[i]["label"] for i in range(3)] == [2, 3, 2]
    assert np.array_equal(source[1]["map"], clips.maps[9])
    spread = replace(
        clips, masked=np.arange(10, dtype=np.float32)[None, :, None] + 0 * clips.features[:, None]
    )
    source = FeatureSource(spread, rows, rows, masked=True)
    drawn = set()
    for epoch in range(12):
        source.set_epoch(epoch)
        drawn.add(float(source[0]["masked"][0]))
        assert np.array_equal(source[0]["masked"], source[0]["masked"])
    assert len(drawn) > 3


def test_what_a_method_needs(clips):
    with pytest.raises(InputError, match="STAR needs maps"):
        check_inputs(METHODS["star"], replace(clips, maps=None))
    with pytest.raises(InputError, match="joint 24; the maps have 4"):
        check_inputs(StarConfig(), clips)
    with pytest.raises(InputError, match="masked"):
        check_inputs(SmieConfig(temporal=True), replace(clips, masked=None))
    check_inputs(METHODS["synse"], replace(clips, maps=None, masked=None))


def test_synse_needs_words(clips, classes, tmp_path):
    texts = classes[1]._replace(nouns=None)
    with pytest.raises(InputError, match="nouns and verbs"):
        accuracy(METHODS["synse"], clips, texts, tmp_path)


def test_probe_of_seen_classes(clips):
    rows = np.flatnonzero(np.isin(clips.labels, SEEN[:6]) & (clips.subjects < 5))
    test = np.flatnonzero(np.isin(clips.labels, SEEN[:6]) & (clips.subjects >= 5))
    labels = np.searchsorted(SEEN[:6], clips.labels)
    logits = seen_logits(clips, rows, labels[rows], test, 6, seed=0)
    assert (logits.argmax(1) == labels[test]).mean() > 0.9
