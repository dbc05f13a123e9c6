"""The benchmark on real skeletons, tried at tiny size on generated joints."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.real_skeletons import __main__ as program
from benchmarks.real_skeletons import closed_set
from benchmarks.real_skeletons.settings import (
    PHRASES,
    SETS,
    Draw,
    draw_splits,
    read_set,
    read_splits,
)
from benchmarks.real_skeletons.split_run import METHODS, SplitRun, figures
from benchmarks.real_skeletons.summary import (
    Results,
    holm,
    methods_table,
    over_classes,
    pairs_table,
)
from benchmarks.real_skeletons.vectors import VectorTower, class_vectors, in_own_span
from ski_data.classes import ClassSet
from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import KINECT25
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore, StoreWriter
from ski_eval import mean_class_accuracy
from ski_skeleton import supervised
from ski_skeleton.errors import RunError
from ski_skeleton.loading import load_encoder
from ski_skeleton.stgcn import StgcnConfig
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.zeroshot.texts import ClassTexts, write_vectors

CLASSES = ("bow", "jump high", "kick", "run", "sit down", "wave")
TRAIN = TrainRule(where={"style": (0, 1)})


def write_store(folder):
    """6 classes x 3 styles x 3 takes; a class moves its own joint."""
    rng = np.random.default_rng(0)
    body = rng.normal(0, 0.4, (3, 1, 25, 1))
    names = ClassSet(tuple(str(k) for k in range(len(CLASSES))), CLASSES)
    with StoreWriter(folder, KINECT25, bodies=1, classes=names) as writer:
        for label in range(len(CLASSES)):
            for style in range(3):
                for take in range(3):
                    clip = np.repeat(body, 10, 1) + rng.normal(0, 0.02, (3, 10, 25, 1))
                    clip[1, :, 3 + 3 * label, 0] += np.linspace(0, 0.8, 10)
                    clip[1, :, 0, 0] += 1
                    writer.add(
                        f"{label}-{style}-{take}",
                        clip.astype(np.float32),
                        label=label,
                        style=style,
                    )
    return SkeletonStore(folder)


def tiny(name="ui_prmd"):
    known = read_set(name)
    once = {"epochs": 1, "batch_size": 6}
    return replace(
        known,
        train=TRAIN,
        feeder=FeederConfig(window=8, min_crop=4),
        encoder=StgcnConfig(
            channels=(4, 8), strides=(2, 2), kernel=3, dropout=0.0, persons=1, output=None
        ),
        pretrain=replace(known.pretrain, **once),
        align=replace(known.align, **once),
        synse=replace(
            known.synse, latent=4, cycles=2, cycle_steps=3, samples=8, classifier_steps=3
        ),
        smie=replace(known.smie, hidden=(8, 4), epochs=2, warmup_epochs=1, batch_size=6),
        star=replace(known.star, attributes=2, hidden=4, epochs=1, milestones=(), batch_size=6),
    )


def texts_of(names, path, width=8):
    torch.manual_seed(0)
    few = [torch.randn(len(names), width) for _ in range(3)]
    write_vectors(path, names, ClassTexts(*few, torch.randn(len(names), 6, width)))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A store, its text vectors, and a split that is done."""
    folder = tmp_path_factory.mktemp("real")
    store = write_store(folder / "store")
    texts = texts_of(CLASSES, folder / "texts.safetensors")
    run = SplitRun(tiny(), store, texts, (1, 4), folder / "splits" / "1-4", 0)
    run.run()
    return folder, store, texts, run


def test_a_split_leaves_a_record_per_method(done):
    run = done[3]
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"encoder.json", "model", *(f"{kind}.json" for kind in METHODS)}
    for kind, title in METHODS.items():
        record = json.loads((run.folder / f"{kind}.json").read_text())
        assert record["method"] == title
        assert record["unseen"] == ["jump high", "sit down"]
        assert record["clips"] == [12, 6]  # style 2 tests
        assert all(0 <= record[k] <= 1 for k in ("zero_shot", "null", "seen", "new", "harmonic"))
        assert not set(record["tuning"]["pseudo_unseen"]) & set(record["unseen"])
    assert load_encoder(run.folder / "model").trained_on == ("bow", "kick", "run", "wave")


def test_a_record_is_made_once(done):
    folder, store, texts, run = done
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    run.run()
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    kept = (run.folder / "smie.json").read_text()
    (run.folder / "smie.json").unlink()
    again = SplitRun(tiny(), store, texts, (1, 4), folder / "splits" / "1-4", 0)
    assert again.missing() == ["smie"]
    again.run()
    first, second = json.loads(kept), json.loads((run.folder / "smie.json").read_text())
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_other_settings_are_refused(done):
    folder, store, texts, _ = done
    place = folder / "splits" / "1-4"
    which = tiny()
    other = replace(which, smie=replace(which.smie, lr=0.5))
    with pytest.raises(RunError, match=r"smie.*made with other settings"):
        SplitRun(other, store, texts, (1, 4), place, 0).run()
    with pytest.raises(RunError, match=r"synse.*made with other settings"):
        SplitRun(which, store, texts, (1, 5), place, 0).run()
    with pytest.raises(RunError, match="synse"):
        SplitRun(which, store, texts, (1, 4), place, 3).run()


