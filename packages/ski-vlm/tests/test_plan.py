from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_videos import plain_recipe, skeleton_side, write_clips, write_recipe

from ski_data.errors import InputError
from ski_skeleton.text import class_prompts
from ski_vlm.cli import main
from ski_vlm.errors import ConfigError
from ski_vlm.plan import fitting_accumulation, plan, saved_bytes
from ski_vlm.recipe import changed, read_recipe
from ski_vlm.students import build_student


@pytest.fixture
def recipe(tmp_path):
    clips = write_clips(tmp_path / "clips")
    plain = plain_recipe(clips, method={"kind": "scd"}, skeleton=skeleton_side(train_text=True))
    return read_recipe(write_recipe(tmp_path / "recipe.yaml", plain))


def test_counts_are_those_of_the_built_models(recipe):
    found = plan(recipe)
    student = build_student(recipe.student)
    assert found.parameters["student"] == sum(p.numel() for p in student.parameters())
    trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
    assert found.trained["student"] == trained
    assert found.weights_bytes == 4 * sum(found.parameters.values()) + 12 * sum(
        found.trained.values()
    )
    assert (found.clips, found.steps, found.micro_batch) == (4, 2, 4)
    assert found.notes == ()


def test_saved_bytes_are_those_of_a_real_pass(recipe):
    linear = torch.nn.Linear(8, 4)
    x = torch.zeros(5, 8)
    assert saved_bytes(linear, lambda: linear(x)) == 4 * 5 * 8
    student = build_student(recipe.student)

    def run():
        video = torch.zeros(1, recipe.student.frames, 3, student.image_size, student.image_size)
        return student.score(video, torch.zeros(2, student.text.width))

    assert plan(recipe).clip_bytes > saved_bytes(student, run) > 0  # and the skeleton's


def test_frozen_models_keep_nothing(recipe):
    student = build_student(recipe.student).requires_grad_(False)
    video = torch.zeros(1, 4, 3, 32, 32)
    text = student.encode_classes(class_prompts(["a", "b"], "{name}"))
    assert saved_bytes(student, lambda: student.score(video, text)) == 0


def test_the_largest_micro_batch_that_fits_is_chosen(recipe):
    found = plan(replace(recipe, train=replace(recipe.train, batch_size=16, accumulation=1)))
    larger = replace(recipe, train=replace(recipe.train, batch_size=16))
    fixed = found.weights_bytes + found.fixed_bytes
    room = int((fixed + 4 * found.clip_bytes) / 0.85) + 1
    assert fitting_accumulation(larger, room) == 4
    assert fitting_accumulation(larger, room, processes=4) == 1
    assert fitting_accumulation(larger, room * 1000) == 1
    with pytest.raises(ConfigError, match="GiB"):
        fitting_accumulation(larger, fixed)


def test_changes_of_single_settings(recipe):
    plain = {"method": {"kind": "scd", "alpha": 1}, "seeds": [0]}
    assert changed(plain, "method.alpha=0.1")["method"] == {"kind": "scd", "alpha": 0.1}
    assert changed(plain, "seeds=[1, 2]")["seeds"] == [1, 2]
    assert changed(plain, "train.optim.lr=1.0e-3")["train"] == {"optim": {"lr": 0.001}}
    assert plain["method"]["alpha"] == 1
    for wrong in ("alpha", "=3", "a..b=1", "a=[1"):
        with pytest.raises(InputError):
            changed(plain, wrong)


def test_fit_memory_needs_a_gpu(tmp_path, recipe, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    path = str(tmp_path / "recipe.yaml")
    assert main(["train", path, "--out", str(tmp_path / "run"), "--fit_memory"]) == 2
    assert "asks a GPU" in capsys.readouterr().err


def test_checkpointing_needs_less(recipe):
    many = replace(recipe.student.clip.sizes, vision_layers=8)
    recipe = replace(
        recipe, student=replace(recipe.student, clip=replace(recipe.student.clip, sizes=many))
    )
    whole, twice = plan(recipe).clip_bytes, plan(replace(recipe, checkpointing=True)).clip_bytes
    student = build_student(recipe.student)
    student.checkpoint_blocks()
    side, T = student.image_size, student.config.frames
    tokens = student.first_tokens(torch.zeros(1, T, 3, side, side))
    assert 4 * 8 * tokens.numel() < twice < 0.6 * whole
