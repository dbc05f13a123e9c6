from __future__ import annotations

from importlib.resources import files

import open_clip
import pytest
from tiny_videos import CLIP, plain_recipe, skeleton_side, write_clips, write_recipe

from ski_vlm.cli import main
from ski_vlm.recipe import read_recipe
from tools import vlm_recipes

FOLDER = files("ski_vlm") / "recipes"
NAMES = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".yaml"))


def test_files_of_the_table_are_what_it_says():
    wanted = {
        vlm_recipes.recipe_name(row, split): vlm_recipes.recipe_text(row, split)
        for row in vlm_recipes.ROWS
        for split in vlm_recipes.SPLITS
    }
    assert set(wanted) <= set(NAMES)  # others are no rows of the paper's tables
    assert {name: (FOLDER / name).read_text(encoding="utf-8") for name in wanted} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_together(name):
    recipe = read_recipe(FOLDER / name)
    if recipe.data.split is not None:  # a published one, which the name tells
        assert name.endswith(f"_{recipe.data.split.replace('/', '_')}.yaml")
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


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("48-12.yaml")])
def test_dry_run(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(FOLDER / name), "--out", "run", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "student: 149.62 M parameters" in out or "student: 194.93 M parameters" in out
    assert "no such manifest" in out
    assert not (tmp_path / "run").exists()


TINY = {"architecture": None, "pretrained": None, "sizes": CLIP}
"""In the place of every CLIP."""


def shrunk(plain):
    """Settings with toy towers."""
    if not isinstance(plain, dict):
        return plain
    return TINY if "architecture" in plain else {k: shrunk(v) for k, v in plain.items()}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("row", vlm_recipes.ROWS)
def test_one_step_of_each_row(tmp_path, clips, row):
    plain = shrunk(vlm_recipes.ROWS[row]("ntu60/48-12"))
    student = plain["student"] | {"frames": 4, "short_side": 32}
    if plain.pop("start", None):  # what the run of the other recipe would have left
        first = plain_recipe(clips, student=student, method={"kind": "zero-shot"})
        path = write_recipe(tmp_path / "first.yaml", first)
        assert main(["train", str(path), "--out", str(tmp_path / "first")]) == 0
        plain["start"] = str(tmp_path / "first" / "seed-0")
    if "skeleton" in plain:
        plain["skeleton"] = skeleton_side(train_text=plain["skeleton"].get("train_text"))
    data = plain_recipe(clips)
    train = plain.get("train", {}) | {"epochs": 1, "batch_size": 4, "accumulation": 1, "workers": 0}
    plain |= {"student": student, "data": data["data"], "feeder": data["feeder"], "seeds": [0]}
    if "train" in plain:
        plain["train"] = train
    path = write_recipe(tmp_path / "recipe.yaml", plain)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    log = tmp_path / "run" / "seed-0" / "log.jsonl"
    assert log.exists() == (row != "clip")
