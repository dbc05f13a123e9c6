from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest
import yaml
from tiny_lvlm import losses

from ski_data.config import to_plain
from ski_lvlm.cli import main
from ski_lvlm.recipe import read_recipe
from ski_lvlm.train import train

FOLDER = files("ski_lvlm") / "recipes"
NAMES = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_recipe_loads_dry_runs_and_trains(tiny, tmp_path, capsys, name):
    recipe = read_recipe(str(FOLDER / name))
    published = (recipe.epochs, recipe.batch_size, recipe.lr, recipe.warmup, recipe.precision)
    assert published == (3, 32, 2e-5, 0.03, "bfloat16")
    assert (recipe.data.skeleton is None) == (recipe.prompts.skeleton == "absent")
    if recipe.data.skeleton:
        assert ("-75" in recipe.data.skeleton) == ("released" in name)
    assert (recipe.prompts.skeleton == "zeros") == ("zero-skeleton" in name)
    data = {k: str(tiny / k) if getattr(recipe.data, k) else None for k in ("video", "skeleton")}
    small = replace(
        recipe,
        base=replace(recipe.base, name=str(tiny / "base")),
        data=replace(recipe.data, pairs=str(tiny / "pairs.jsonl"), **data),
        start=None,
        epochs=1,
        batch_size=8,
        zero="none",
    )
    path = tmp_path / name
    path.write_text(yaml.safe_dump(to_plain(small)))
    assert main(["train", str(path), "--out", str(tmp_path / "run"), "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "pairs: 24, updates: 3," in out
    assert "note" not in out
    assert ("projectors.boundary (6, 16)" in out) == recipe.boundary_rows
    assert not (tmp_path / "run").exists()
    train(small, tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 1


def test_recipes_are_listed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes"]) == 0
    assert capsys.readouterr().out.split() == NAMES
    assert main(["recipes", "--copy", "ski-lvlm_ntu120_paper"]) == 0
    assert not read_recipe("ski-lvlm_ntu120_paper.yaml").boundary_rows
    assert main(["recipes", "--copy", "nothing"]) == 2
