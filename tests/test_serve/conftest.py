from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from apps.serve.app import create_app
from apps.serve.settings import Settings
from ski_skeleton.train import write_model
from ski_vlm.students import ViFiClip, ViFiClipConfig, XClip, XClipConfig

sys.path.insert(0, str(Path(__file__).parent))

from serve_helpers import until_ready, write_clip

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["sit down", "stand up", "clap"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory, tiny_clip):
    """Toy students: one that tells its classes, one that does not, and an X-CLIP."""
    place = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    settings = {"clip": tiny_clip, "frames": 4, "short_side": 32}
    config = ViFiClipConfig(**settings)
    weights = ViFiClip(config).state_dict()
    meta = {"classes_seen": NAMES}
    other = XClipConfig(**settings)
    return {
        "own": str(write_model(place / "own", "vifi-clip", config, weights, meta)),
        "open": str(write_model(place / "open", "vifi-clip", config, weights, {})),
        "x-clip": str(write_model(place / "x", "x-clip", other, XClip(other).state_dict(), {})),
    }


@pytest.fixture(scope="session")
def captioner(tmp_path_factory):
    """A toy language model that was trained for a moment on tokens of four videos."""
    from ski_data.instructions import Instruction, write_instructions
    from ski_data.manifest import Record
    from ski_lvlm.feature_store import finish
    from ski_lvlm.features import video_features
    from ski_lvlm.recipe import read_recipe
    from ski_lvlm.train import train

    tiny = _tiny_lvlm()
    place = tmp_path_factory.mktemp("lvlm")
    tiny.make_base(place / "base", ROOT / "tests" / "golden" / "tiny_tokenizer")
    names = [f"c{n}" for n in range(4)]
    records = [Record(name, video=write_clip(place / f"{name}.mp4", 6)) for name in names]
    video_features(records, place / "video", tiny.TINY)
    finish(place / "video", names)
    pairs = [Instruction(name, name, "What happens?", "A person waves.") for name in names]
    write_instructions(place / "pairs.jsonl", pairs)
    recipe = tiny.write_recipe(
        place / "recipe.yaml",
        place,
        data={"pairs": str(place / "pairs.jsonl"), "video": str(place / "video")},
        prompts={"skeleton": "absent"},
        batch_size=4,
    )
    train(read_recipe(recipe), place / "run")
    return place / "run" / "model"


def _tiny_lvlm():
    path = ROOT / "packages" / "ski-lvlm" / "tests" / "tiny_lvlm.py"
    spec = importlib.util.spec_from_file_location("tiny_lvlm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def clip(clip_file):
    """A video file's bytes."""
    return clip_file.read_bytes()


@pytest.fixture
def serve():
    """Starts applications; none leaves anything on disk."""
    clients = []

    def start(**settings):
        settings = {"workers": 1, "batch_wait_ms": 0.0, **settings}
        client = TestClient(create_app(Settings(**settings)), raise_server_exceptions=True)
        client.__enter__()
        clients.append(client)
        until_ready(client)
        return client

    yield start
    for client in clients:
        left = list(client.app.state.service.uploads.folder.iterdir())
        client.__exit__(None, None, None)
        assert left == []
        assert not client.app.state.service.uploads.folder.exists()


@pytest.fixture(scope="session")
def shared_client(folders):
    """A server of all toy students, for tests that leave it as it is."""
    app = create_app(Settings(models=folders, workers=1, max_windows=4))
    with TestClient(app) as client:
        until_ready(client)
        yield client


@pytest.fixture
def client(shared_client):
    yield shared_client
    assert list(shared_client.app.state.service.uploads.folder.iterdir()) == []
    assert shared_client.app.state.service.in_work == 0
