from __future__ import annotations

import json

import pytest
import torch
from tiny_lvlm import losses, write_recipe

from ski_data.errors import InputError
from ski_lvlm.cli import main
from ski_lvlm.engine import PlainEngine
from ski_lvlm.errors import ConfigError
from ski_lvlm.lvlm_folder import load_lvlm
from ski_lvlm.recipe import LvlmRecipe, learning_rate, read_recipe
from ski_lvlm.train import train
from ski_skeleton.errors import CheckpointError, DivergedError, RunError
from ski_skeleton.weights import read_weights, write_weights


@pytest.fixture
def recipe(tiny, tmp_path):
    def write(name="recipe.yaml", **changes):
        return read_recipe(write_recipe(tmp_path / name, tiny, **changes))

    return write


def weights(folder):
    return read_weights(folder / "model" / "weights.safetensors")


def same(a, b, **close):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], **(close or {"rtol": 0, "atol": 0}))


def test_trains_and_loads(recipe, tmp_path):
    config = recipe(epochs=8, lr=0.05)
    folder = train(config, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert len(found) == 24
    assert sum(found[-3:]) < 0.93 * sum(found[:3])
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert line["tokens_per_second"] > 0
    assert 0 < line["mfu"] < 2
    model, tokenizer, meta = load_lvlm(folder)
    assert meta["pairs"] == 24
    assert len(tokenizer) == 509
    names = set(read_weights(folder / "weights.safetensors"))
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}
    assert folder.joinpath("weights.safetensors").stat().st_size < 10_000
    with pytest.raises(RunError, match="already trained"):
        train(config, tmp_path / "run")


def test_without_the_skeleton_projector(recipe, tmp_path):
    folder = train(recipe(epochs=1), tmp_path / "run")
    state = read_weights(folder / "weights.safetensors")
    kept = {k: v for k, v in state.items() if "skeleton" not in k}
    write_weights(folder / "weights.safetensors", kept)
    model, _, _ = load_lvlm(folder, skeletons=False)
    assert model.projectors.skeleton is None
    with pytest.raises(CheckpointError, match=r"missing .*projectors\.skeleton\.bias"):
        load_lvlm(folder)


def interrupted(config, out, monkeypatch, at):
    """Train until the update after the checkpoint ``at``, then stop like a kill would."""
    from ski_lvlm import checkpoints

    real = checkpoints.write

    def stop(folder, step, state):
        real(folder, step, state)
        if step == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, out)


@pytest.mark.parametrize("zero", ["none", "0", "2", "3"])
def test_resumes_exactly(recipe, tmp_path, monkeypatch, zero):
    config = recipe(zero=zero)
    train(config, tmp_path / "whole")
    interrupted(config, tmp_path / "cut", monkeypatch, 4)
    assert len(losses(tmp_path / "cut")) == 4
    train(config, tmp_path / "cut")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_engines_agree(recipe, tmp_path, precision):
    close = {"float32": (1e-5, 1e-6), "bfloat16": (2e-2, 2e-2)}[precision]
    found = {}
    for zero in ("none", "0", "2", "3", "3_offload"):
        train(recipe(zero=zero, precision=precision, epochs=1), tmp_path / zero)
        found[zero] = losses(tmp_path / zero)
        if zero != "none":
            same(weights(tmp_path / zero), weights(tmp_path / "none"), rtol=close[0], atol=close[1])
            assert found[zero] == pytest.approx(found["none"], rel=3e-4)


def test_engines_agree_on_batches_without_skeletons(recipe, tmp_path):
    settings = {"prompts": {"drop_skeleton": 0.7}, "epochs": 1}
    for zero in ("none", "2", "3"):
        train(recipe(zero=zero, **settings), tmp_path / zero)
        assert losses(tmp_path / zero) == pytest.approx(losses(tmp_path / "none"), rel=1e-5)
        same(weights(tmp_path / zero), weights(tmp_path / "none"), rtol=1e-5, atol=1e-6)


def test_goes_on_with_another_engine(recipe, tmp_path, monkeypatch):
    train(recipe(), tmp_path / "whole")
    interrupted(recipe(zero="2"), tmp_path / "cut", monkeypatch, 2)
    train(recipe("again.yaml", zero="none", micro_batch=4), tmp_path / "cut")
    assert losses(tmp_path / "cut") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_checkpointing_and_lora(recipe, tmp_path):
    train(recipe(epochs=1), tmp_path / "plain")
    train(recipe(epochs=1, checkpointing=True), tmp_path / "again")
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    folder = train(recipe(epochs=1, lora={"rank": 2}), tmp_path / "lora")
    state = read_weights(folder / "weights.safetensors")
    assert sum("lora_" in name for name in state) == 8
    load_lvlm(folder)


def test_start_from_projectors(recipe, tmp_path):
    first = train(recipe(epochs=1), tmp_path / "first")
    state = read_weights(first / "weights.safetensors")
    published = {
        f"model.mm_projector.{leaf}": state[f"projectors.video.{leaf}"]
        for leaf in ("weight", "bias")
    }
    torch.save(published, tmp_path / "mm_projector.bin")
    start = str(tmp_path / "mm_projector.bin")
    train(recipe("b.yaml", epochs=1, start=start, lr=1e-12), tmp_path / "second")
    again = weights(tmp_path / "second")
    torch.testing.assert_close(again["projectors.video.weight"], state["projectors.video.weight"])
    write_weights(tmp_path / "odd.safetensors", {k: v[:8] for k, v in published.items()})
    with pytest.raises(CheckpointError, match=r"video\.(weight|bias) must be"):
        train(recipe("c.yaml", start=str(tmp_path / "odd.safetensors")), tmp_path / "third")


def test_what_is_refused(recipe, tiny, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="less than one batch"):
        train(recipe(batch_size=32), tmp_path / "a")
    data = {"pairs": str(tiny / "pairs.jsonl"), "video": str(tiny / "video")}
    with pytest.raises(ConfigError, match=r"data\.skeleton names no"):
        train(recipe(data=data), tmp_path / "b")
    interrupted(recipe(), tmp_path / "c", monkeypatch, 2)
    with pytest.raises(RunError, match=r"other settings \(lr\)"):
        train(recipe(lr=0.02), tmp_path / "c")
    next((tmp_path / "c" / "checkpoints").iterdir()).joinpath("record.json").write_text("{")
    with pytest.raises(CheckpointError, match="to start again"):
        train(recipe(), tmp_path / "c")
    monkeypatch.setattr(PlainEngine, "step", lambda self, rate: float("nan"))
    with pytest.raises(DivergedError, match=r"update 1: .* nan; pairs clip"):
        train(recipe(), tmp_path / "d")
    for wrong in ({"epochs": 0}, {"batch_size": 3}, {"precision": "float16"}, {"warmup": 1.0}):
        with pytest.raises((ConfigError, InputError)):
            recipe(**wrong)


def test_schedule():
    config = LvlmRecipe.__new__(LvlmRecipe)
    object.__setattr__(config, "lr", 1.0)
    object.__setattr__(config, "warmup", 0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == 0.0
    assert rates[10] == 1.0
    assert rates[5] == pytest.approx(0.5)
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 1e-3


def test_command(recipe, tiny, tmp_path, capsys):
    path = write_recipe(tmp_path / "r.yaml", tiny, epochs=1)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'model'}\n"
    assert main(["train", str(path), "--out", str(tmp_path / "x"), "--processes", "0"]) == 2
    path.write_text(path.read_text() + "epocs: 3\n")
    assert main(["train", str(path), "--out", str(tmp_path / "y")]) == 2
    assert "epocs" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()
