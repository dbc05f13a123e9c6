from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
import yaml
from tiny_run import MOVEMENTS, write_store

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.layouts import get_layout
from ski_data.ntu.archive import PROTOCOLS
from ski_data.splits import dataset_classes
from ski_data.store import StoreWriter
from ski_skeleton import supervised
from ski_skeleton.convert.hyperformer import OFFICIAL_HEAD, hyperformer_table
from ski_skeleton.errors import CheckpointError, ConfigError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.supervised import Classifier, SplitRule, open_closed_set, predict, read_recipe
from ski_skeleton.train import OptimConfig, TrainConfig

FOLDER = files("ski_skeleton") / "recipes"
NAMES = sorted(i.name for i in FOLDER.iterdir() if i.name.startswith("hyperformer_"))
PEOPLE = SplitRule(train=TrainRule(subjects=(1, 2)))


def plain_recipe(store):
    """A run of a second on the store of five movements."""
    return {
        "data": {"store": str(store), "split": {"train": {"subjects": [1, 2]}}},
        "encoder": {"heads": 1, "strides": [2], "persons": 1, "output": None},
        "feeder": {"window": 8, "min_crop": 8, "rotation": 0.05},
        "train": {
            "epochs": 40,
            "batch_size": 10,
            "checkpoint_seconds": 0.0,
            "optim": {"lr": 0.03, "warmup_epochs": 2, "warmup_by": "epoch"},
        },
    }


def recipe(tmp_path, **train):
    plain = plain_recipe(write_store(tmp_path / "store"))
    plain["train"] |= train
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return read_recipe(path)


def classifier(settings, clips, model):
    meta = supervised.model_meta(settings, clips, seed=0)
    config = replace(settings.encoder, output=len(clips.classes))
    return Classifier(model.eval(), config, settings.feeder, clips.classes, clips.split, meta)


