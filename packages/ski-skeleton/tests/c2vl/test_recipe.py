from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ski_data.errors import InputError
from ski_skeleton.c2vl import recipe as recipes
from ski_skeleton.c2vl import save_concepts
from ski_skeleton.c2vl.recipe import load_c2vl, model_meta, open_source, pretrain
from ski_skeleton.c2vl.task import PretrainC2vl
from ski_skeleton.train import write_model


def weights(module):
    return torch.cat([v.detach().flatten().double() for v in module.state_dict().values()])


def changed(recipe, **parts):
    return replace(
        recipe, **{name: replace(getattr(recipe, name), **new) for name, new in parts.items()}
    )


def test_samples_hold_no_labels(recipe):
    source = open_source(recipe)
    assert len(source) == 20
    assert set(source[0]) == {"index", "skeleton", "text", "vision"}
    assert source[0]["skeleton"].shape == (3, 8, 25, 1)
    again = open_source(recipe)
    np.testing.assert_array_equal(source[3]["skeleton"], again[3]["skeleton"])
    again.set_epoch(1)
    assert not np.array_equal(source[3]["skeleton"], again[3]["skeleton"])


def test_pretraining_pulls_clips_to_their_concepts(recipe, tmp_path):
    recipe = changed(recipe, train={"epochs": 12})
    source = open_source(recipe)
    model = pretrain(recipe, source, tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines[-1]["contrast"] < 0.8 * lines[0]["contrast"]
    assert set(lines[0]) >= {"loss", "contrast", "distillation", "scale"}
    assert not model.training


@pytest.mark.parametrize(("stop_at", "accumulation"), [(2, 1), (5, 1), (6, 2)])
def test_killed_run_ends_with_the_same_weights(
    recipe, tmp_path, monkeypatch, stop_at, accumulation
):
    recipe = changed(recipe, train={"accumulation": accumulation})
    source = open_source(recipe)
    tasks, calls = [], []

    class Watched(PretrainC2vl):
        stop = False

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            tasks.append(self)

        def losses(self, batch):
            calls.append(1)
            if self.stop and len(calls) == stop_at:
                raise KeyboardInterrupt
            return super().losses(batch)

    Watched.__name__ = "PretrainC2vl"
    monkeypatch.setattr(recipes, "PretrainC2vl", Watched)
    pretrain(recipe, source, tmp_path / "a")
    calls.clear()
    Watched.stop = True
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, source, tmp_path / "b")
    assert list((tmp_path / "b/checkpoints").iterdir())
    Watched.stop = False
    pretrain(recipe, source, tmp_path / "b")
    whole, _, resumed = tasks
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.seen == resumed.seen > stop_at
    logs = [[json.loads(x) for x in (tmp_path / n / "log.jsonl").open()] for n in "ab"]
    for line in logs[0] + logs[1]:
        del line["seconds"]
    assert logs[0] == logs[1]


def test_model_folder_says_that_labels_were_not_used(recipe, tmp_path):
    model = pretrain(recipe, open_source(recipe), tmp_path / "run")
    meta = model_meta(recipe, seed=0)
    write_model(tmp_path / "model", recipes.KIND, recipe.model, model.state_dict(), meta)
    loaded, meta = load_c2vl(tmp_path / "model")
    assert torch.equal(weights(model), weights(loaded))
    assert meta["classes_seen"] == []
    assert meta["labels_used"] is False
    assert meta["feeder"]["window"] == 8


def test_refusals(recipe):
    with pytest.raises(InputError, match="12 wide"):
        open_source(changed(recipe, model={"concept_width": 13}))
    with pytest.raises(InputError, match="train no clips"):
        open_source(changed(recipe, data={"train": replace(recipe.data.train, subjects=(9,))}))
    rule = replace(recipe.data.train, subjects=(), cameras=(1,))
    with pytest.raises(InputError, match="camera of clip"):
        open_source(changed(recipe, data={"train": rule}))


def test_clips_without_concepts_are_named(recipe, tmp_path):
    concepts = recipes.load_concepts(recipe.data.concepts)
    fewer = recipes.Concepts(concepts.names[1:], concepts.text[1:])
    save_concepts(fewer, tmp_path / "fewer.npz")
    recipe = changed(recipe, data={"concepts": str(tmp_path / "fewer.npz")})
    with pytest.raises(InputError, match=r"fewer.npz: 1 of 20 clips .*'p1-0-0'"):
        open_source(recipe)
    save_concepts(recipes.Concepts(concepts.names, concepts.text), tmp_path / "text.npz")
    with pytest.raises(InputError, match="no vision vectors"):
        open_source(changed(recipe, data={"concepts": str(tmp_path / "text.npz")}))