def test_tables_of_what_is_done(done, capsys):
    folder, *_ = done
    results = Results(folder, [(0, 1), (1, 4)])
    assert results.splits == [(1, 4)]
    rows = methods_table(results).rows
    assert [row[0] for row in rows] == list(METHODS.values())
    assert len(pairs_table(results, "harmonic").rows) == 6
    with pytest.raises(MissingFileError, match="no split is done"):
        Results(folder, [(0, 1)])


def test_figures_are_means_over_classes():
    scores = np.eye(3)[[0, 1, 1, 2, 0]]
    labels = np.array([0, 1, 0, 2, 2])
    found = figures(
        (scores[:2, :2], labels[:2]), (scores[:2, 1::-1], labels[:2]), (scores, labels), (2,), {}
    )
    assert (found["zero_shot"], found["null"]) == (1.0, 0.0)
    assert found["seen"] == pytest.approx(0.75)  # classes 0 (1 of 2) and 1 (1 of 1)
    assert found["new"] == pytest.approx(0.5)
    assert found["harmonic"] == pytest.approx(0.6)
    assert found["clips"] == (3, 2)


@pytest.mark.parametrize("name", SETS)
def test_the_data_file_holds_the_drawn_splits(name):
    draw = read_set(name).draw
    classes = 11 if name == "hdm05" else 10
    assert read_splits(name) == draw_splits(classes, draw)
    assert len(read_splits(name)) == {"ui_prmd": 45, "hdm05": 10, "bandai_namco_2": 30}[name]


def test_every_pair_once():
    drawn = draw_splits(5, Draw(unseen=2, seed=3))
    assert len(set(drawn)) == len(drawn) == 10
    assert drawn != sorted(drawn)
    with pytest.raises(InputError, match="there are 10 splits, 11 are wanted"):
        draw_splits(5, Draw(unseen=2, count=11))
    with pytest.raises(InputError, match="no set 'ntu60'"):
        read_set("ntu60")


def test_phrases_have_a_verb_each():
    phrases = json.loads(PHRASES.read_text())
    assert len(phrases) == 31
    assert all(set(entry) == {"verb", "noun"} and entry["verb"] for entry in phrases.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(4, 40), st.integers(0, 99))
def test_the_span_keeps_inner_products(classes, width, seed):
    torch.manual_seed(seed)
    given_ = ClassTexts(torch.randn(classes, width), None, None, torch.randn(classes, 3, width))
    found = in_own_span(given_)
    assert found.names.shape[1] % 4 == 0
    assert found.names.shape[1] <= min(width, 4 * classes) + 3
    before = torch.cat([given_.names, given_.parts.flatten(0, 1)])
    after = torch.cat([found.names, found.parts.flatten(0, 1)])
    torch.testing.assert_close(after @ after.T, before @ before.T, rtol=1e-4, atol=1e-4)


def test_vectors_are_read_from_the_file(tmp_path):
    path = texts_of(CLASSES, tmp_path / "t.safetensors")
    found = class_vectors(CLASSES, "no model is needed", path)
    assert found.names.shape == (6, 8)
    tower = VectorTower(CLASSES, found.names)
    picked = tower.unit_text(["wave", "bow"])
    torch.testing.assert_close(picked, torch.nn.functional.normalize(found.names[[5, 0]], dim=-1))
    with pytest.raises(InputError, match=r"no vectors of \['fly'\]"):
        tower.unit_text(["fly"])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_classes_drawn_again_are_less_certain_than_splits():
    splits = draw_splits(8, Draw(unseen=2))
    rng = np.random.default_rng(0)
    easy = rng.uniform(0, 1, 8)
    values = np.array([0.5 * (easy[a] + easy[b]) for a, b in splits])
    wide = over_classes(values, splits)
    assert wide.low < values.mean() < wide.high
    assert wide.high - wide.low > 2 * 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    alike = over_classes(np.full(len(splits), 0.7), splits)
    assert (alike.low, alike.high) == pytest.approx((0.7, 0.7))


def test_closed_set_recipes_say_who_trains():
    assert set(closed_set.recipes("bandai_namco_2")) == set(closed_set.NAMES)
    assert not closed_set.recipes("ui_prmd")
    for name in ("bandai_namco_2", "hdm05"):
        for kind, path in closed_set.recipes(name).items():
            recipe = supervised.read_recipe(path)
            assert recipe.encoder.kind == kind
            assert recipe.data.split.rule == read_set(name).train


def test_closed_set_and_ridge(tmp_path, monkeypatch, capsys):
    store = write_store(tmp_path / "bandai_namco_2" / "store")
    clips = supervised.open_closed_set(store.folder, supervised.SplitRule(train=TRAIN))
    found = closed_set.ridge(clips, frames=6, penalty=1.0)
    assert mean_class_accuracy(found.logits.argmax(1), found.labels, 6) == 1.0
    assert len(found.names) == 18
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "data: {store: x, split: {train: {where: {style: [0, 1]}}}}\n"
        "encoder: {kind: stgcn, channels: [4], strides: [2], persons: 1, output: null}\n"
        "feeder: {window: 8, min_crop: 4}\n"
        "train: {epochs: 1, batch_size: 9}\n"
    )
    monkeypatch.setattr(program, "recipes", lambda which: {"stgcn": path})
    program.closed_set("bandai_namco_2", "no data is read", out=str(tmp_path))
    told = capsys.readouterr().out
    assert "ST-GCN" in told
    assert closed_set.RIDGE in told
    place = tmp_path / "bandai_namco_2" / "closed" / "stgcn"
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 2"))
    with pytest.raises(RunError, match="of another recipe"):
        closed_set.trained(path, store, place)
