"""The page in a real browser, over the real service with a toy model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.serve.captioners import CHAT, Said
from apps.serve.settings import Settings
from apps.web.page import create_app
from ski_data.video.overlay import write_mp4
from ski_skeleton.train import write_model
from ski_vlm.students import ViFiClip, ViFiClipConfig

sys.path.insert(0, str(Path(__file__).parent))

from web_browser import CHROMIUM, Browser, Running, Tab


class Talker:
    """Stands for a language model: answers with the same words, one after the other."""

    def frames(self, reading):
        return reading.frames(np.arange(2))

    def answer(self, kind, payloads):
        assert kind == CHAT
        for turn in payloads:
            for _ in range(8):
                turn.tell("word ")
                if turn.stopped.wait(0.1):
                    break
        return [Said("word " * 8, False)] * len(payloads)


@pytest.fixture(scope="session")
def model(tmp_path_factory, tiny_clip):
    """A folder of an untrained student that learned its classes from nobody."""
    config = ViFiClipConfig(clip=tiny_clip, frames=4, short_side=32)
    folder = tmp_path_factory.mktemp("toy") / "model"
    torch.manual_seed(0)
    return write_model(folder, "vifi-clip", config, ViFiClip(config).state_dict(), {})


@pytest.fixture(scope="module")
def service(model):
    """Makes applications: the real service and the page."""
    settings = Settings(
        models={"toy": str(model)}, captioners={"talker": "none"}, max_bytes=1 << 22
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apps.serve.captioners.open_captioner", lambda *_: Talker())
        yield lambda: create_app(settings)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def running(service):
    found = Running(service())
    yield found
    found.stop()


@pytest.fixture
def page(browser, running):
    tab = Tab(browser, running.address)
    yield tab
    elsewhere = [url for url in tab.asked() if not url.startswith(running.address)]
    errors = tab.wrong(network=False)
    tab.close()
    assert elsewhere == []
    assert errors == []


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A video of a few seconds that a browser plays."""
    path = tmp_path_factory.mktemp("clip") / "зарядка 运动.mp4"
    frames = np.zeros((60, 96, 128, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[20:60, number : number + 40] = (200, 80, 40)
    write_mp4(path, frames, 15.0)
    return path
