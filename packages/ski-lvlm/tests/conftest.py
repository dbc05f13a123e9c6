from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # a model that is not here is told at once

import av
import numpy as np
import pytest
import torch

from ski_data.manifest import Record

sys.path.insert(0, str(Path(__file__).parent))
GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


def pytest_runtest_teardown(nextitem):
    """DeepSpeed's process group ends with the tests of this folder; the next one makes another."""
    if nextitem is not None and nextitem.path.is_relative_to(Path(__file__).parent):
        return
    if torch.distributed.is_initialized():
        import deepspeed

        deepspeed.comm.destroy_process_group()  # torch's leaves groups that DeepSpeed remembers


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same generator state."""
    torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session")
def golden_folder():
    """The golden cases of the repository."""
    if not GOLDEN.is_dir():
        pytest.skip("no golden cases: this is not a checkout of the whole repository")
    return GOLDEN


@pytest.fixture
def golden(golden_folder):
    """Reads a golden case: its description and its arrays."""

    def read(stem):
        case = json.loads((golden_folder / f"{stem}.json").read_text(encoding="utf-8"))
        file = golden_folder / f"{stem}.npz"
        if not file.is_file():
            return case, {}
        with np.load(file) as arrays:
            return case, dict(arrays)

    return read


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, golden_folder):
    """A folder of a base model, features and pairs, for :func:`tiny_lvlm.write_recipe`."""
    from tiny_lvlm import make_base, make_data

    folder = tmp_path_factory.mktemp("tiny")
    make_base(folder / "base", golden_folder / "tiny_tokenizer")
    make_data(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory, golden_folder):
    """A model that learns from its clips which of four sentences to say."""
    from tiny_lvlm import make_base, make_data, teach_sentences, write_recipe

    from ski_lvlm.recipe import read_recipe
    from ski_lvlm.train import train

    folder = tmp_path_factory.mktemp("caption")
    make_base(folder / "base", golden_folder / "tiny_tokenizer")
    teach_sentences(folder / "base")
    make_data(folder)
    recipe = write_recipe(
        folder / "r.yaml", folder, epochs=20, lr=0.05, prompts={"skeleton": "absent"}
    )
    train(read_recipe(recipe), folder / "run")
    return folder


@pytest.fixture
def records(tmp_path):
    """Three videos of 3, 5 and 12 frames."""
    rng = np.random.default_rng(0)
    found = []
    for name, frames in (("a", 3), ("b", 5), ("c", 12)):
        path = tmp_path / f"{name}.mp4"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(frames):
                picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
        found.append(Record(name, video=path))
    return found
