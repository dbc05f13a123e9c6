from __future__ import annotations

from importlib.resources import files

import pytest
import torch
from tiny_run import plain_recipe, write_recipe, write_store

from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError
from ski_data.skeleton import FeederConfig
from ski_data.store import SkeletonStore
from ski_skeleton.c2vl.model import C2vl, C2vlConfig
from ski_skeleton.c2vl.recipe import KIND as C2VL
from ski_skeleton.cli import main
from ski_skeleton.encoders import ENCODERS, build_encoder, encoder_config
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.loading import load_encoder
from ski_skeleton.skeleton_clip import SkeletonClipConfig
from ski_skeleton.stgcn import StgcnConfig
from ski_skeleton.supervised import read_recipe
from ski_skeleton.train import write_model
from ski_skeleton.zeroshot.extract import ExtractConfig, extract_features

TINY = {
    "hyperformer": {"heads": 1, "strides": [2], "persons": 1, "output": 16},
    "stgcn": {"channels": [4, 8], "strides": [1, 2], "persons": 1, "output": 16},
    "shift_gcn": {"channels": [4, 8], "strides": [1, 2], "persons": 1, "output": 16},
}


def tiny(kind, **changes):
    return encoder_config(kind, {**TINY[kind], "kind": kind, **changes}, "here")


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_kind_is_built_from_its_settings(kind):
    config = tiny(kind)
    assert type(config) is ENCODERS[kind].config
    assert config.kind == kind
    model = build_encoder(config).eval()
    assert model.config == config
    with torch.no_grad():
        clips = torch.randn(2, 3, 6, 25, 1)
        assert model(clips).shape == (2, 16)
        encoded = model.encode(clips)
        assert encoded.tokens.shape == (2, 3, config.width)
    # what older model folders hold
    del (plain := to_plain(config))["kind"]
    assert encoder_config(kind, plain, "here") == config


def test_settings_without_a_kind_are_a_hyperformers():
    config = from_plain(SkeletonClipConfig, {"encoder": {"heads": 2}}, "a.yaml")
    assert config.encoder == HyperformerConfig(heads=2)
    with pytest.raises(InputError, match=r"encoder: unknown settings \['head'\]; known: .*heads"):
        from_plain(SkeletonClipConfig, {"encoder": {"head": 2}}, "a.yaml")
    with pytest.raises(InputError, match=r"unknown settings \['heads'\]; known: .*channels"):
        from_plain(SkeletonClipConfig, {"encoder": {"kind": "stgcn", "heads": 2}}, "a.yaml")
    with pytest.raises(InputError, match=r"kind 'gcn' is not one of \['hyperformer', 'stgcn'"):
        from_plain(SkeletonClipConfig, {"encoder": {"kind": "gcn"}}, "a.yaml")


def test_defaults_of_the_two_methods():
    assert SkeletonClipConfig().encoder == HyperformerConfig()
    assert C2vlConfig().encoder == StgcnConfig(output=None)
    old = {"encoder": {"heads": 9, "output": None}}
    assert from_plain(C2vlConfig, old, "model").encoder == HyperformerConfig(output=None)


@pytest.mark.parametrize("kind", ["stgcn", "shift_gcn"])
def test_skeletonclip_with_each_encoder(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plain = plain_recipe(write_store(tmp_path / "store"))
    plain["model"]["encoder"] = {"kind": kind, **TINY[kind]}
    write_recipe(tmp_path / "r.yaml", plain)
    assert main(["train", "r.yaml", "--out", "run"]) == 0
    assert main(["evaluate", "r.yaml", "run/model", "--out", "p"]) == 0
    assert "unseen-classes" in capsys.readouterr().out
    loaded = load_encoder("run/model")
    assert loaded.module.config == tiny(kind)
    assert (loaded.layout, loaded.bodies) == ("kinect25", 1)
    assert loaded.trained_on == ("bow", "clap", "kick")


@pytest.mark.parametrize("kind", ["stgcn", "shift_gcn"])
def test_features_and_maps_of_each_encoder(kind, tmp_path):
    store = SkeletonStore(write_store(tmp_path / "store"))
    config = tiny(kind, output=None)
    model = build_encoder(config)
    write_model(tmp_path / "m", kind, config, model.state_dict(), {"classes_seen": ["bow"]})
    loaded = load_encoder(tmp_path / "m")
    wanted = ExtractConfig(maps=True, masked=1, mask_frames=2)
    found = extract_features(loaded, store, FeederConfig(window=8, min_crop=4), wanted)
    assert found.features.shape == (40, 8)
    assert found.maps.shape == (40, 8, 4, 25)
    torch.testing.assert_close(
        torch.from_numpy(found.maps.mean((2, 3))), torch.from_numpy(found.features)
    )
    assert found.masked.shape == (40, 1, 8)
    fresh = load_encoder(tmp_path / "m", fresh=True, seed=1)
    assert type(fresh.module) is type(model)
    clips = torch.randn(2, 3, 6, 25, 1)
    with torch.no_grad():
        assert not torch.equal(fresh.module(clips), loaded.module(clips))


@pytest.mark.parametrize("kind", ENCODERS)
def test_c2vl_with_each_encoder(kind, tmp_path):
    config = C2vlConfig(encoder=tiny(kind, output=None), concept_width=6, width=4)
    model = C2vl(config).eval()
    write_model(tmp_path / "m", C2VL, config, model.state_dict(), {"classes_seen": []})
    loaded = load_encoder(tmp_path / "m")
    assert loaded.module.config == config.encoder
    clips = torch.randn(2, 3, 6, 25, 1)
    with torch.no_grad():
        assert torch.equal(loaded.c2vl.embed(clips), model.embed(clips))


FOLDER = files("ski_skeleton") / "recipes"
RECIPES = sorted(i.name for i in FOLDER.iterdir() if i.name.startswith(("stgcn_", "shift-gcn_")))


def test_there_is_a_recipe_per_encoder_and_published_split():
    splits = [read_recipe(FOLDER / name).data.split.zero_shot for name in RECIPES]
    wanted = ["ntu60/55-5", "ntu60/48-12", "ntu120/110-10", "ntu120/96-24"]
    assert sorted(splits) == sorted(2 * wanted)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_fits_together(name):
    recipe = read_recipe(FOLDER / name)
    kind, data, classes = name.removesuffix(".yaml").split("_")
    assert recipe.encoder == ENCODERS[kind.replace("-", "_")].config(output=None)
    assert recipe.data.split.protocol == f"{data}/xsub"
    assert recipe.data.split.zero_shot == f"{data}/{classes}"
    first = (FOLDER / name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert "ski-skeleton train-classifier FILE --out RUN" in first