def ntu_store(folder, names, *, classes=None):
    """One clip of 4 frames for each NTU name, e.g. ``(setup, camera, person, action)``."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, get_layout("kinect25"), bodies=1, classes=classes) as writer:
        for setup, camera, person, action in names:
            clip = rng.normal(0, 1, (3, 4, 25, 1)).astype(np.float32)
            name = f"S{setup:03d}C{camera:03d}P{person:03d}R001A{action:03d}"
            numbers = {"subject": person, "camera": camera, "setup": setup}
            writer.add(name, clip, label=action - 1, **numbers)
    return folder


def test_learns_five_movements_of_unseen_people(tmp_path):
    settings = recipe(tmp_path)
    clips = open_closed_set(settings.data.store, settings.data.split)
    assert clips.classes == MOVEMENTS
    model = supervised.train_classifier(settings, clips, tmp_path / "run")
    found = predict(classifier(settings, clips, model), settings.data.store)
    assert set(found.groups) == {"3", "4"}
    assert found.correct.mean() >= 0.9
    assert found.meta["stream"] == "joint"
    assert found.meta["split"] == "training subjects [1, 2]"


def test_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    settings = recipe(tmp_path, epochs=4)
    clips = open_closed_set(settings.data.store, settings.data.split)
    whole = supervised.train_classifier(settings, clips, tmp_path / "whole").state_dict()
    calls = []

    class Stopped(supervised.ClassifySkeletons):
        def losses(self, batch):
            calls.append(batch)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return super().losses(batch)

    Stopped.__name__ = "ClassifySkeletons"
    with monkeypatch.context() as patch:
        patch.setattr(supervised, "ClassifySkeletons", Stopped)
        with pytest.raises(KeyboardInterrupt):
            supervised.train_classifier(settings, clips, tmp_path / "part")
    again = supervised.train_classifier(settings, clips, tmp_path / "part").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_streams_are_fed_and_recorded(tmp_path):
    settings = recipe(tmp_path, epochs=1)
    clips = open_closed_set(settings.data.store, PEOPLE)
    inputs = {}
    for stream in ("joint", "bone", "joint_motion", "bone_motion"):
        chosen = replace(settings, feeder=supervised.with_stream(settings.feeder, stream))
        assert supervised.model_meta(chosen, clips, seed=0)["stream"] == stream
        source = clips.source(clips.test, chosen.encoder, chosen.feeder, train=False)
        inputs[stream] = source[0]["skeleton"]
    for a, b in (("joint", "joint_motion"), ("bone", "bone_motion")):
        np.testing.assert_array_equal(inputs[b][:, :-1], np.diff(inputs[a], axis=1))
        assert (inputs[b][:, -1] == 0).all()
    assert not np.array_equal(inputs["joint"], inputs["bone"])
    with pytest.raises(InputError, match="there are joint, bone"):
        supervised.with_stream(settings.feeder, "ears")


def test_what_the_model_says_of_its_training(tmp_path):
    settings = recipe(tmp_path)
    store = write_store(tmp_path / "few", labels=(0, 2))
    clips = open_closed_set(store, PEOPLE)
    meta = supervised.model_meta(settings, clips, seed=7)
    assert meta["classes"] == list(MOVEMENTS)
    assert meta["classes_seen"] == ["bow", "kick"]
    assert meta["subjects"] == [1, 2]
    assert meta["split"] == {
        "protocol": None,
        "train": {"subjects": [1, 2]} | {"cameras": [], "setups": [], "where": {}},
        "zero_shot": None,
        "unseen": [],
    }
    assert meta["data_hash"] == clips.store.sha256
    assert meta["seed"] == 7


NTU = [(s, c, p, a) for s in (1, 2, 18) for c in (1, 2) for p in (1, 3) for a in (1, 60)]


@pytest.mark.parametrize(
    ("protocol", "trains"),
    [
        ("ntu60/xsub", lambda s, c, p: p == 1),
        ("NTU60_CV", lambda s, c, p: c == 2),
        ("ntu120/xsub", lambda s, c, p: p == 1),
        ("ntu120/xset", lambda s, c, p: s % 2 == 0),
    ],
)
def test_official_protocols(tmp_path, protocol, trains):
    split = SplitRule(protocol)
    size = PROTOCOLS[split.protocol].classes
    store = ntu_store(tmp_path / "ntu", NTU, classes=dataset_classes("ntu120"))
    clips = open_closed_set(store, split)
    assert clips.classes == dataset_classes("ntu120").names[:size]
    members = [n for n in NTU if size == 120 or n[0] <= 17]
    found = {
        part: {
            tuple(int(clips.store.index[k][i]) for k in ("setup", "camera", "subject"))
            for i in getattr(clips, part)
        }
        for part in ("train", "test")
    }
    assert found["train"] == {n[:3] for n in members if trains(*n[:3])}
    assert found["test"] == {n[:3] for n in members if not trains(*n[:3])}
    assert len(clips.train) + len(clips.test) == len(members)


def test_names_where_the_store_has_none(tmp_path):
    store = ntu_store(tmp_path / "ntu", NTU)
    assert open_closed_set(store, SplitRule("ntu60/xsub")).classes[0] == "drink water"
    store = write_store(tmp_path / "own", named=False)
    assert open_closed_set(store, PEOPLE).classes[4] == "class 4"


def test_stores_that_do_not_fit(tmp_path):
    store = ntu_store(
        tmp_path / "five",
        NTU[:4],
        classes=ClassSet.from_names(["x"] + [str(i) for i in range(60)]).subset(range(60)),
    )
    with pytest.raises(InputError, match="has 60 classes, ntu120/xsub 120"):
        open_closed_set(store, SplitRule("ntu120/xsub"))
    store = ntu_store(tmp_path / "late", [*NTU, (17, 1, 1, 61)])
    with pytest.raises(InputError, match=r"label 60 of clip S017C001P001R001A061 is out of range"):
        open_closed_set(store, SplitRule("ntu60/xsub"))
    store = ntu_store(tmp_path / "beyond", [(1, 1, 1, 1), (1, 1, 1, 2), (18, 1, 3, 1)])
    with pytest.raises(InputError, match="2 clips train and 0 test by ntu60/xsub"):
        open_closed_set(store, SplitRule("ntu60/xsub"))
    store = write_store(tmp_path / "one", labels=(0,))
    with pytest.raises(InputError, match="at least two classes"):
        open_closed_set(store, PEOPLE)


@pytest.mark.parametrize("given", [{}, {"protocol": "ntu60/xsub", "train": PEOPLE.train}])
def test_a_split_is_said_once(given):
    with pytest.raises(ConfigError, match="said once"):
        SplitRule(**given)


def test_unknown_protocol():
    with pytest.raises(InputError, match="known: ntu60/xsub"):
        SplitRule("ntu60/xface")


def test_settings_that_cannot_be(tmp_path):
    settings = recipe(tmp_path)
    with pytest.raises(ConfigError, match="output must be null"):
        replace(settings, encoder=HyperformerConfig(output=3))
    with pytest.raises(ConfigError, match="label_smoothing"):
        replace(settings, label_smoothing=1.0)


def test_predictions_need_a_model_and_store_that_fit(tmp_path):
    settings = recipe(tmp_path)
    clips = open_closed_set(settings.data.store, PEOPLE)
    model = Hyperformer(replace(settings.encoder, output=5))
    known = classifier(settings, clips, model)
    store = settings.data.store
    with pytest.raises(InputError, match="could test training clips"):
        predict(known, store, SplitRule(train=TrainRule(subjects=(3,))))
    assert len(predict(known, store, PEOPLE).names) == 20
    converted = replace(known, split=None, classes=None)
    with pytest.raises(InputError, match="does not say which clips"):
        predict(converted, store)
    assert predict(converted, store, PEOPLE).classes == MOVEMENTS
    with pytest.raises(InputError, match="not the model's 5"):
        predict(replace(known, classes=("bow", "clap", "kick", "sit", "waves")), store)
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        predict(known, store)


def test_there_is_a_recipe_per_protocol():
    splits = {read_recipe(FOLDER / name).data.split.protocol for name in NAMES}
    assert splits == {*PROTOCOLS, None}
    assert {"hyperformer_hdm05.yaml", "hyperformer_ui_prmd.yaml"} < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_together(name):
    settings = read_recipe(FOLDER / name)
    steps = int(np.prod(settings.encoder.strides))
    assert settings.feeder.window % steps == 0
    assert settings.feeder.stream == "joint"
    first = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
    assert "ski-skeleton train-classifier FILE --out RUN" in first
    if (protocol := settings.data.split.protocol) is None:
        return
    assert name == f"hyperformer_{protocol.replace('/', '_')}.yaml"
    built = replace(settings.encoder, output=PROTOCOLS[protocol].classes)
    assert len(hyperformer_table(built, OFFICIAL_HEAD)) > 100
    published = TrainConfig(
        epochs=140,
        batch_size=64,
        precision="fp16",
        workers=8,
        optim=OptimConfig(
            name="sgd",
            lr=0.025,
            weight_decay=4e-4,
            schedule="step",
            warmup_epochs=5,
            warmup_by="epoch",
            milestones=(110, 120),
        ),
    )
    assert settings.train == published


def test_unseen_classes_neither_train_nor_test(tmp_path):
    store = write_store(tmp_path / "store")
    split = replace(PEOPLE, unseen=("clap", "sit"))
    clips = open_closed_set(store, split)
    assert clips.classes == ("bow", "kick", "wave")
    original = clips.store.index["label"]
    assert clips.labels.tolist() == [{0: 0, 2: 1, 4: 2}.get(label, -1) for label in original]
    assert set(original[clips.train]) == set(original[clips.test]) == {0, 2, 4}
    assert str(split) == "training subjects [1, 2] without clap, sit"
    with pytest.raises(InputError, match=r"unseen classes \['run'\] are none of the 5"):
        open_closed_set(store, replace(PEOPLE, unseen=("run",)))


def test_encoder_of_seen_classes_says_so(tmp_path):
    plain = plain_recipe(write_store(tmp_path / "store"))
    plain["data"]["split"]["unseen"] = ["clap", "sit"]
    plain["encoder"] = {"kind": "stgcn", "channels": [8], "strides": [2], "output": None}
    plain["encoder"] |= {"persons": 1}
    plain["train"]["epochs"] = 1
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    settings = read_recipe(path)
    clips = open_closed_set(settings.data.store, settings.data.split)
    model = supervised.train_classifier(settings, clips, tmp_path / "run")
    meta = supervised.model_meta(settings, clips, seed=0)
    assert meta["classes_seen"] == meta["classes"] == ["bow", "kick", "wave"]
    found = predict(classifier(settings, clips, model), settings.data.store)
    assert found.logits.shape == (len(clips.test), 3)
    assert {name.split("-")[1] for name in found.names} == {"0", "2", "4"}


def test_seen_classes_of_a_published_split(tmp_path):
    split = SplitRule("ntu60/xsub", zero_shot="ntu60/55-5")
    names = [(1, 1, person, action) for person in (1, 3) for action in (1, 2, 11, 60)]
    clips = open_closed_set(ntu_store(tmp_path / "ntu", names), split)
    assert len(clips.classes) == 55
    assert [clips.classes[k] for k in clips.labels[clips.train]] == [
        dataset_classes("ntu60").names[action] for action in (0, 1, 59)
    ]
    assert "without the unseen classes of ntu60/55-5" in str(split)
    with pytest.raises(InputError, match="ntu60/1-2"):
        SplitRule("ntu60/xsub", zero_shot="ntu60/1-2")
    with pytest.raises(ConfigError, match="either"):
        SplitRule("ntu60/xsub", zero_shot="ntu60/55-5", unseen=("bow",))
