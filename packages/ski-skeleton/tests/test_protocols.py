from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import write_store

from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore
from ski_skeleton.errors import ConfigError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.protocols import (
    NTU120_EXEMPLARS,
    Features,
    extract,
    knn_scores,
    labelled_part,
    linear_probe,
    one_shot_split,
    relabelled,
)
from ski_skeleton.store_clips import StoreClips


def blobs(per_class=12, classes=3, spread=0.3, seed=0, people=4):
    """Clouds around the corners of a simplex, of people who are all a bit off."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), per_class)
    who = np.arange(len(labels)) // classes % people
    values = 3 * np.eye(classes, 6)[labels] + rng.normal(0, spread, (len(labels), 6))
    names = tuple(f"c{seed}-{i}" for i in range(len(labels)))
    return Features(names, values.astype(np.float32), labels, tuple(map(str, who.tolist())))


def test_linear_probe_separates_what_is_separable():
    found = linear_probe(blobs(), blobs(seed=1), 3)
    assert (found.logits.argmax(1) == blobs(seed=1).labels).all()
    assert found.validation == 1.0
    np.testing.assert_allclose(np.exp(found.logits).sum(1), 1, rtol=1e-5)


def test_linear_probe_does_not_mind_scale_and_constant_columns():
    train, test = blobs(spread=1.5), blobs(spread=1.5, seed=1)
    plain = linear_probe(train, test, 3)
    for features in (train, test):
        features.values[:, 1:] *= 100
    wide = [
        Features(f.names, np.c_[f.values, np.full(len(f), 7, np.float32)], f.labels, f.people)
        for f in (train, test)
    ]
    np.testing.assert_allclose(linear_probe(*wide, 3).logits, plain.logits, atol=2e-3)


def test_regularisation_is_chosen_on_people_that_the_fit_did_not_see():
    rng = np.random.default_rng(0)
    train = blobs(per_class=40, spread=2.5, people=8)
    # a column that gives the label away within a person and misleads across people
    sign = {str(p): rng.permutation(3) for p in range(8)}
    code = np.array([sign[p][y] for p, y in zip(train.people, train.labels, strict=True)])
    own = np.eye(24, dtype=np.float32)[3 * np.array(train.people, int) + code]
    told = Features(train.names, np.c_[train.values, own * 5], train.labels, train.people)
    unknown = Features(told.names, told.values, told.labels, None)
    by_people = linear_probe(told, told, 3)
    by_clips = linear_probe(unknown, unknown, 3)
    assert by_clips.validation > by_people.validation + 0.1


def test_probe_of_one_clip_per_class_takes_the_middle_strength():
    train = blobs(per_class=1)
    found = linear_probe(train, blobs(seed=1), 3, pool=blobs(seed=2))
    assert (found.regularisation, found.validation) == (1.0, None)
    assert (found.logits.argmax(1) == blobs(seed=1).labels).mean() > 0.9


def test_class_without_training_clips_comes_last():
    train = blobs(classes=3)
    found = linear_probe(train, blobs(seed=1), 5)
    assert found.logits.shape == (36, 5)
    assert np.isfinite(found.logits).all()
    assert (found.logits[:, :3].min(1) > found.logits[:, 3:].max(1)).all()
    one = train.take(np.flatnonzero(train.labels == 0))
    with pytest.raises(ConfigError, match="two classes"):
        linear_probe(one, train, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(1, 12))
def test_knn_is_the_vote_written_out(seed, k):
    gallery, test = blobs(4, spread=2, seed=seed), blobs(2, spread=2, seed=seed + 1)
    found = knn_scores(gallery, test, 4, k)
    for row in range(len(test)):
        cosines = [
            float(v @ test.values[row] / np.linalg.norm(v) / np.linalg.norm(test.values[row]))
            for v in gallery.values.astype(np.float64)
        ]
        nearest = sorted(range(len(gallery)), key=lambda i: -cosines[i])[:k]
        ranks = []
        for label in range(4):
            votes = sum(gallery.labels[i] == label for i in nearest)
            own = [c for c, y in zip(cosines, gallery.labels, strict=True) if y == label]
            ranks.append((votes, max(own, default=-1.0)))
        assert sorted(range(4), key=lambda c: ranks[c]) == found[row].argsort().tolist()


def test_knn_does_not_mind_length():
    gallery, test = blobs(4, spread=2), blobs(2, spread=2, seed=1)
    longer = Features(test.names, 9 * test.values, test.labels, None)
    np.testing.assert_allclose(
        knn_scores(gallery, test, 3, 5), knn_scores(gallery, longer, 3, 5), atol=1e-5
    )
    with pytest.raises(ConfigError, match=r"1\.\.12"):
        knn_scores(gallery, test, 3, 13)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.floats(0.001, 1),
    st.integers(0, 9),
)
def test_labelled_part_holds_every_class(labels, share, seed):
    labels = np.array(labels)
    kept = labelled_part(labels, share, seed=seed)
    assert (np.diff(kept) > 0).all()
    for label in np.unique(labels):
        n = int((labels == label).sum())
        assert (labels[kept] == label).sum() == max(1, int(np.floor(share * n + 0.5)))
    np.testing.assert_array_equal(kept, labelled_part(labels, share, seed=seed))


def test_labelled_parts_differ_by_seed():
    labels = np.repeat([0, 1], 100)
    parts = [labelled_part(labels, 0.1, seed=s) for s in (0, 1)]
    assert len(parts[0]) == 20
    assert parts[0].tolist() != parts[1].tolist()
    with pytest.raises(ConfigError, match=r"\(0, 1\]"):
        labelled_part(labels, 0.0, seed=0)


def test_published_exemplars():
    assert len(NTU120_EXEMPLARS) == 20
    assert NTU120_EXEMPLARS[0] == (1, "S001C003P008R001A001")
    assert NTU120_EXEMPLARS[9] == (55, "S001C003P008R001A055")
    assert NTU120_EXEMPLARS[10] == (61, "S018C003P008R001A061")
    assert NTU120_EXEMPLARS[-1] == (115, "S018C003P008R001A115")


NAMES = ("a0", "b0", "a1", "c0", "b1", "a2")
LABELS = np.array([0, 1, 0, 2, 1, 0])


def test_exemplars_are_not_tested():
    split = one_shot_split(NAMES, LABELS, [1, 0], exemplars=["b1", "a0"])
    assert split.classes == (0, 1)
    assert split.exemplars.tolist() == [0, 4]
    assert split.test.tolist() == [1, 2, 5]
    drawn = one_shot_split(NAMES, LABELS, [0, 1], seed=3)
    assert LABELS[drawn.exemplars].tolist() == [0, 1]
    assert not set(drawn.exemplars) & set(drawn.test)


@pytest.mark.parametrize(
    ("novel", "exemplars", "text"),
    [
        ([0], None, "at least two novel"),
        ([0, 7], None, r"no clips of the novel classes \[7\]"),
        ([0, 1], ["a0", "x"], r"no clips named \['x'\]"),
        ([0, 1], ["a0", "a1"], "one clip of each"),
        ([0, 1], ["a0", "b0", "b1"], "one clip of each"),
    ],
)
def test_bad_one_shot_splits(novel, exemplars, text):
    with pytest.raises(InputError, match=text):
        one_shot_split(NAMES, LABELS, novel, exemplars=exemplars)


def test_labels_as_positions():
    features = blobs()
    kept = features.take(np.flatnonzero(features.labels != 1))
    assert set(relabelled(kept, (0, 2)).labels) == {0, 1}
    assert kept.names[1] == features.names[2]


def test_features_of_a_store(tmp_path):
    store = SkeletonStore(write_store(tmp_path / "store"))
    encoder = Hyperformer(HyperformerConfig(heads=1, strides=(2,), persons=1, output=None))
    feeder = FeederConfig(window=8, min_crop=4)
    rows = np.arange(5, 12)
    source = StoreClips(store, rows, feeder, train=False, labels=store.index["label"][rows])
    found = extract(encoder, source, batch_size=3)
    encoder.eval()
    alone = encoder.encode(torch.from_numpy(source[4]["skeleton"])[None]).features
    torch.testing.assert_close(torch.from_numpy(found.values[4:5]), alone.detach())
    assert found.labels.tolist() == store.index["label"][rows].tolist()
    assert found.people == source.people
    with pytest.raises(InputError, match="need labels"):
        extract(encoder, StoreClips(store, rows, feeder, train=False))
    with torch.no_grad():
        encoder.data_norm.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        extract(encoder, source)
