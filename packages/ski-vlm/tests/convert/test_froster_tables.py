from __future__ import annotations

import pytest
import torch

from ski_skeleton.errors import CheckpointError
from ski_vlm.convert.froster import from_froster, from_froster_task, to_froster, to_froster_task
from ski_vlm.distill import ResidualConfig, ResidualDistillation
from ski_vlm.students import Froster, FrosterConfig, ViFiClip


@pytest.fixture
def task(config, names):
    student = Froster(FrosterConfig(clip=config.clip))
    settings = ResidualConfig(average_from=2, epoch_steps=3)
    return ResidualDistillation(student, ViFiClip(config), names, settings)


def test_training_round_trip(task):
    state = task.state_dict()
    published = to_froster_task(task, state, "ours")
    assert {k.split(".")[0] for k in published} == {
        "model",
        "raw_model",
        "projector_v",
        "projector_t",
    }
    back = from_froster_task(task, published, "theirs")
    assert set(back) == set(state)
    assert all(torch.equal(back[k], v) for k, v in state.items())


def test_student_round_trip_from_either_file(task):
    student, whole = task.student, to_froster_task(task, task.state_dict(), "ours")
    alone = to_froster(student, student.state_dict(), "ours")
    for published in (alone, whole):
        back = from_froster(student, published, "theirs")
        assert set(back) == set(student.state_dict())
        assert all(torch.equal(back[k], v) for k, v in student.state_dict().items())


def test_an_inference_file_does_not_resume_training(task):
    alone = to_froster(task.student, task.student.state_dict(), "ours")
    with pytest.raises(CheckpointError, match=r"froster\.pyth.*raw_model"):
        from_froster_task(task, alone, "froster.pyth")


def test_unknown_entries_are_told(task):
    alone = to_froster(task.student, task.student.state_dict(), "ours")
    with pytest.raises(CheckpointError, match="unknown"):
        from_froster(task.student, {**alone, "head.weight": torch.zeros(1)}, "x")
