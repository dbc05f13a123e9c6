from __future__ import annotations

import json

import pytest
import torch

from ski_data.errors import ExistingOutputError, MissingFileError
from ski_skeleton.errors import CheckpointError
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.train import read_model, write_model


@pytest.fixture
def folder(tmp_path):
    state = {"w": torch.ones(3)}
    return write_model(
        tmp_path / "model", "toy", HyperformerConfig(heads=2), state, {"classes_seen": ["sit"]}
    )


def test_round_trip(folder):
    kind, config, state, meta = read_model(folder, "toy")
    assert kind == "toy"
    assert config["heads"] == 2
    assert torch.equal(state["w"], torch.ones(3))
    assert meta["classes_seen"] == ["sit"]
    assert "torch" in meta["versions"]


def test_nothing_is_overwritten(folder):
    before = (folder / "meta.json").read_bytes()
    with pytest.raises(ExistingOutputError):
        write_model(folder, "toy", {}, {"w": torch.zeros(3)}, {})
    assert (folder / "meta.json").read_bytes() == before


def test_wrong_kind(folder):
    with pytest.raises(CheckpointError, match="a toy model, a other model is needed"):
        read_model(folder, "other")


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "meta.json"])
def test_missing_part(folder, name):
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=name):
        read_model(folder)


def test_damaged_config(folder):
    (folder / "config.json").write_text(json.dumps({"kind": "toy"}))
    with pytest.raises(CheckpointError, match="damaged"):
        read_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        read_model(folder)
