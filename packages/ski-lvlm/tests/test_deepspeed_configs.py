from __future__ import annotations

from importlib.resources import files

import pytest
import torch

from ski_lvlm.base import BaseConfig
from ski_lvlm.engine import adamw, deepspeed_config, shipped_config
from ski_lvlm.errors import ConfigError
from ski_lvlm.recipe import DataConfig, LvlmRecipe, learning_rate

STAGES = ("0", "2", "3", "3_offload")
RECIPE = LvlmRecipe(BaseConfig("any"), DataConfig("any"))
UPDATES = 100_000 // 32 * 3


def test_every_file_is_known():
    names = {item.name for item in (files("ski_lvlm") / "deepspeed_configs").iterdir()}
    assert names == {f"zero{stage}.json" for stage in STAGES}
    with pytest.raises(ConfigError, match="known: 0, 2, 3, 3_offload"):
        shipped_config("1")


@pytest.mark.parametrize("stage", STAGES)
def test_files_are_the_default_recipe_on_eight_gpus(stage, monkeypatch):
    file = shipped_config(stage)
    optimizer, schedule = file.pop("optimizer"), file.pop("scheduler")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ours = {
        "micro_batch": RECIPE.micro_batch,
        "parts": RECIPE.batch_size // (8 * RECIPE.micro_batch),
        "clip_norm": RECIPE.clip_norm,
        "bfloat16": RECIPE.precision == "bfloat16",
    }
    assert deepspeed_config(stage, **ours, ranks=8) == file
    defaults = adamw([torch.zeros(1)]).defaults
    for name, value in optimizer["params"].items():
        if name == "lr":
            assert value == RECIPE.lr
        elif name != "torch_adam":
            assert (tuple(value) if isinstance(value, list) else value) == defaults[name]
    assert schedule["params"]["total_num_steps"] == UPDATES
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = deepspeed_config(stage, **ours, ranks=8)["zero_optimization"]
    assert not on_cpu.get("overlap_comm")
    assert not on_cpu.get("offload_param", {}).get("pin_memory")


def test_schedule_of_the_files_is_ours():
    from deepspeed.runtime.lr_schedules import WarmupCosineLR

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RECIPE.lr)
    theirs = WarmupCosineLR(optimizer, **shipped_config("2")["scheduler"]["params"])
    for step in range(UPDATES):
        theirs.step(step)  # DeepSpeed counts one update later in the warm-up, in the cosine not
        late = step - (step < 282)
        allowed = RECIPE.lr / 282 if step < 282 else 1e-3 * RECIPE.lr
        assert theirs.get_last_lr()[0] == pytest.approx(
            learning_rate(RECIPE, max(late, 0), UPDATES), abs=allowed + 1e-12
        )
