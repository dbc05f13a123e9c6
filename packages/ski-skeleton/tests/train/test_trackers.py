from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
from two_processes import Clips, Plain, Stopped, build

from ski_skeleton.errors import ConfigError
from ski_skeleton.train import TrainConfig, fit
from ski_skeleton.train import trackers as module


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed(tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    config = TrainConfig(trackers=(name,))
    with pytest.raises(
        ConfigError, match=rf"{name} is not installed; pip install 'ski-skeleton\[{name}"
    ):
        fit(Plain(), Clips(), config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_the_lines_once(tmp_path):
    """Also those of a run that was stopped and went on."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(build("plain")[1], trackers=("tensorboard",))
    task = Stopped()
    with pytest.raises(KeyboardInterrupt):
        fit(task, Clips(), config, tmp_path / "run")
    fit(task, Clips(), config, tmp_path / "run")  # stops no more
    found = EventAccumulator(str(tmp_path / "run/tensorboard"))
    found.Reload()
    assert {"loss", "lr", "epoch"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Scalars("loss")] == list(range(1, 7))


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_its_identity(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = replace(build("plain")[1], trackers=("wandb",))
    task = Stopped()
    with pytest.raises(KeyboardInterrupt):
        fit(task, Clips(), config, tmp_path / "run")
    identity = (tmp_path / "run/wandb.txt").read_text()
    fit(task, Clips(), config, tmp_path / "run")
    assert (tmp_path / "run/wandb.txt").read_text() == identity
    assert list((tmp_path / "run/wandb").glob(f"offline-run-*{identity.strip()}*"))
