from __future__ import annotations

import json

import pytest
import torch

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_lvlm.errors import ConfigError, FeatureError
from ski_lvlm.projector import ProjectorConfig, Projectors, load_projectors, save_projectors
from ski_skeleton.errors import CheckpointError
from ski_skeleton.weights import read_weights, write_weights

SMALL = ProjectorConfig(width=8, video_channels=6, skeleton_channels=5)


def test_size_of_the_published_model():
    with torch.device("meta"):
        projectors = Projectors(ProjectorConfig(boundary_rows=False))
    assert sum(p.numel() for p in projectors.parameters()) == 5_087_232


def test_skeleton_starts_small_and_unbiased():
    projectors = Projectors(ProjectorConfig(width=512))
    assert projectors.skeleton.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert projectors.skeleton.weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert not projectors.skeleton.bias.any()


def test_forward_and_gradient():
    projectors = Projectors(SMALL)
    video, skeleton = projectors(torch.randn(2, 7, 6), torch.randn(2, 3, 5))
    assert video.shape == (2, 7, 8)
    assert skeleton.shape == (2, 3, 8)
    (video.sum() + skeleton.sum()).backward()
    trained = [p for name, p in projectors.named_parameters() if name != "boundary"]
    assert len(trained) == 4
    assert all(p.grad is not None for p in trained)
    assert projectors(video=torch.randn(7, 6))[1] is None


def test_wrong_features():
    with pytest.raises(FeatureError, match="6 channels"):
        Projectors(SMALL)(torch.randn(2, 7, 5))
    without = Projectors(ProjectorConfig(width=8, video_channels=6, skeleton_channels=None))
    assert without.skeleton is None
    with pytest.raises(FeatureError, match="skeleton tokens given"):
        without(skeleton=torch.randn(2, 3, 5))


def test_two_layers():
    projectors = Projectors(ProjectorConfig(8, 6, 5, layers=2))
    assert [type(layer).__name__ for layer in projectors.video] == ["Linear", "GELU", "Linear"]
    video, skeleton = projectors(torch.randn(1, 2, 6), torch.randn(1, 3, 5))
    assert (video.shape, skeleton.shape) == ((1, 2, 8), (1, 3, 8))


@pytest.mark.parametrize("wrong", [{"width": 0}, {"skeleton_channels": -1}, {"layers": 0}])
def test_wrong_sizes(wrong):
    with pytest.raises(ConfigError, match="1 or more"):
        ProjectorConfig(**wrong)


@pytest.mark.parametrize("skeleton", [5, None])
def test_saved_and_loaded(tmp_path, skeleton):
    config = ProjectorConfig(width=8, video_channels=6, skeleton_channels=skeleton)
    projectors = Projectors(config)
    save_projectors(tmp_path / "model", projectors, {"seed": 3})
    loaded, meta = load_projectors(tmp_path / "model")
    assert loaded.config == config
    assert meta["seed"] == 3
    wanted = projectors.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(v, wanted[k]) for k, v in loaded.state_dict().items())
    with pytest.raises(ExistingOutputError):
        save_projectors(tmp_path / "model", projectors)


def test_every_wrong_entry_is_named(tmp_path):
    folder = save_projectors(tmp_path / "model", Projectors(SMALL))
    state = read_weights(folder / "weights.safetensors")
    state["extra"] = state.pop("video.bias")
    state["skeleton.weight"] = torch.zeros(8, 4)
    write_weights(folder / "weights.safetensors", state)
    with pytest.raises(CheckpointError) as caught:
        load_projectors(folder)
    for word in (str(folder), "missing (video.bias)", "unknown entries (extra)", "(8, 4)"):
        assert word in str(caught.value)


def test_damaged_folders(tmp_path):
    with pytest.raises(MissingFileError):
        load_projectors(tmp_path / "absent")
    folder = save_projectors(tmp_path / "model", Projectors(SMALL))
    settings = json.loads((folder / "config.json").read_text())
    settings["config"]["widht"] = 8
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="widht"):
        load_projectors(folder)
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="safetensors"):
        load_projectors(folder)
