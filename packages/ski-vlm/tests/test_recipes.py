from __future__ import annotations

from importlib.resources import files

import open_clip
import pytest

from ski_vlm.cli import main
from ski_vlm.recipe import read_recipe
from tools import vlm_recipes

FOLDER = files("ski_vlm") / "recipes"
NAMES = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".yaml"))


def test_files_are_what_the_table_says():
    wanted = {
        vlm_recipes.recipe_name(row, split): vlm_recipes.recipe_text(row, split)
        for row in vlm_recipes.ROWS
        for split in vlm_recipes.SPLITS
    }
    assert {name: (FOLDER / name).read_text(encoding="utf-8") for name in NAMES} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_together(name):
    recipe = read_recipe(FOLDER / name)
    assert (
        recipe.data.split.replace("/", "_")
        == name.removesuffix(".yaml").rpartition("ntu")[1]
        + (name.removesuffix(".yaml").rpartition("ntu")[2])
    )
    clip = recipe.student.clip
    assert clip.architecture in open_clip.list_models()
    tags = open_clip.list_pretrained_tags_by_model(clip.architecture)
    assert (clip.pretrained in tags) != (recipe.start is not None)
    for source in (recipe.start, recipe.skeleton and recipe.skeleton.folder):
        if source:  # runs of other recipes, under the names that these print
            row = source.removeprefix("runs/").partition("/")[0]
            assert row.startswith("skeletonclip_") or f"{row}.yaml" in NAMES
    train = recipe.train
    assert train.batch_size % (train.accumulation * 8) == 0 or train.batch_size < 256


def test_recipes_are_listed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recipes"]) == 0
    assert capsys.readouterr().out.split() == NAMES
    assert main(["recipes", "--copy", "ski-vificlip_ntu60_48-12"]) == 0
    assert read_recipe(tmp_path / "ski-vificlip_ntu60_48-12.yaml").method.alpha == 0.01
    assert main(["recipes", "--copy", "ski-vificlip_ntu60_48-12"]) == 2
    assert main(["recipes", "--copy", "nothing"]) == 2
