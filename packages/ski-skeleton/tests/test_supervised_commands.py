from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from test_supervised import plain_recipe
from tiny_run import MOVEMENTS, write_store

from ski_data.store import SkeletonStore
from ski_eval import bootstrap_interval, load_predictions, read_cards
from ski_skeleton import supervised_commands
from ski_skeleton.cli import main
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.loading import load_encoder
from ski_skeleton.train import read_model, write_model

STREAMS = ("joint", "bone")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of two streams, and their predictions."""
    folder = tmp_path_factory.mktemp("trained")
    plain = plain_recipe(write_store(folder / "store"))
    plain["train"]["epochs"] = 3
    (folder / "recipe.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    for stream in STREAMS:
        run = str(folder / stream)
        args = [
            "train-classifier",
            str(folder / "recipe.yaml"),
            "--out",
            run,
            "--skeleton_stream",
            stream,
        ]
        assert main(args) == 0
        args = ["evaluate-classifier", f"{run}/model", str(folder / "store")]
        assert main([*args, "--out", f"{run}.npz"]) == 0
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, args, *texts):
    """The command leaves with 2 and says so in one line that holds ``texts``."""
    capsys.readouterr()
    assert main([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ski-skeleton: ")
    assert err.count("\n") == 1
    for text in texts:
        assert str(text) in err


def test_training_leaves_a_model_that_says_what_trained_it(trained):
    for stream in STREAMS:
        _, config, _, meta = read_model(trained / stream / "model", "hyperformer")
        assert config["output"] == 5
        assert meta["classes"] == meta["classes_seen"] == list(MOVEMENTS)
        assert (meta["stream"], meta["subjects"], meta["seed"]) == (stream, [1, 2], 0)
        assert meta["data_hash"] == SkeletonStore(trained / "store").sha256
        assert not list((trained / stream).rglob("checkpoints"))
        loaded = load_encoder(trained / stream / "model")
        assert loaded.feeder.stream == stream
        assert loaded.trained_on == MOVEMENTS


def test_same_recipe_gives_the_same_weights(trained, place, capsys):
    args = [
        "train-classifier",
        str(trained / "recipe.yaml"),
        "--skeleton_stream",
        "bone",
        "--out",
        "again",
    ]
    assert main(args) == 0
    assert capsys.readouterr().out == "again/model\n"
    weights = "model/weights.safetensors"
    assert (place / "again" / weights).read_bytes() == (trained / "bone" / weights).read_bytes()
    refused(capsys, args, "again/model: already trained")


def test_evaluation_of_unseen_people(trained, place, capsys):
    args = ["evaluate-classifier", str(trained / "joint/model"), str(trained / "store")]
    assert main([*args, "--out", "p.npz", "--per_class"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "top-1",
        "mean class accuracy",
        *MOVEMENTS,
    ]
    assert "(20 clips, 5 classes)" in lines[0]
    assert "(4 clips, 5 classes)" in lines[-1]
    found = load_predictions("p.npz")
    assert set(found.groups) == {"3", "4"}
    cards = {card.metric: card for _, card in read_cards(place)}
    assert set(cards) == {"top-1", "mean class accuracy"}
    card = cards["top-1"]
    assert (place / "p-top-1.json").is_file()
    assert (card.value, card.n, card.n_classes) == (found.correct.mean(), 20, 5)
    assert card.interval.low <= card.value <= card.interval.high
    people = bootstrap_interval(
        found.correct.astype(float), np.array(found.groups), rng=np.random.default_rng(0)
    )
    assert (card.interval.low, card.interval.high) == (people.low, people.high)
    assert (card.method, card.seeds, card.notes) == ("hyperformer, joint stream", (0,), ())
    assert card.data_hash == SkeletonStore(trained / "store").sha256
    assert card.split == "training subjects [1, 2]"
    assert len(card.split_hash) == 64
    assert main([*args, "--out", "p.npz", "--json"]) == 0  # the same again
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == {"metric": "top-1", "value": found.correct.mean(), "n": 20}


def test_ensemble_of_streams(trained, place, capsys):
    files = [str(trained / f"{stream}.npz") for stream in STREAMS]
    assert main(["ensemble", *files, "--out", "both.npz", "--json"]) == 0
    found, joint, bone = (load_predictions(f) for f in ("both.npz", *files))
    expected = 0.4 * joint.logits + 0.6 * bone.logits
    np.testing.assert_allclose(found.logits, expected, rtol=1e-5, atol=1e-5)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["value"] == found.correct.mean()
    cards = {path.name: card for path, card in read_cards(place)}
    card = cards["both-top-1.json"]
    assert card.method == "ensemble of hyperformer, joint stream; hyperformer, bone stream"
    assert (card.value, card.seeds, card.config["weights"]) == (
        found.correct.mean(),
        (0,),
        [0.4, 0.6],
    )
    assert card.split_hash == joint.meta["split_hash"]
    assert main(["ensemble", *files, "--out", "one.npz", "--weights", "[1,0]"]) == 0
    np.testing.assert_array_equal(load_predictions("one.npz").logits, joint.logits)
    args = ["ensemble", files[0], files[0], "--out", "x.npz"]
    refused(capsys, args, "2 predictions of the joint stream")
    assert not (place / "x.npz").exists()
    refused(capsys, ["ensemble", *files, "--out", "x"], "stored as .npz")
    refused(capsys, ["ensemble", files[0], "none.npz", "--out", "x.npz"], "none.npz")


def test_converted_checkpoint_is_told_how_it_was_trained(trained, place, capsys):
    config = HyperformerConfig(heads=1, strides=(2,), persons=1, output=5)
    state = Hyperformer(config).state_dict()
    write_model(place / "model", "hyperformer", config, state, {"classes_seen": None})
    args = ["evaluate-classifier", "model", trained / "store", "--out", "p.npz"]
    refused(capsys, args, "model: the model does not say which clips trained it")
    assert main([*map(str, args), "--subjects", "[1,2]", "--skeleton_stream", "bone"]) == 0
    assert load_predictions("p.npz").meta["stream"] == "bone"
    cards = [card for _, card in read_cards(place)]
    assert all("LEAK NOT EXCLUDED" in card.notes[0] for card in cards)
    assert len(cards) == 2
    args = ["evaluate-classifier", trained / "joint/model", trained / "store", "--out", "q.npz"]
    refused(capsys, [*args, "--skeleton_stream", "bone"], "was trained on the joint stream")
    refused(capsys, [*args, "--subjects", "[1]"], "could test training clips")
    refused(capsys, [*args, "--split", "ntu60"], "unknown protocol 'ntu60'")


@pytest.mark.parametrize("name", ["bodies", "heads"])
def test_models_without_classes_are_refused(place, trained, capsys, name):
    config = HyperformerConfig(heads=1, strides=(2,), persons=1, output=None)
    meta = {"classes": ["a", "b"]}
    if name == "heads":
        config, meta = HyperformerConfig(heads=1, strides=(2,), persons=1, output=3), meta
    write_model(place / "model", "hyperformer", config, Hyperformer(config).state_dict(), meta)
    text = "has no head" if name == "bodies" else "no 3 names"
    refused(capsys, ["evaluate-classifier", "model", trained / "store", "--out", "p.npz"], text)


def test_bad_training_settings(trained, place, capsys):
    args = ["train-classifier", trained / "recipe.yaml", "--out", "run"]
    refused(capsys, [*args, "--seed", "-1"], "--seed")
    refused(capsys, [*args, "--skeleton_stream", "ears"], "--skeleton_stream 'ears'")
    plain = plain_recipe(trained / "store")
    plain["encoder"]["output"] = 5
    (place / "r.yaml").write_text(yaml.safe_dump(plain))
    refused(capsys, ["train-classifier", "r.yaml", "--out", "run"], "r.yaml", "must be null")
    plain = plain_recipe("nowhere")
    (place / "r.yaml").write_text(yaml.safe_dump(plain))
    refused(capsys, ["train-classifier", "r.yaml", "--out", "run"], "nowhere: no such store")
    assert not (place / "run").exists()


def test_other_encoders_by_kind(trained, place, capsys):
    plain = plain_recipe(trained / "store")
    sizes = {"kind": "stgcn", "channels": [8], "strides": [2]}
    plain["encoder"] = {**sizes, "persons": 1, "output": None}
    plain["train"]["epochs"] = 1
    (place / "r.yaml").write_text(yaml.safe_dump(plain))
    assert main(["train-classifier", "r.yaml", "--out", "run"]) == 0
    assert read_model("run/model")[0] == "stgcn"
    args = ["evaluate-classifier", "run/model", str(trained / "store"), "--out", "p.npz"]
    assert main(args) == 0
    assert load_predictions("p.npz").logits.shape == (20, 5)
    write_model(place / "other", "c2vl", {}, {}, {})
    refused(capsys, [args[0], "other", *args[2:]], "other: a c2vl model is no classifier")


def test_run_of_another_stream_is_not_gone_on_with(trained, place, monkeypatch, capsys):
    def stop(recipe, clips, folder, **kwargs):
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    args = ["train-classifier", str(trained / "recipe.yaml"), "--out", "run"]
    with monkeypatch.context() as patch:
        patch.setattr(supervised_commands.supervised, "train_classifier", stop)
        assert main(args) == 130
    refused(capsys, [*args, "--skeleton_stream", "bone"], "run: holds a run of another recipe")


def test_settings_that_do_not_fit_can_be_mended(trained, place, capsys):
    plain = plain_recipe(trained / "store")
    plain["train"]["epochs"] = 1
    plain["train"]["precision"] = "fp16"
    (place / "r.yaml").write_text(yaml.safe_dump(plain))
    args = ["train-classifier", "r.yaml", "--out", "run"]
    refused(capsys, args, "precision fp16")
    plain["train"]["precision"] = "no"
    (place / "r.yaml").write_text(yaml.safe_dump(plain))
    assert main(args) == 0


def test_half_precision_without_an_accelerator(trained, place, capsys, monkeypatch):
    plain = plain_recipe(trained / "store")
    plain["train"]["precision"] = "fp16"
    (place / "r.yaml").write_text(yaml.safe_dump(plain))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    args = ["train-classifier", "r.yaml", "--out", "run"]
    refused(capsys, args, "r.yaml: precision fp16")
