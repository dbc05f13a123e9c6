from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from small_methods import METHODS
from tiny_run import write_store

from ski_data.config import to_plain
from ski_data.errors import ExistingOutputError, InputError
from ski_eval import load_predictions, read_cards
from ski_skeleton.cli import main
from ski_skeleton.errors import ConfigError, RunError
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.train import read_model, write_model
from ski_skeleton.zeroshot import texts
from ski_skeleton.zeroshot.cards import GENERALISED, TRANSDUCTIVE, ZERO_SHOT
from ski_skeleton.zeroshot.features import load_features, save_features
from ski_skeleton.zeroshot.neighbours import NeighbourConfig, mixing_matrix
from ski_skeleton.zeroshot.pgfa import PrototypeConfig
from ski_skeleton.zeroshot.protocol import LeakError, ProtocolConfig
from ski_skeleton.zeroshot.recipe import FeatureConfig, ZeroShotRecipe, read_zero_shot_recipe
from ski_skeleton.zeroshot.run import run
from ski_skeleton.zeroshot.texts import TextConfig, write_vectors

UNSEEN = ("verb0 noun0", "verb1 noun1", "verb2 noun2", "verb3 noun3", "verb4 noun4")


@pytest.fixture(scope="module")
def files(tmp_path_factory, clips, classes):
    folder = tmp_path_factory.mktemp("files")
    known = tuple(name for name in classes[0] if name not in UNSEEN)
    save_features(replace(clips, trained_on=known), folder / "f.safetensors")
    save_features(replace(clips, trained_on=None), folder / "unknown.safetensors")
    save_features(replace(clips, trained_on=UNSEEN[:1]), folder / "leak.safetensors")
    write_vectors(folder / "t.safetensors", *classes)
    return folder


def recipe(files, kind="smie", name="f", **protocol):
    return ZeroShotRecipe(
        kind=kind,
        features=FeatureConfig(file=str(files / f"{name}.safetensors")),
        text=TextConfig(file=str(files / "t.safetensors")),
        train=TrainRule(subjects=(0, 1, 2, 3, 4)),
        unseen=UNSEEN,
        **{kind.replace("-", "_"): config for kind, config in METHODS.items()},
        protocol=ProtocolConfig(**protocol),
    )


def values(cards):
    return {(card.protocol, card.metric): card.value for card in cards}


@pytest.mark.parametrize("kind", ["synse", "sa-dvae", "smie", "star", "pgfa", "tdsm"])
def test_a_run_leaves_model_predictions_and_cards(files, tmp_path, kind):
    settings = recipe(files, kind)
    cards = run(settings, tmp_path / "run")
    found = values(cards)
    assert found[ZERO_SHOT, "top-1"] > 0.4
    assert {metric for protocol, metric in found if protocol == GENERALISED} == {
        "S",
        "U",
        "H",
        "S, mean class accuracy",
        "U, mean class accuracy",
    }
    assert found[GENERALISED, "H"] > 0.15
    assert not [protocol for protocol, _ in found if "best-on-test" in protocol]
    stored = {path.name: card for path, card in read_cards(tmp_path / "run" / "results")}
    assert len(stored) == len(cards)
    first = next(iter(stored.values()))
    assert first.seeds == (0,)
    assert len(first.split_hash) == 64
    _, _, _, meta = read_model(tmp_path / "run" / "seed-0" / "model", f"zeroshot-{kind}")
    assert not set(meta["classes_seen"]) & set(UNSEEN)
    assert len(meta["classes_seen"]) == 25
    wide = load_predictions(tmp_path / "run" / "seed-0" / "generalised.npz")
    assert wide.unseen == (0, 6, 12, 18, 24)
    assert (np.array([int(g) for g in wide.groups]) >= 5).all()
    assert not set(wide.meta["pseudo_unseen"]) & set(UNSEEN)
    assert read_zero_shot_recipe(tmp_path / "run" / "config.yaml") == settings
    assert (tmp_path / "run" / "seed-0" / "train" / "log.jsonl").is_file()
    assert not list((tmp_path / "run").rglob("checkpoints"))
    with pytest.raises(ExistingOutputError, match="already there"):
        run(settings, tmp_path / "run")
    with pytest.raises(RunError, match="another recipe"):
        run(replace(settings, seeds=(5,)), tmp_path / "run")


