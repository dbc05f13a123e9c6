from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ski_data.synthetic.dataset import encode
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text import ClipConfig, ClipSizes
from ski_skeleton.train import write_model
from ski_vlm.students import ViFiClip, ViFiClipConfig

sys.path.insert(0, str(Path(__file__).parent))

NAMES = ("sit down", "stand up", "clap")


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same generator state."""
    torch.manual_seed(0)
    return 0


@pytest.fixture
def names():
    return list(NAMES)


@pytest.fixture
def sizes():
    return ClipSizes(
        embed=16,
        image=32,
        patch=16,
        vision_width=32,
        vision_layers=2,
        vision_head=16,
        text_width=16,
        text_layers=1,
        text_heads=1,
    )


@pytest.fixture
def config(sizes):
    return ViFiClipConfig(clip=ClipConfig(architecture=None, sizes=sizes), frames=4, short_side=32)


@pytest.fixture
def student(config):
    return ViFiClip(config).eval()


@pytest.fixture
def teacher(sizes):
    encoder = HyperformerConfig(heads=1, strides=(2,), persons=1, output=16)
    clip = ClipConfig(architecture=None, sizes=sizes)
    return SkeletonClip(SkeletonClipConfig(encoder, clip, temperature=0.1))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "video": torch.from_numpy(rng.integers(0, 256, (3, 4, 32, 32, 3), dtype=np.uint8)),
        "skeleton": torch.from_numpy(rng.standard_normal((3, 3, 8, 25, 1)).astype(np.float32)),
        "label": torch.tensor([0, 2, 1]),
    }


@pytest.fixture
def clip_file(tmp_path):
    """Six frames of noise, alone in its folder."""
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "clip.mp4"
    encode(path, np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8))
    return path


@pytest.fixture
def folder(tmp_path, student, config):
    return write_model(tmp_path / "model", "vifi-clip", config, student.state_dict(), {})
