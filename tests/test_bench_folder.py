"""Rows on a folder of one's own, by the packages' own commands, with recipes made small (slow)."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest

from benchmarks.bench import harness, launch, recipes, work
from benchmarks.bench.cells import figure
from benchmarks.bench.jobs import RUNS, command, ordered
from benchmarks.bench.requests import Request
from benchmarks.bench.running import run_jobs
from ski_data.manifest import read_manifest
from ski_data.synthetic import AdlMiniConfig, make_adl_mini
from ski_data.synthetic.classes import ACTIONS, SEEN

pytestmark = pytest.mark.slow
SIZES = {"embed": 16, "image": 32, "patch": 16, "vision_width": 32, "vision_layers": 1}
SIZES |= {"vision_head": 16, "text_width": 16, "text_layers": 1, "text_heads": 1}
TOWERS = {"architecture": None, "pretrained": None, "sizes": SIZES}
TRAIN = {"epochs": 1, "batch_size": 8, "optim": {"lr": 0.001}}
METHODS = {
    "synse": {
        "latent": 4,
        "cycles": 1,
        "cycle_steps": 20,
        "cross_start": 10,
        "kl_skeleton_start": 5,
        "classifier_steps": 5,
        "samples": 10,
    },
    "smie": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
    "star": {"epochs": 1, "batch_size": 8, "milestones": [1]},
}
SMALL = {
    "hyperformer": {"heads": 1, "strides": [2]},
    "stgcn": {"channels": [8, 8], "strides": [1, 2]},
    "shift_gcn": {"channels": [8, 8], "strides": [1, 2]},
}


def small(value, key=None):
    """A recipe of the same form, and as little work as can be."""
    if key in METHODS:
        return METHODS[key]
    if key in ("train", "classify", "align") and "epochs" in value:
        return TRAIN
    if key == "feeder":
        return {"window": 8, "min_crop": 4}
    if key == "text":
        return {"clip": TOWERS}
    if key == "encoder" and isinstance(value, dict):
        kind = value.get("kind", "hyperformer")
        wide = None if value.get("output", 512) is None else SIZES["embed"]
        return {"kind": kind, "persons": 1, "output": wide, **SMALL[kind]}
    if isinstance(value, dict) and "architecture" in value:
        return TOWERS
    if isinstance(value, dict):
        return {name: small(part, name) for name, part in value.items()}
    if key == "frames":
        return 2
    return SIZES["embed"] if key == "concept_width" else value


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    """75 clips of adl-mini as a folder of one's own."""
    folder = tmp_path_factory.mktemp("data") / "kitchen"
    short = AdlMiniConfig(subjects=3, repetitions=1, cameras=1, frames_min=8, frames_max=8, size=48)
    make_adl_mini(folder / "data", short, progress=lambda *_: None)
    work.store(run=str(folder), out=str(folder / "skeletons"))
    lines = [
        {
            "name": record.name,
            "video": os.path.relpath(record.video, folder),
            "skeleton": os.path.relpath(record.skeleton, folder),
            "label": record.label,
            "subject": record.subject,
        }
        for record in read_manifest(folder / "data" / "manifest.jsonl")
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text)
    told = [{"name": line["name"], "captions": ["a person stands"]} for line in lines]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    names = "".join(f"{i},{action.name}\n" for i, action in enumerate(ACTIONS))
    (folder / "classes.csv").write_text("id,name\n" + names)
    unseen = [action.name for action in ACTIONS[len(SEEN) :]]
    (folder / "data.yaml").write_text(json.dumps({"unseen": unseen, "train_subjects": [1, 2]}))
    return folder


def in_this_process(runs):
    def start(job, claim):
        program, *words = command(job, runs, "cpu")
        module, _, name = launch.PROGRAMS[program].partition(":")
        return getattr(importlib.import_module(module), name)(words)

    return start


@pytest.fixture
def made_small(monkeypatch):
    whole = recipes._parsed
    monkeypatch.setattr(recipes, "_parsed", lambda package, name: small(whole(package, name)))
    monkeypatch.setattr(recipes, "CLIP_L", TOWERS)


def test_rows_of_every_kind_run_on_an_own_folder(kitchen, made_small, tmp_path):
    requests = [
        Request(("table1", "figure3"), (str(kitchen),), 1),
        Request(("table2",), (str(kitchen),), 1, "synse,smie,star,clip"),
        Request(("c2vl",), (str(kitchen),), 1, "linear,knn,semi"),
    ]
    cells = [cell for request in requests for cell in request.cells()]
    assert all(cell.results for cell in cells)
    jobs = ordered(result.job for cell in cells for result in cell.results)
    failures = run_jobs(jobs, tmp_path, in_this_process(tmp_path))
    assert failures == {}, [failure.reason for failure in failures.values()]
    assert harness.not_run(cells, tmp_path, failures) == {}
    for cell in cells:
        found = figure(cell, tmp_path)
        if cell.table == "figure3":
            assert len(cell.results[0].paths(tmp_path)) == 3
        else:
            assert found is not None, cell
            assert 0 <= found.value <= 1
            assert found.n == (25 if cell.table == "c2vl" else found.n)
    assert RUNS not in "".join(
        (job.folder(tmp_path) / name).read_text() for job in jobs for name in job.files
    )
    again = run_jobs(jobs, Path(tmp_path), lambda job, claim: pytest.fail(f"{job.name} ran again"))
    assert again == {}
