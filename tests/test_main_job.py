"""The main job from end to end, with everything as small as it goes."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from apps.adl_mini import job
from apps.adl_mini.recipe import DEFAULT
from ski_data import command
from ski_eval import read_cards
from ski_vlm import load

ROOT = Path(__file__).parents[1]
ONCE = {"epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    recipe = yaml.safe_load(DEFAULT.read_text())
    recipe["data"] = {"seed": 0, "subjects": 2, "repetitions": 1, "cameras": 2, "frames_max": 24}
    recipe["clip"] |= {"image": 32, "timm": "lcnet_035", "embed": 16}
    recipe["clip"] |= {"text_width": 16, "text_heads": 1}
    recipe["encoder"] |= {"heads": 1, "strides": [2], "output": 16}
    recipe |= {"frames": 2, "train_frames": 2, "window": 8, "stored_frames": 4, "short_side": 36}
    for stage in ("pretrain", "finetune", "classify", "align", "distil"):
        recipe[stage] |= ONCE
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def again(*argv):
    """The job in this process: exit code and what it said on standard error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = command.run_one(job.main_job, argv, prog="python -m apps.adl_mini")
    return code, said.getvalue()


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "job"
    words = [sys.executable, "-m", "apps.adl_mini", "--recipe", str(tiny), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "not comparable" in done.stdout
    assert "SKI-ViFi-CLIP" in done.stdout
    return out


def test_cards_for_every_model_and_protocol(run):
    cards = [card for _, card in read_cards(run / "results")]
    assert len(cards) == 5 * 3
    assert {card.n_classes for card in cards} == {5, 20, 25}
    assert all(card.interval.low <= card.value <= card.interval.high for card in cards)
    assert all(card.data_hash and card.split_hash for card in cards)
    assert not any(card.comparable_to_paper for card in cards)


def test_report_is_whole_and_alone(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "not comparable" in page
    assert page.count("data:image/svg+xml") >= 8
    assert page.count("data:image/png") >= 5
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "What SkeletonCLIP distillation changed" in page


def test_trained_model_predicts_from_rgb(run):
    clip = next((run / "data" / "videos").glob("*A021_rgb.mp4"))
    recognizer = load(run / "ski-vificlip-seed0")
    names = ["wave right hand", "raise left hand", "a name never heard of"]
    ranked = recognizer.predict(clip, names)
    assert {p.label for p in ranked} == set(names)
    assert "wave right hand" not in recognizer.meta["classes_seen"]
    assert not any("encoder" in key for key in recognizer.model.state_dict())


def test_second_call_trains_nothing(run, tiny):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    code, said = again("--recipe", str(tiny), "--out", str(run))
    assert code == 0, said
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    assert set(json.loads((run / "times.json").read_text())) >= {"make adl-mini", "ViFi-CLIP"}


def test_other_settings_do_not_touch_a_run(run):
    code, said = again("--out", str(run))
    assert code == 2
    assert "other settings" in said
    assert "Traceback" not in said


def test_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    code, said = again("--out", str(tmp_path))
    assert code == 2
    assert str(tmp_path) in said
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