def test_transductive_figures_stand_on_cards_of_their_own(files, tmp_path):
    settings = replace(recipe(files, "pgfa"), prototypes=PrototypeConfig(0.9), seeds=(0, 1))
    cards = run(settings, tmp_path / "run")
    plain = run(replace(settings, prototypes=None), tmp_path / "plain")
    assert values(plain) == {k: v for k, v in values(cards).items() if k[0] != TRANSDUCTIVE}
    marked = [card for card in cards if card.protocol == TRANSDUCTIVE]
    assert "transductive" in TRANSDUCTIVE
    assert {card.metric for card in marked} >= {"top-1", "mean class accuracy"}
    assert all("not comparable" in " ".join(card.notes) for card in marked)
    others = [card for card in cards if card.protocol != TRANSDUCTIVE]
    assert not any("not comparable" in " ".join(card.notes) for card in others)
    stored = load_predictions(tmp_path / "run" / "seed-1" / "transductive.npz")
    assert stored.meta["transductive"] is True
    assert stored.correct.mean() == pytest.approx(1, abs=0.2)
    assert not (tmp_path / "plain" / "seed-1" / "transductive.npz").exists()
    with pytest.raises(ConfigError, match="SMIE has none"):
        replace(settings, kind="smie")


def test_neighbours_come_from_the_classes_that_are_known(files, tmp_path, monkeypatch):
    """Of all candidates in the run, but of the seen ones alone where the factor is tuned."""
    asked = []

    def noted(text, config):
        asked.append(len(text))
        return mixing_matrix(text, config)

    monkeypatch.setattr(texts, "mixing_matrix", noted)
    settings = recipe(files, "pgfa")
    attuned = replace(settings, text=replace(settings.text, neighbours=NeighbourConfig()))
    cards = run(attuned, tmp_path / "run")
    assert asked == [25, 30, 25]
    assert values(cards)[ZERO_SHOT, "top-1"] > 0.6
    assert all("unseen ones included" in " ".join(card.notes) for card in cards)
    assert values(run(settings, tmp_path / "plain")) != values(cards)
    assert asked == [25, 30, 25]
    many = replace(settings, text=replace(settings.text, neighbours=NeighbourConfig(k=26)))
    with pytest.raises(InputError, match="25 classes have no 26 neighbours"):
        run(many, tmp_path / "many")
    assert not (tmp_path / "many").exists()


def test_texts_without_tokens_are_told(files, tmp_path):
    cards = run(recipe(files, "tdsm", generalised=False), tmp_path / "run")
    assert all("its own single token" in " ".join(card.notes) for card in cards)


def test_seeds_give_a_mean_and_its_interval(files, tmp_path):
    settings = replace(recipe(files, generalised=False), seeds=(0, 3))
    cards = run(settings, tmp_path / "run")
    top = next(card for card in cards if card.metric == "top-1")
    each = [
        load_predictions(tmp_path / "run" / f"seed-{s}" / "zero-shot.npz").correct.mean()
        for s in (0, 3)
    ]
    assert top.value == pytest.approx(np.mean(each))
    assert "Student" in top.interval.method
    assert {card.protocol for card in cards} == {ZERO_SHOT}


def test_a_trained_model_is_used_again(files, tmp_path):
    settings = recipe(files, generalised=False)
    first = values(run(settings, tmp_path / "run"))
    log = tmp_path / "run" / "seed-0" / "train" / "log.jsonl"
    before = log.stat().st_mtime_ns
    for path in (tmp_path / "run" / "results").iterdir():
        path.unlink()
    (tmp_path / "run" / "results").rmdir()
    assert values(run(settings, tmp_path / "run")) == first
    assert log.stat().st_mtime_ns == before


def test_the_null_of_permuted_names_is_marked_and_near_chance(files, tmp_path):
    cards = run(recipe(files, generalised=False, permute_names=3), tmp_path / "run")
    assert values(cards)[ZERO_SHOT, "top-1"] < 0.35
    assert all("null" in " ".join(card.notes) for card in cards)


def test_best_on_test_only_under_its_label(files, tmp_path):
    cards = run(recipe(files, best_on_test=True), tmp_path / "run")
    found = values(cards)
    label = f"{GENERALISED}, best-on-test"
    assert found[label, "H"] >= found[GENERALISED, "H"]
    marked = next(card for card in cards if card.protocol == label)
    assert "upper bound" in " ".join(marked.notes)


def test_leak_guard_refuses_or_marks(files, tmp_path):
    with pytest.raises(LeakError, match="verb0 noun0"):
        run(recipe(files, name="leak", allow_unknown_encoder=True), tmp_path / "a")
    with pytest.raises(LeakError, match="allow_unknown_encoder"):
        run(recipe(files, name="unknown"), tmp_path / "b")
    assert not list(tmp_path.iterdir())
    settings = recipe(files, name="unknown", generalised=False, allow_unknown_encoder=True)
    cards = run(settings, tmp_path / "c")
    assert all("does not say" in " ".join(card.notes) for card in cards)


