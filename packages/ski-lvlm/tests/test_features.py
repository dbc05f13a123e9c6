from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_lvlm import TINY

from ski_data.errors import InputError, MissingFileError
from ski_data.layouts import get_layout
from ski_data.manifest import Record
from ski_data.store import StoreWriter
from ski_lvlm.cli import main
from ski_lvlm.errors import ConfigError
from ski_lvlm.feature_store import FeatureStore, finish
from ski_lvlm.features import (
    ImageTower,
    SkeletonTokens,
    nearest,
    normalise,
    resample,
    skeleton_features,
    video_features,
)
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.text.clip import ClipConfig, ClipSizes
from ski_skeleton.train import write_model


def test_layer_is_the_output_of_that_block():
    torch.manual_seed(0)
    tower = ImageTower(TINY.clip, -2)
    seen = []
    block = tower.visual.transformer.resblocks[1]
    handle = block.register_forward_hook(lambda module, given, made: seen.append(made))
    images = torch.randn(2, 3, 32, 32)
    found = tower(images)
    handle.remove()
    assert found.shape == (2, 4, 16)
    torch.testing.assert_close(found, seen[0][:, 1:])
    with pytest.raises(ConfigError, match="3 blocks"):
        ImageTower(TINY.clip, -4)


def test_a_convolutional_tower_has_patches_too():
    sizes = ClipSizes(embed=8, image=64, timm="mobilenetv3_small_050", text_width=16, text_layers=1)
    sizes = replace(sizes, text_heads=1)
    tower = ImageTower(ClipConfig(architecture=None, sizes=sizes), -1)
    images = torch.randn(1, 3, 64, 64)
    found = tower(images)
    assert found.shape == (1, 4, 288)
    trunk = tower.visual.trunk
    torch.testing.assert_close(found[0].T.reshape(288, 2, 2), trunk.forward_features(images)[0])


def test_frames_are_stretched_and_normalised_as_released():
    frames = np.random.default_rng(0).integers(0, 255, (2, 48, 64, 3), dtype=np.uint8)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2).float(), size=(32, 32), mode="nearest"
    )
    found = torch.from_numpy(nearest(frames, (32, 32)))
    assert torch.equal(found.permute(0, 3, 1, 2).float(), wanted)
    white = normalise(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8))[0, :, 0, 0]
    torch.testing.assert_close(white, torch.tensor([1.9303, 2.0749, 2.1459]), rtol=1e-4, atol=0)
    black = normalise(torch.zeros((1, 1, 1, 3), dtype=torch.uint8), "imagenet")[0, :, 0, 0]
    assert torch.allclose(
        black, -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    )


def test_video_store_of_two_processes(records, tmp_path):
    torch.manual_seed(0)
    video_features(records, tmp_path / "one", TINY)
    whole = finish(tmp_path / "one", [r.name for r in records])
    assert [whole[n].shape for n in "abc"] == [(9, 16)] * 3
    assert not whole["a"][3:5].any()  # rows of frames that the video does not have
    assert whole["a"][:3].any()
    with pytest.raises(MissingFileError, match="under way"):
        finish(tmp_path / "one", ["a"])
    for rank in (1, 0):
        torch.manual_seed(0)
        video_features(records, tmp_path / "two", TINY, rank=rank, ranks=2, workers=rank)
    parts = finish(tmp_path / "two", [r.name for r in records])
    for name in "abc":
        torch.testing.assert_close(parts[name], whole[name])


def test_goes_on_where_it_was(records, tmp_path):
    made = []
    torch.manual_seed(0)
    video_features(records[:1], tmp_path / "s", TINY)
    torch.manual_seed(0)
    video_features(records, tmp_path / "s", TINY, report=lambda *told: made.append(told[2]))
    assert made == ["b", "c"]
    assert len(finish(tmp_path / "s", ["a", "b", "c"])) == 3
    with pytest.raises(InputError, match="no video"):
        video_features([Record("x")], tmp_path / "t", TINY)


@pytest.fixture
def skeletons(tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", get_layout("kinect25"), bodies=1) as writer:
        for name, frames in (("a", 7), ("b", 20)):
            writer.add(name, rng.standard_normal((3, frames, 25, 1)).astype(np.float32))
    config = HyperformerConfig(heads=1, strides=(2, 2), persons=1, output=None)
    encoder = Hyperformer(config)
    write_model(tmp_path / "model", "hyperformer", config, encoder.state_dict(), {})
    return tmp_path


def test_skeleton_store(skeletons, capsys):
    command = ["features", "skeleton", str(skeletons / "store"), str(skeletons / "out")]
    assert main([*command, "--model", str(skeletons / "model"), "--tokens", "9"]) == 0
    assert capsys.readouterr().out == f"{skeletons / 'out'}\n"
    store = FeatureStore(skeletons / "out")
    assert store.names == ["a", "b"]
    assert store["a"].shape == (9, 24)
    assert store["a"].dtype == torch.float16
    assert main([*command, "--model", str(skeletons / "model")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command[:3], str(skeletons / "x")]) == 2
    assert "--model" in capsys.readouterr().err


def test_tokens_keep_the_order_of_time(skeletons):
    from ski_data.store import SkeletonStore

    store = SkeletonStore(skeletons / "store")
    settings = SkeletonTokens(tokens=75, frames=300, stored="float32")
    skeleton_features(store, skeletons / "s", skeletons / "model", settings)
    assert finish(skeletons / "s", ["a", "b"])["b"].shape == (75, 24)
    ramp = torch.arange(16.0)[None, :, None].expand(1, 16, 2)
    made = resample(ramp, 256)[0, :, 0]
    assert made.shape == (256,)
    assert (made.diff() >= 0).all()
    assert torch.equal(resample(ramp, 16), ramp)


def test_command_for_videos_refuses(tmp_path, capsys):
    (tmp_path / "m.csv").write_text("gone.mp4,0\n")
    command = ["features", "video", str(tmp_path / "m.csv"), str(tmp_path / "out")]
    assert main([*command, "--architecture", "ViT-Z"]) == 2
    assert "ViT-Z" in capsys.readouterr().err
    assert main([*command, "--batch_size", "0"]) == 2
    assert "--batch_size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
