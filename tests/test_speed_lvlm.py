"""The speed benchmark of projector training: its plain formulation equals ours, and its tables."""

import json

import numpy as np
import pytest
import torch

from benchmarks.speed.lvlm import (
    CAPTION,
    OURS,
    PLAIN,
    TOY,
    Way,
    benchmark,
    build,
    make_batch,
    make_rows,
    row,
)
from benchmarks.speed.plain_lvlm import PlainLvlm
from ski_data.errors import InputError
from ski_lvlm.generation import RunningBatch, Sampling
from ski_lvlm.prompts import IGNORE, Encoded
from ski_lvlm.tokens import BOUNDARY_TOKENS


def test_the_straightforward_step_is_ours():
    """Equal losses, and gradients of projectors and of start and end tokens."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    model = build(TOY, device).float()
    plain = PlainLvlm(model)
    batch = make_batch(TOY, make_rows(TOY, 3, np.random.default_rng(0)), device)
    ours, theirs = model(batch).mean, plain(batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    ours.backward()
    theirs.backward()
    assert plain.table.grad is not None
    rows = plain.table.grad[-len(BOUNDARY_TOKENS) :]
    torch.testing.assert_close(model.projectors.boundary.grad, rows, rtol=1e-3, atol=1e-6)
    assert not plain.table.grad[: TOY.vocabulary].any()
    for part in ("video", "skeleton"):
        own, other = (getattr(m.projectors, part).weight.grad for m in (model, plain))
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-6)


def test_the_straightforward_captions_are_ours():
    torch.manual_seed(0)
    device = torch.device("cpu")
    model = build(TOY, device).float().eval()
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            parameter.mul_(8)  # so that words differ clearly
    rows = [
        Encoded(r.ids[: r.labels.count(IGNORE)], [IGNORE] * r.labels.count(IGNORE), cut=False)
        for r in make_rows(TOY, 3, np.random.default_rng(0))
    ]
    prompts = [make_batch(TOY, [row], device) for row in rows]
    plain = PlainLvlm(model, checkpointing=False).eval()
    running = RunningBatch(model, size=2, sampling=Sampling(max_new_tokens=5), ends=frozenset())
    found = {answer.number: answer.ids for answer in running.answers(prompts)}
    assert found == dict(enumerate(plain.generate(prompt, 5) for prompt in prompts))


def test_a_row():
    ways = [
        Way(CAPTION, PLAIN, int, 100, 1e12, [10.0, 20.0]),
        Way(CAPTION, OURS, int, 100, 1e12, [4.0], 2_000_000),
    ]
    found = row(ways[1], ways, 1e12)
    assert (found["tokens/s"], found["times as fast"], found["goal"]) == (25, 2.5, "5 (missed)")
    assert (found["% of the product"], found["peak MB more"]) == (25, 2)


@pytest.mark.slow
def test_command(capsys):
    benchmark(repeats=1, pairs=4, clips=2, new_tokens=2, threads=1, quick=True, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [r["way"] for r in found["rows"]] == [PLAIN, OURS, PLAIN, OURS]
    assert all(r["tokens/s"] > 0 for r in found["rows"])


def test_bad_counts():
    with pytest.raises(InputError, match="--pairs"):
        benchmark(pairs=0)
