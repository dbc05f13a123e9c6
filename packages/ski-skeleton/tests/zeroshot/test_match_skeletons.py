from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from tiny_run import plain_recipe, write_recipe, write_store

from ski_data.splits import zero_shot_split
from ski_eval import load_predictions
from ski_skeleton import pipeline
from ski_skeleton.cli import main
from ski_skeleton.errors import ConfigError
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.zeroshot.pgfa import (
    MatchConfig,
    MatchSkeletons,
    PrototypeConfig,
    label_matching_loss,
)

FOLDER = files("ski_skeleton") / "recipes"
RECIPES = sorted(i.name for i in FOLDER.iterdir() if i.name.startswith("skeletonclip-pgfa_"))


@pytest.fixture
def plain(tmp_path):
    found = plain_recipe(write_store(tmp_path / "store"))
    found["model"]["encoder"] = {
        "kind": "stgcn",
        "channels": [4, 8],
        "strides": [1, 2],
        "persons": 1,
        "output": 16,
        "kernel": 3,
        "dropout": 0.0,
    }
    found |= {"classify": None, "matching": {"temperature": 0.1}}
    return found


def test_loss_is_that_of_embeddings_and_prompts(plain, tmp_path):
    recipe = pipeline.read_recipe(write_recipe(tmp_path / "r.yaml", plain))
    model = SkeletonClip(recipe.model).eval()
    task = MatchSkeletons(model, ["bow", "clap", "kick"], recipe.matching)
    label = torch.tensor([2, 0, 2, 1])
    batch = {"skeleton": torch.randn(4, 3, 8, 25, 1), "label": label}
    text = model.text.unit_text([f"a photo of a {n}." for n in ("bow", "clap", "kick")])
    expected = label_matching_loss(
        model.embed(batch["skeleton"]), text[label], label, MatchConfig(temperature=0.1)
    )
    found = task(batch)
    torch.testing.assert_close(found["loss"], expected)
    found["loss"].backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_training_and_transductive_evaluation(plain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plain["align"] |= {"epochs": 6}
    write_recipe(tmp_path / "r.yaml", plain)
    assert main(["train", "r.yaml", "--out", "run"]) == 0
    log = (tmp_path / "run" / "align" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in log]
    assert "cosine" in lines[0]
    assert lines[-1]["loss"] < lines[0]["loss"]
    args = ["evaluate", "r.yaml", "run/model", "--out"]
    assert main([*args, "plain"]) == 0
    assert "transductive" not in capsys.readouterr().out
    assert main([*args, "with", "--prototypes", "0.9"]) == 0
    assert "unseen-classes-transductive  top-1" in capsys.readouterr().out
    assert not list((tmp_path / "plain").glob("*transductive*"))
    one = load_predictions(tmp_path / "with" / "unseen-classes.npz")
    two = load_predictions(tmp_path / "with" / "unseen-classes-transductive.npz")
    assert one.names == two.names
    assert two.meta["transductive"] is True
    assert np.abs(two.logits).max() <= 1 + 1e-5
    same = load_predictions(tmp_path / "plain" / "unseen-classes.npz")
    assert np.array_equal(same.logits, one.logits)
    assert main([*args, "no", "--prototypes", "1.5"]) == 2
    assert "share must be within 0..1" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_models_without_cosine(plain, tmp_path):
    del plain["matching"]
    plain["model"]["similarity"] = "dot"
    recipe = pipeline.read_recipe(write_recipe(tmp_path / "r.yaml", plain))
    model, sets = SkeletonClip(recipe.model), pipeline.open_sets(recipe)
    text = r"set model\.similarity to cosine"
    with pytest.raises(ConfigError, match=text):
        MatchSkeletons(model, sets.seen, MatchConfig())
    with pytest.raises(ConfigError, match=text):
        pipeline.prototype_scores(model, sets.test_unseen, sets.unseen, PrototypeConfig())
    with pytest.raises(ConfigError, match=text):
        replace(recipe, matching=MatchConfig())


def test_there_is_a_recipe_per_published_split():
    splits = {pipeline.read_recipe(FOLDER / name).data.split for name in RECIPES}
    assert splits == {"ntu60/55-5", "ntu60/48-12", "ntu120/110-10", "ntu120/96-24"}
    for name in RECIPES:
        recipe = pipeline.read_recipe(FOLDER / name)
        other = pipeline.read_recipe(FOLDER / name.replace("-pgfa", ""))
        assert recipe.data == other.data
        assert name == f"skeletonclip-pgfa_{recipe.data.split.replace('/', '_')}.yaml"
        assert zero_shot_split(recipe.data.split).name == recipe.data.split
        assert recipe.matching == MatchConfig()
        assert recipe.model.similarity == "cosine"
        assert recipe.model.encoder.output == 768
        lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
        assert "ski-skeleton train FILE --out RUN" in lines[0]
        assert all(len(line) <= 110 for line in lines)
