from __future__ import annotations

from importlib.resources import files

import open_clip
import pytest

from ski_data.splits import zero_shot_split
from ski_skeleton.convert.hyperformer import SKI_HEAD, hyperformer_table
from ski_skeleton.pipeline import read_recipe
from ski_skeleton.skeleton_clip import paper_preset

FOLDER = files("ski_skeleton") / "recipes"
NAMES = sorted(i.name for i in FOLDER.iterdir() if i.name.startswith("skeletonclip_"))
PEOPLE = {"ntu60": (20, 40), "ntu120": (53, 106)}
"""People that train in the cross-subject protocol, of how many."""


def test_there_is_one_per_published_split():
    splits = {read_recipe(FOLDER / name).data.split for name in NAMES}
    assert splits == {"ntu60/55-5", "ntu60/48-12", "ntu120/110-10", "ntu120/96-24"}
    assert len(splits) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_together(name):
    recipe = read_recipe(FOLDER / name)
    split = zero_shot_split(recipe.data.split)
    assert name == f"skeletonclip_{split.name.replace('/', '_')}.yaml"
    assert not set(split.seen.ids) & set(split.unseen.ids)
    train, everyone = PEOPLE[split.name.split("/")[0]]
    assert len(set(recipe.data.train_subjects)) == len(recipe.data.train_subjects) == train
    assert 1 <= min(recipe.data.train_subjects) <= max(recipe.data.train_subjects) <= everyone
    assert recipe.model == paper_preset(recipe.model)
    text = open_clip.get_model_config(recipe.model.clip.architecture)
    assert recipe.model.encoder.output == text["embed_dim"]
    assert recipe.model.clip.pretrained in open_clip.list_pretrained_tags_by_model(
        recipe.model.clip.architecture
    )
    assert recipe.feeder.window % 4 == 0  # two strides of 2
    assert recipe.classify is not None
    assert len(hyperformer_table(recipe.model.encoder, SKI_HEAD)) > 100


@pytest.mark.parametrize("name", NAMES)
def test_header_says_how_to_launch(name):
    first = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert "ski-skeleton train FILE --out RUN" in first