def test_calibration_sees_no_test_clip(files, tmp_path, clips):
    """Other features of test people and unseen classes leave factor and gate as they were."""
    changed = clips.features.copy()
    test = (clips.subjects >= 5) | np.isin(clips.labels, [0, 6, 12, 18, 24])
    changed[test] = np.random.default_rng(0).normal(size=changed[test].shape)
    known = tuple(name for name in clips.classes if name not in UNSEEN)
    save_features(replace(clips, features=changed, trained_on=known), tmp_path / "f.safetensors")
    meta = []
    for kind in ("smie", "synse"):
        for number, folder in enumerate((files, tmp_path)):
            short = recipe(files, kind)
            settings = replace(
                short,
                features=FeatureConfig(file=str(folder / "f.safetensors")),
                smie=replace(short.smie, epochs=3),
                synse=replace(short.synse, cycles=1, cycle_steps=30),
            )
            place = tmp_path / f"{kind}{number}"
            run(settings, place)
            found = load_predictions(place / "seed-0" / "generalised.npz").meta
            meta.append(json.dumps(dict(found), sort_keys=True))
    assert meta[0] == meta[1]
    assert meta[2] == meta[3]


def test_published_splits_need_their_classes(files, tmp_path):
    settings = replace(recipe(files), unseen=(), split="ntu60/55-5")
    with pytest.raises(InputError, match="30 classes, ntu60/55-5 is of 60"):
        run(settings, tmp_path / "run")
    with pytest.raises(InputError, match="no classes"):
        run(replace(recipe(files), unseen=("jump", "run")), tmp_path / "run")
    with pytest.raises(ConfigError, match="either a published split"):
        replace(recipe(files), split="ntu60/55-5")
    with pytest.raises(ConfigError, match="seeds"):
        replace(recipe(files), seeds=(1, 1))


def test_from_store_and_encoder_by_the_command_line(tmp_path, capsys, monkeypatch):
    """Features of a store by a trained encoder, and a run that extracts them itself."""
    monkeypatch.chdir(tmp_path)
    store = write_store(tmp_path / "store")
    config = HyperformerConfig(heads=1, strides=(2,), persons=1, output=None)
    state = Hyperformer(config).state_dict()
    meta = {"classes_seen": ["bow", "clap", "kick"], "feeder": {"window": 8, "min_crop": 4}}
    write_model(tmp_path / "model", "hyperformer", config, state, meta)
    args = ["features", "model", "store", "f.safetensors", "--extract.maps", "true"]
    assert main([*args, "--skeleton_stream", "bones"]) == 2
    assert "unknown stream 'bones'" in capsys.readouterr().err
    assert main(args) == 0
    assert capsys.readouterr().out == "f.safetensors\n"
    found = load_features("f.safetensors")
    assert found.trained_on == ("bow", "clap", "kick")
    assert found.maps.shape[2:] == (4, 25)
    assert main(args) == 2
    assert "already there" in capsys.readouterr().err
    sizes = {"embed": 16, "image": 32, "patch": 32, "vision_width": 16, "vision_layers": 1}
    sizes |= {"vision_head": 16, "text_width": 16, "text_layers": 1, "text_heads": 1}
    plain = {
        "kind": "star",
        "features": {
            "store": str(store),
            "encoder": "model",
            "feeder": {"window": 8, "min_crop": 4},
            "extract": {"maps": True},
        },
        "text": {"clip": {"architecture": None, "sizes": sizes}},
        "train": {"subjects": [1, 2]},
        "unseen": ["sit", "wave"],
        "star": {"epochs": 1, "attributes": 4, "hidden": 8},
        "protocol": {"generalised": False},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert main(["zeroshot", "r.yaml", "--out", "run"]) == 0
    card = read_cards(tmp_path / "run" / "results")[0][1]
    assert card.n == 8
    assert card.n_classes == 2
    plain["unseen"] = ["clap", "wave"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    capsys.readouterr()
    assert main(["zeroshot", "r.yaml", "--out", "other"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "was trained on ['clap']" in err
    assert not (tmp_path / "other").exists()


def test_command_line(files, tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    plain = to_plain(recipe(files, generalised=False))
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    args = ["zeroshot", str(path), "--out", str(tmp_path / "run"), "--seeds", "2", "--json"]
    assert main(args) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["metric"] for line in lines} >= {"top-1", "mean class accuracy"}
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "already there" in err
    assert err.count("\n") == 1
    args[3] = str(tmp_path / "table")
    assert main(args[:-1]) == 0
    assert "top-1" in capsys.readouterr().out
