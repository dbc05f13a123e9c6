from __future__ import annotations

from importlib.resources import files

import open_clip
import pytest

from ski_data.splits import zero_shot_split
from ski_skeleton.convert.hyperformer import SKI_HEAD, hyperformer_table
from ski_skeleton.pipeline import read_recipe
from ski_skeleton.skeleton_clip import paper_preset
from ski_skeleton.train import learning_rate

FOLDER = files("ski_skeleton") / "recipes"
NAMES = sorted(i.name for i in FOLDER.iterdir() if i.name.startswith("skeletonclip_"))
PUBLISHED = [name for name in NAMES if "_ntu" in name]
"""Those of published splits; others are of people's own data."""
PEOPLE = {"ntu60": (20, 40), "ntu120": (53, 106)}
"""People that train in the cross-subject protocol, of how many."""


def test_there_is_one_per_published_split():
    splits = {read_recipe(FOLDER / name).data.split for name in PUBLISHED}
    assert splits >= {"ntu60/55-5", "ntu60/48-12", "ntu120/110-10", "ntu120/96-24"}
    assert len(splits) == len(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
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


@pytest.mark.parametrize("name", NAMES)
def test_schedules_are_the_published_ones(name):
    """Hyperformer warms up once per epoch, the alignment with every step, its clock running."""
    recipe = read_recipe(FOLDER / name)
    assert recipe.classify is not None
    first, last = recipe.classify.optim, recipe.align.optim
    assert [learning_rate(first, 10 * e + 9, 10, 1400) for e in (0, 1, 4, 109, 110, 120)] == [
        pytest.approx(rate) for rate in (0.005, 0.01, 0.025, 0.025, 0.0025, 0.00025)
    ]
    assert (first.name, first.momentum, first.weight_decay) == ("sgd", 0.9, 4e-4)
    assert (last.name, last.betas, last.eps, last.weight_decay) == (
        "adamw",
        (0.9, 0.98),
        1e-8,
        1e-3,
    )
    assert (last.schedule, last.min_ratio, last.warmup_by) == ("cosine", 0.01, "step")
    assert learning_rate(last, 24, 10, 1000) == pytest.approx(0.5 * 2.25e-5)
    assert learning_rate(last, 500, 10, 1000) == pytest.approx(0.505 * 2.25e-5)
    assert recipe.align.batch_size == 512
