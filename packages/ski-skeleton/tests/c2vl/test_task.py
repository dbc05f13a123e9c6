from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ski_skeleton.c2vl.losses import pair_losses
from ski_skeleton.c2vl.model import C2vl, C2vlConfig
from ski_skeleton.c2vl.task import PretrainC2vl
from ski_skeleton.ema import cosine_decay
from ski_skeleton.errors import ConfigError
from ski_skeleton.hyperformer import HyperformerConfig

TINY = C2vlConfig(
    encoder=HyperformerConfig(heads=1, strides=(2,), persons=1, output=None),
    concept_width=6,
    width=4,
)


def batch(count=4):
    generator = torch.Generator().manual_seed(5)
    return {
        "skeleton": torch.randn(count, 3, 4, 25, 1, generator=generator),
        "text": torch.randn(count, 6, generator=generator),
        "vision": torch.randn(count, 6, generator=generator),
    }


def step(task, optimizer):
    task.train()
    found = task(batch())
    found["loss"].backward()
    optimizer.step()
    optimizer.zero_grad()
    return found


def test_loss_is_the_sum_over_pairs_with_the_weights_of_the_step():
    task = PretrainC2vl(C2vl(TINY), steps=10)
    task.seen = 4
    task.eval()
    found = task(batch())
    student = task.student(batch()["skeleton"], batch())
    teacher = task.teacher.module(batch()["skeleton"], batch())
    expected = 0.0
    for kind in ("text", "vision"):
        pulled, told = pair_losses(
            (student["skeleton"], student[kind]),
            (teacher["skeleton"], teacher[kind]),
            scale=torch.tensor(1 / 0.07),
            weight=0.5 * 4 / 10,
            intra_share=0.5,
            teacher_temperature=0.04,
        )
        expected += float((pulled + 0.1 * told).detach())
    assert float(found["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    assert task.seen == 4


@pytest.mark.parametrize("accumulation", [1, 2])
def test_teacher_takes_each_step_over_once(accumulation):
    task = PretrainC2vl(C2vl(TINY), steps=5, accumulation=accumulation)
    optimizer = torch.optim.SGD(task.parameter_groups(), lr=0.1)
    expected = task.student.head[0].weight.detach().clone()
    for number in range(3):
        for _ in range(accumulation):
            task.train()
            task(batch())["loss"].backward()
        torch.testing.assert_close(task.teacher.module.head[0].weight, expected)
        optimizer.step()
        optimizer.zero_grad()
        decay = cosine_decay(number, 5, 0.996)
        expected = decay * expected + (1 - decay) * task.student.head[0].weight.detach()
    assert task.seen == 3 * accumulation


def test_state_holds_the_place_in_the_schedules():
    task = PretrainC2vl(C2vl(TINY), steps=10)
    optimizer = torch.optim.SGD(task.parameter_groups(), lr=0.1)
    for _ in range(3):
        step(task, optimizer)
    other = PretrainC2vl(C2vl(TINY), steps=10)
    other.load_state_dict(copy.deepcopy(task.state_dict()))
    assert other.seen == 3
    pair = [step(t, torch.optim.SGD(t.parameter_groups(), lr=0.1)) for t in (task, other)]
    assert torch.equal(pair[0]["loss"], pair[1]["loss"])
    assert torch.equal(task.teacher.module.head[0].weight, other.teacher.module.head[0].weight)


def test_only_the_student_trains_and_only_matrices_decay():
    task = PretrainC2vl(C2vl(TINY), steps=10)
    groups = task.parameter_groups()
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert groups[1]["weight_decay"] == 0
    listed = {id(p) for group in groups for p in group["params"]}
    teacher = {id(p) for p in task.teacher.parameters()}
    assert not listed & teacher
    assert id(task.temperature.log_scale) in listed
    assert listed >= {id(p) for p in task.student.parameters()}


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_one_modality_alone(kind):
    task = PretrainC2vl(C2vl(replace(TINY, concepts=(kind,))), steps=10)
    given = {k: v for k, v in batch().items() if k in ("skeleton", kind)}
    assert torch.isfinite(task(given)["loss"])


def test_embeddings_are_units_whatever_the_concepts_length():
    model = C2vl(TINY).eval()
    given = batch()
    found = model(given["skeleton"], given)
    for rows in found.values():
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(model.embed_concepts("text", 7 * given["text"]), found["text"])


def test_class_scores_are_cosines_with_mapped_texts():
    model, texts = C2vl(TINY).eval(), torch.randn(3, 6)
    found = model.class_scores(batch()["skeleton"], texts)
    skeleton = model.embed(batch()["skeleton"])
    torch.testing.assert_close(found, skeleton @ model.embed_concepts("text", texts).T)
    blind = C2vl(replace(TINY, concepts=("vision",)))
    with pytest.raises(ConfigError, match="without text"):
        blind.class_scores(batch()["skeleton"], texts)


def test_temperature_has_an_end():
    task = PretrainC2vl(C2vl(TINY), steps=10)
    assert float(task.temperature().detach()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        task.temperature.log_scale.fill_(9.0)
    assert float(task.temperature().detach()) == pytest.approx(100.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concepts": ()},
        {"concepts": ("text", "text")},
        {"width": 0},
        {"temperature": 0.0},
        {"temperature": 0.001},
        {"soft": 1.5},
        {"distill": -1.0},
        {"encoder": HyperformerConfig(output=3)},
    ],
)
def test_bad_settings(wrong):
    with pytest.raises(ConfigError, match="C2VL"):
        replace(TINY, **wrong)


SCRIPT = """
import sys
import torch
from test_task import TINY, batch
from ski_skeleton.c2vl.model import C2vl
from ski_skeleton.c2vl.task import PretrainC2vl

torch.manual_seed(0)
rank, place = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2
)
task = PretrainC2vl(C2vl(TINY), steps=10).eval()
task.seen = 5
part = {k: v[2 * rank : 2 * rank + 2] for k, v in batch().items()}
model = torch.nn.parallel.DistributedDataParallel(task)
loss = model(part)["loss"]
loss.backward()
found = {k: p.grad for k, p in task.named_parameters() if p.requires_grad}
torch.save({"loss": loss.detach(), "grads": found}, f"{place}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_get_the_gradients_of_the_whole_batch(tmp_path):
    (tmp_path / "part.py").write_text(SCRIPT)
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    running = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "part.py"), str(rank), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": here},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    torch.manual_seed(0)
    task = PretrainC2vl(C2vl(TINY), steps=10).eval()
    task.seen = 5
    loss = task(batch())["loss"]
    loss.backward()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["loss"], loss.detach())
        for name, p in task.named_parameters():
            if p.requires_grad:
                torch.testing.assert_close(found["grads"][name], p.grad, rtol=1e-3, atol=1e-5)


def test_bad_steps():
    with pytest.raises(ConfigError, match="from 1"):
        PretrainC2vl(C2vl(TINY), steps=0)
