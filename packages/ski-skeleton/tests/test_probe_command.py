from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from tiny_run import MOVEMENTS, write_store

from ski_data.store import SkeletonStore
from ski_eval import load_predictions, read_cards
from ski_skeleton.c2vl import PretrainC2vl
from ski_skeleton.cli import main
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.train import read_model, write_model

CONFIG = HyperformerConfig(heads=1, strides=(2,), persons=1, output=3)
META = {"classes_seen": ["bow", "clap", "kick"], "feeder": {"window": 8, "min_crop": 4}}
PEOPLE = ["--subjects", "[1,2]"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a store and an encoder with random weights."""
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "store")
    model = Hyperformer(CONFIG)
    write_model(tmp_path / "model", "hyperformer", CONFIG, model.state_dict(), META)
    return tmp_path


def run(capsys, *args, model="model"):
    """Rows that the command prints as JSON."""
    capsys.readouterr()
    assert main(["probe", model, "store", "--out", "out", "--json", *args]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys, text, *args):
    capsys.readouterr()
    assert main(["probe", "model", "store", "--out", "out", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert text in err


def test_linear_probe_of_unseen_people(place, capsys):
    rows = run(capsys, *PEOPLE)
    assert [row["metric"] for row in rows] == ["top-1", "mean class accuracy"]
    assert rows[0]["n"] == 20
    assert rows[0]["value"] > 0.5  # which joint moves is plain to see
    predictions = load_predictions(place / "out/linear.npz")
    assert predictions.classes == MOVEMENTS
    assert set(predictions.groups) == {"3", "4"}
    assert predictions.correct.mean() == rows[0]["value"]
    cards = [card for _, card in read_cards(place / "out")]
    assert {card.metric for card in cards} == {"top-1", "mean class accuracy"}
    for card in cards:
        assert "2 groups" in card.interval.method
        assert card.data_hash == SkeletonStore("store").sha256
        assert card.split == "training subjects [1, 2]"
        assert card.config["found"]["regularisation"] > 0
        assert 0 <= card.config["found"]["validation"] <= 1


def test_table_for_people(place, capsys):
    refused(capsys, "k must be in 1..10", "--protocol", "knn", "--subjects", "[1]")
    args = ["--protocol", "knn", "--k", "[1,3]", *PEOPLE]
    assert main(["probe", "model", "store", "--out", "out", *args]) == 0
    out = capsys.readouterr().out
    assert "KNN, k = 1  top-1" in out
    assert "KNN, k = 3  top-1" in out
    assert "(20 clips, 5 classes)" in out


def test_few_labels_are_drawn_several_times(place, capsys):
    args = ["--protocol", "semi", "--shares", "[0.25]", "--draws", "2", *PEOPLE]
    rows = run(capsys, *args)
    found = [load_predictions(place / f"out/semi-0.25-{draw}.npz") for draw in (0, 1)]
    assert rows[0]["value"] == pytest.approx(np.mean([p.correct.mean() for p in found]))
    card = next(card for _, card in read_cards(place / "out"))
    assert card.config["found"]["labelled_clips"] == 5
    assert card.seeds == (0, 1)


@pytest.mark.parametrize("protocol", ["finetune", "semi-finetune"])
def test_whole_encoder_is_trained(place, capsys, protocol):
    before = (place / "model/weights.safetensors").read_bytes()
    args = ["--protocol", protocol, "--shares", "[0.5]", "--draws", "2", *PEOPLE]
    training = ["--training.epochs", "2", "--training.batch_size", "5"]
    rows = run(capsys, *args, *training)
    assert len(rows) == 2
    logs = sorted(path.parent.name for path in (place / "out").rglob("log.jsonl"))
    names = {"finetune": ["finetune-0"], "semi-finetune": [f"semi-finetune-0.5-{d}" for d in "01"]}
    assert logs == names[protocol]
    assert not list((place / "out").rglob("checkpoints"))
    assert (place / "model/weights.safetensors").read_bytes() == before
    assert run(capsys, *args, *training) == rows  # and again, from what is there


def test_one_shot_tests_classes_that_did_not_train(place, capsys):
    rows = run(capsys, "--protocol", "oneshot", "--novel", "[sit,wave]")
    assert rows[0]["n"] == 14  # 2 classes x 4 people x 2 takes, less 2 exemplars
    found = load_predictions(place / "out/oneshot.npz")
    assert found.classes == ("sit", "wave")
    assert not set(found.meta["exemplars"]) & set(found.names)
    given = ["--exemplars", "[p1-3-0,p1-4-0]", "--out", "other"]
    rows = run(capsys, "--protocol", "oneshot", "--novel", "[sit,wave]", *given)
    assert load_predictions("other/oneshot.npz").meta["exemplars"] == ["p1-3-0", "p1-4-0"]


def test_one_shot_guards_against_leaks(place, capsys):
    refused(capsys, "was trained on ['clap']", "--protocol", "oneshot", "--novel", "[clap,wave]")
    refused(capsys, "is not NTU RGB+D 120", "--protocol", "oneshot")
    unknown = {**META, "classes_seen": None}
    write_model(place / "m2", "hyperformer", CONFIG, Hyperformer(CONFIG).state_dict(), unknown)
    run(capsys, "--protocol", "oneshot", "--novel", "[clap,wave]", model="m2")
    cards = [card for _, card in read_cards(place / "out")]
    assert all("LEAK NOT EXCLUDED" in card.notes[0] for card in cards)


def test_other_results_are_not_overwritten(place, capsys):
    run(capsys, *PEOPLE)
    before = {path: path.read_bytes() for path in (place / "out").iterdir()}
    refused(capsys, "linear.npz", *PEOPLE, "--fresh", "--seed", "1")
    assert {path: path.read_bytes() for path in (place / "out").iterdir()} == before


def test_random_weights_for_comparison(place, capsys):
    trained = run(capsys, *PEOPLE)
    assert len(trained) == 2
    first = load_predictions("out/linear.npz").logits
    run(capsys, *PEOPLE, "--fresh", "--seed", "1", "--out", "fresh")
    assert not np.array_equal(load_predictions("fresh/linear.npz").logits, first)
    cards = [card for _, card in read_cards(place / "fresh")]
    assert {card.method for card in cards} == {"hyperformer, random weights"}


def test_refusals(place, capsys):
    refused(capsys, "give exactly one")
    refused(capsys, "no clips", "--subjects", "[9]")
    refused(capsys, "camera of clip", "--cameras", "[1]")
    refused(capsys, "unknown stream 'bones'", "--skeleton_stream", "bones", *PEOPLE)
    refused(capsys, "--device tpux", "--device", "tpux", *PEOPLE)
    refused(capsys, "leave --subjects", "--protocol", "oneshot", *PEOPLE)
    refused(capsys, "share of labels", "--protocol", "semi", "--shares", "[2.0]", *PEOPLE)
    refused(capsys, "exemplars are for", "--protocol", "oneshot", "--exemplars", "[a]")
    write_model(place / "clip", "synse", CONFIG, {"x": torch.zeros(1)}, {})
    assert main(["probe", "clip", "store", "--out", "out", *PEOPLE]) == 2
    assert "a synse model has no skeleton encoder" in capsys.readouterr().err


CAPTIONS = ("raises a hand", "sits", "holds a cup")


def write_c2vl_recipe(place):
    recipe = {
        "data": {"store": "store", "concepts": "concepts.npz", "train": {"subjects": [1, 2]}},
        "model": {
            "encoder": {"heads": 1, "strides": [2], "persons": 1, "output": None},
            "concepts": ["text"],
            "concept_width": 16,
            "width": 8,
        },
        "feeder": {"window": 8, "min_crop": 4, "rotation": 0.0},
        "train": {"epochs": 2, "batch_size": 8, "checkpoint_seconds": 0.0},
    }
    (place / "c2vl.yaml").write_text(yaml.safe_dump(recipe))


def write_captions(place):
    rows = [
        {"name": name, "captions": [CAPTIONS[i % 3], CAPTIONS[i % 2]]}
        for i, name in enumerate(SkeletonStore("store").names)
    ]
    (place / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


TOWER = {"embed": 16, "image": 32, "patch": 32, "vision_width": 16, "vision_layers": 1}
TOWER |= {"vision_head": 16, "text_width": 16, "text_layers": 1, "text_heads": 1}
CLIP = {"architecture": None, "pretrained": None, "sizes": TOWER}


def test_c2vl_from_captions_to_a_probe(place, capsys, monkeypatch):
    write_captions(place)
    write_c2vl_recipe(place)
    (place / "concepts.yaml").write_text(yaml.safe_dump({"clip": CLIP}))
    args = ["c2vl-concepts", "--config", "concepts.yaml", "--captions", "captions.jsonl"]
    assert main([*args, "--out", "concepts.npz"]) == 0
    assert main([*args, "--out", "concepts.npz"]) == 2
    assert main(["pretrain-c2vl", "c2vl.yaml", "--out", "run"]) == 0
    assert capsys.readouterr().out == "concepts.npz\nrun/model\n"
    _, _, _, meta = read_model("run/model", "c2vl")
    assert meta["classes_seen"] == []
    assert meta["labels_used"] is False
    assert not list((place / "run").rglob("checkpoints"))
    rows = run(capsys, *PEOPLE, model="run/model")
    assert rows[0]["n"] == 20
    text = json.dumps({"clip": CLIP})
    zero = ["--protocol", "zeroshot", "--text", text, "--novel", "[sit,wave]"]
    rows = run(capsys, *zero, *PEOPLE, model="run/model")
    assert rows[0]["n"] == 8
    assert load_predictions("out/zeroshot.npz").classes == ("sit", "wave")
    assert main(["probe", "run/model", "store", "--out", "o", "--protocol", "zeroshot"]) == 2
    assert "zeroshot needs text" in capsys.readouterr().err
    refused(capsys, "needs a pretrained c2vl", *zero)
    calls = []

    class Stopped(PretrainC2vl):
        def losses(self, batch):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return super().losses(batch)

    Stopped.__name__ = "PretrainC2vl"
    with monkeypatch.context() as patch:
        patch.setattr("ski_skeleton.c2vl.recipe.PretrainC2vl", Stopped)
        assert main(["pretrain-c2vl", "c2vl.yaml", "--out", "stopped"]) == 130
    assert main(["pretrain-c2vl", "c2vl.yaml", "--out", "stopped"]) == 0
    weights = [(place / f"{r}/model/weights.safetensors").read_bytes() for r in ("run", "stopped")]
    assert weights[0] == weights[1]


def test_c2vl_refusals(place, capsys):
    write_c2vl_recipe(place)
    wanted = (
        (["c2vl-concepts", "--out", "c.npz"], "--captions, --videos or both"),
        (["c2vl-concepts", "--out", "c.npy", "--captions", "c.jsonl"], ".npz"),
        (["c2vl-concepts", "--out", "c.npz", "--captions", "c.jsonl"], "no such caption file"),
        (["c2vl-concepts", "--out", "c.npz", "--captions", "c", "--device", "tpux"], "tpux"),
        (["pretrain-c2vl", "c2vl.yaml", "--out", "run"], "concepts.npz: no such concept file"),
    )
    for args, text in wanted:
        capsys.readouterr()
        assert main(args) == 2
        err = capsys.readouterr().err
        assert text in err
        assert err.count("\n") == 1
    assert not (place / "run").exists()
