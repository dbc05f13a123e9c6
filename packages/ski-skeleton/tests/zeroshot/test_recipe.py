from __future__ import annotations

from importlib.resources import files

import open_clip
import pytest

from ski_data.errors import InputError
from ski_data.splits import zero_shot_split
from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.recipe import FeatureConfig, read_zero_shot_recipe

FOLDER = files("ski_skeleton") / "recipes"
KINDS = ("synse", "sa-dvae", "smie", "star", "pgfa", "tdsm")
NAMES = sorted(i.name for i in FOLDER.iterdir() if i.name.startswith(KINDS))
PEOPLE = {"ntu60": (20, 40), "ntu120": (53, 106)}


def test_there_is_one_per_method_and_published_split():
    found = {(r.kind, r.split) for r in (read_zero_shot_recipe(FOLDER / name) for name in NAMES)}
    splits = ("ntu60/55-5", "ntu60/48-12", "ntu120/110-10", "ntu120/96-24")
    assert found == {(kind, split) for kind in KINDS for split in splits}


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_together(name):
    recipe = read_zero_shot_recipe(FOLDER / name)
    split = zero_shot_split(recipe.split)
    assert name == f"{recipe.kind}_{split.name.replace('/', '_')}.yaml"
    data = split.name.split("/")[0]
    train, everyone = PEOPLE[data]
    assert len(set(recipe.train.subjects)) == len(recipe.train.subjects) == train
    assert max(recipe.train.subjects) <= everyone
    assert recipe.preset == "default"
    assert not recipe.protocol.best_on_test
    assert not recipe.protocol.allow_unknown_encoder
    if recipe.text.clip is not None:
        model = open_clip.get_model_config(recipe.text.clip.architecture)
        assert model["embed_dim"] % recipe.star.heads == 0
        tags = open_clip.list_pretrained_tags_by_model(recipe.text.clip.architecture)
        assert recipe.text.clip.pretrained in tags
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    assert "ski-skeleton zeroshot FILE --out RUN" in lines[0]
    assert all(len(line) <= 110 for line in lines)


def test_official_preset_reaches_every_switch(tmp_path):
    found = {}
    for kind in ("synse", "smie", "star", "tdsm"):
        text = (FOLDER / f"{kind}_ntu60_55-5.yaml").read_text(encoding="utf-8")
        path = tmp_path / f"{kind}.yaml"
        path.write_text(text + "preset: official\n", encoding="utf-8")
        found[kind] = read_zero_shot_recipe(path)
    assert found["synse"].method.noise == "shared"
    assert found["synse"].method.latent == 100
    assert found["synse"].seen_gate.rule == "official"
    assert found["smie"].method.norm_at_test is False
    assert found["star"].method.label_classes == "all"
    assert found["tdsm"].method.noises == 3
    assert found["tdsm"].method.norm_feature is False
    plain = read_zero_shot_recipe(FOLDER / "synse_ntu60_55-5.yaml")
    assert plain.method.noise == "independent"
    assert plain.seen_gate.rule == "consistent"


@pytest.mark.parametrize("kind", ["sa-dvae", "pgfa"])
def test_some_have_no_official_preset(tmp_path, kind):
    text = (FOLDER / f"{kind}_ntu60_55-5.yaml").read_text(encoding="utf-8")
    (tmp_path / "r.yaml").write_text(text + "preset: official\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"{kind} has no official preset"):
        read_zero_shot_recipe(tmp_path / "r.yaml")


def test_settings_of_the_method_are_those_of_its_kind():
    assert read_zero_shot_recipe(FOLDER / "sa-dvae_ntu60_55-5.yaml").method.latent == 168
    assert read_zero_shot_recipe(FOLDER / "pgfa_ntu120_96-24.yaml").method.lr == 0.005
    assert read_zero_shot_recipe(FOLDER / "tdsm_ntu60_48-12.yaml").method.depth == 12


def test_wrong_settings_name_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("kind: devise\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"r\.yaml.*devise"):
        read_zero_shot_recipe(path)


@pytest.mark.parametrize(
    "wrong", [{}, {"file": "a", "store": "b"}, {"store": "b"}, {"encoder": "c"}]
)
def test_features_come_from_one_place(wrong):
    with pytest.raises(ConfigError, match="either a file, or a store and an encoder"):
        FeatureConfig(**wrong)
