from __future__ import annotations

import pytest
import torch

from ski_skeleton.convert.table import from_published, to_published
from ski_skeleton.errors import CheckpointError
from ski_vlm.convert.vificlip import from_ski_phase2, to_ski_phase2, vificlip_table
from ski_vlm.distill import ScdConfig, SkeletonDistillation


def test_vificlip_round_trip(student):
    table = vificlip_table(student)
    published = to_published(table, student.state_dict(), "ours")
    assert {k.split(".")[0] for k in published} == {
        "image_encoder",
        "text_encoder",
        "token_embedding",
        "logit_scale",
    }
    back = from_published(table, published, "theirs")
    assert all(torch.equal(back[k], v) for k, v in student.state_dict().items())


def test_phase2_round_trip(student, teacher, names):
    teacher.text.token_embedding.weight = student.text.token_embedding.weight  # one base CLIP
    with torch.no_grad():
        student.logit_scale.fill_(4.605170185988092)
    task = SkeletonDistillation(student, teacher, names, ScdConfig())
    published = to_ski_phase2(student, teacher, task.state_dict(), "ours")
    assert any(k.startswith("hyperformer_model.l1.") for k in published)
    assert any(k.startswith("clip_text_encoder.") for k in published)
    back = from_ski_phase2(student, teacher, published, "theirs")
    assert set(back) == set(task.state_dict())
    assert all(torch.equal(back[k], v) for k, v in task.state_dict().items())


def test_phase1_file_given_as_student_is_refused(student, teacher, names):
    task = SkeletonDistillation(student, teacher, names, ScdConfig())
    published = to_ski_phase2(student, teacher, task.state_dict(), "ours")
    phase1 = {k: v for k, v in published.items() if not k.startswith("image_encoder")}
    with pytest.raises(CheckpointError, match=r"phase1.pth.*image_encoder"):
        from_ski_phase2(student, teacher, phase1, "phase1.pth")
