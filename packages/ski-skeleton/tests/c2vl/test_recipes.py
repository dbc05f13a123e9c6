from __future__ import annotations

from importlib.resources import files

import pytest

from ski_skeleton.c2vl import read_recipe

FOLDER = files("ski_skeleton") / "recipes"
PEOPLE = {"c2vl_ntu60_xsub.yaml": 20, "c2vl_ntu120_xsub.yaml": 53}


def test_there_is_one_per_data_set():
    assert {i.name for i in FOLDER.iterdir() if i.name.startswith("c2vl_")} == set(PEOPLE)


@pytest.mark.parametrize("name", PEOPLE)
def test_recipe_fits_together(name):
    recipe = read_recipe(FOLDER / name)
    assert len(set(recipe.data.train.subjects)) == PEOPLE[name]
    assert recipe.feeder.rotation == 0
    assert recipe.feeder.window % 4 == 0
    assert recipe.model.concepts == ("text", "vision")
    first = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
    assert "ski-skeleton pretrain-c2vl FILE --out RUN" in first
