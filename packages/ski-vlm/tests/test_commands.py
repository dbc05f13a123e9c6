from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_videos import TOWERS, plain_recipe, skeleton_side, write_clips, write_recipe

from ski_data.errors import InputError
from ski_eval import load_predictions, read_cards
from ski_skeleton.train import read_model
from ski_vlm.cli import main
from ski_vlm.commands import read_run, tuning_factors
from ski_vlm.data import open_clips
from ski_vlm.students import load_student
from ski_vlm.views import Views


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def run(tmp_path, plain, *extra):
    recipe = write_recipe(tmp_path / "recipe.yaml", plain)
    return main(["train", str(recipe), "--out", str(tmp_path / "run"), *extra])


METHODS = {
    "zero-shot": (False, {"video"}),
    "finetune": (False, {"video"}),
    "scd": (True, {"video", "skeleton", "late fusion of logits", "late fusion of probabilities"}),
    "feature": (True, {"video"}),
    "tri-modal": (True, {"video", "skeleton"}),
    "cross-projection": (True, {"skeleton"}),
    "late-fusion": (
        True,
        {
            "video",
            "skeleton",
            "late fusion, trained",
            "late fusion of logits",
            "late fusion of probabilities",
        },
    ),
}


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_trains_and_tests(tmp_path, clips, capsys, kind):
    skeletons, answers = METHODS[kind]
    plain = plain_recipe(clips, method={"kind": kind})
    if skeletons:
        plain["skeleton"] = skeleton_side()
    assert run(tmp_path, plain) == 0
    place = tmp_path / "run" / "seed-0"
    assert capsys.readouterr().out.split() == [str(place / "model")]
    student, meta = load_student(place)
    assert meta["classes_seen"] == ([] if kind == "zero-shot" else ["bow", "clap"])
    assert not any("encoder" in name for name in student.state_dict())
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    cards = [card for _, card in read_cards(tmp_path / "run" / "results")]
    assert {card.method.partition(", by ")[2] for card in cards} == answers
    assert {card.protocol for card in cards} == {
        "zero-shot, unseen classes",
        "seen classes, unseen people",
        "generalised zero-shot",
    }
    assert {(card.n, card.n_classes) for card in cards if card.metric == "top-1"} == {
        (8, 2),
        (4, 2),
    }
    assert {card.n for card in cards if card.metric == "H"} == {12}
    for path in place.glob("*-all-classes.npz"):
        predictions = load_predictions(path)
        assert predictions.classes == ("bow", "clap", "kick", "wave")
        assert predictions.unseen == (2, 3)
        assert all(
            predictions.classes[label] in name
            for name, label in zip(predictions.names, predictions.labels, strict=True)
        )
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "remove it to test again" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["x-clip", "froster", "vifi-clip-prompted"])
def test_every_student_learns_with_skeletons(tmp_path, clips, kind):
    student = {"kind": kind, "clip": TOWERS, "frames": 4, "short_side": 32}
    if kind == "vifi-clip-prompted":
        student |= {"text_depth": 1, "image_depth": 1}
    plain = plain_recipe(
        clips, student=student, method={"kind": "scd", "alpha": 0.1}, skeleton=skeleton_side()
    )
    assert run(tmp_path, plain) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    logs = (tmp_path / "run" / "seed-0" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in logs]
    assert len(losses) == 2
    assert all(torch.isfinite(torch.tensor(losses)))


def test_froster_trains_by_residual_distillation(tmp_path, clips):
    student = {"kind": "froster", "clip": TOWERS, "frames": 4, "short_side": 32}
    plain = plain_recipe(clips, student=student, method={"kind": "residual", "average_from": 1})
    assert run(tmp_path, plain) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0


def test_ski_on_froster_keeps_its_own_distances(tmp_path, clips, capsys):
    student = {"kind": "froster", "clip": TOWERS, "frames": 4, "short_side": 32}
    method = {"kind": "scd", "residual": {}}
    plain = plain_recipe(clips, student=student, method=method, skeleton=skeleton_side())
    assert run(tmp_path, plain) == 0
    place = tmp_path / "run" / "seed-0"
    line = json.loads((place / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    parts = [line[k] for k in ("video_cross_entropy", "skeleton_cross_entropy", "residual")]
    assert line["loss"] == pytest.approx(sum(parts) + 10 * line["distance"], rel=1e-5)
    capsys.readouterr()
    again = tmp_path / "again"
    again.mkdir()
    assert run(again, {**plain, "start": str(place)}) == 2
    assert "which CLIP it must not forget" in capsys.readouterr().err
    other = {**plain, "student": plain_recipe(clips)["student"]}
    assert run(again, other) == 2
    assert "FROSTER student" in capsys.readouterr().err
    assert (
        run(
            again,
            {**plain, "start": str(place), "method": {"kind": "scd", "residual": {"clip": TOWERS}}},
        )
        == 0
    )


def test_several_seeds(tmp_path, clips, capsys):
    assert run(tmp_path, plain_recipe(clips), "--seeds", "2") == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert {card.seeds for _, card in read_cards(tmp_path / "run" / "results")} == {(0, 1)}
    assert "seed-1" in capsys.readouterr().out


def test_a_run_starts_from_runs(tmp_path, clips):
    first = tmp_path / "first"
    first.mkdir()
    assert run(first, plain_recipe(clips, method={"kind": "scd"}, skeleton=skeleton_side())) == 0
    place = first / "run" / "seed-0"
    plain = plain_recipe(
        clips,
        start=str(place),
        skeleton={"folder": str(place / "skeleton-clip"), "train_text": True},
        method={"kind": "scd"},
    )
    assert run(tmp_path, plain) == 0
    after = tmp_path / "run" / "seed-0"
    config = read_model(after / "skeleton-clip")[1]
    assert config["train_text"] is True
    before, now = (read_model(p / "skeleton-clip")[2] for p in (place, after))
    assert any(not torch.equal(now[k], before[k]) for k in now if k.startswith("text."))


def test_a_source_that_saw_an_unseen_class_is_refused(tmp_path, clips, capsys):
    first = tmp_path / "first"
    first.mkdir()
    other = plain_recipe(clips)
    other["data"]["unseen"] = ["bow", "clap"]
    assert run(first, other) == 0
    capsys.readouterr()
    assert run(tmp_path, plain_recipe(clips, start=str(first / "run" / "seed-0"))) == 2
    err = capsys.readouterr().err
    assert "['kick', 'wave'], which this recipe calls unseen" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": {"kind": "scd"}}, "needs the setting skeleton"),
        ({"skeleton": {"folder": "x"}}, "takes no skeleton"),
        ({"method": {"kind": "residual"}}, "set student.kind to froster"),
        ({"method": {"kind": "guess"}}, "guess"),
        ({"seeds": [0, 0]}, "seeds must be different"),
        ({"video": {"size": 48}}, "set it to 32"),
        ({"start": "nowhere"}, "nowhere"),
    ],
)
def test_bad_recipes(tmp_path, clips, capsys, changes, told):
    assert run(tmp_path, plain_recipe(clips, **changes)) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.strip().splitlines()) == 1


def test_evaluate_wants_a_finished_run(tmp_path, clips, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "no run of the command train" in capsys.readouterr().err


def test_views_are_told_on_the_cards_and_must_be_those_of_the_calibration(tmp_path, clips, capsys):
    plain = plain_recipe(clips, method={"kind": "scd"}, skeleton=skeleton_side())
    assert run(tmp_path, plain) == 0
    argv = ["evaluate", str(tmp_path / "run"), "--views.temporal=2", "--views.spatial=3"]
    assert main(argv) == 0
    assert "note: videos: mean probability of 2 clips x 3 crops" in capsys.readouterr().out
    cards = [card for _, card in read_cards(tmp_path / "run" / "results")]
    assert all(card.config["views"]["temporal"] == 2 for card in cards)
    predictions = load_predictions(tmp_path / "run" / "seed-0" / "video-all-classes.npz")
    assert predictions.meta["views"] == "2 clips x 3 crops"
    settings = read_run(tmp_path / "run").data
    seen = replace(open_clips(settings), unseen=None)
    assert "video" in tuning_factors(tmp_path / "run", seen, Views(2, 3))
    with pytest.raises(InputError, match="other views"):
        tuning_factors(tmp_path / "run", seen, Views())
    assert main(["evaluate", str(tmp_path / "run"), "--views.spatial=2"]) == 2


def test_calibration_is_tuned_on_another_runs_classes(tmp_path, clips, capsys):
    three = plain_recipe(clips)
    three["data"] |= {"unseen": ["bow", "wave"]}
    assert run(tmp_path, three) == 0
    other = tmp_path / "other"
    other.mkdir()
    wide = plain_recipe(clips)
    assert run(other, wide) == 0
    assert main(["evaluate", str(other / "run")]) == 0
    capsys.readouterr()
    flags = ["--calibrate_with", str(other / "run")]
    assert main(["evaluate", str(tmp_path / "run"), *flags]) == 2
    assert "unseen here" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results").exists()


def test_a_calibrated_run_has_cards_of_their_own(tmp_path, clips, monkeypatch):
    assert run(tmp_path, plain_recipe(clips)) == 0
    found = {"video": 1e6}  # takes every seen class out of the race
    monkeypatch.setattr("ski_vlm.commands.tuning_factors", lambda *_: found)
    assert main(["evaluate", str(tmp_path / "run"), "--calibrate_with", "other"]) == 0
    cards = [card for _, card in read_cards(tmp_path / "run" / "results")]
    by = {(card.protocol, card.metric): card for card in cards}
    assert by["generalised zero-shot, calibrated", "S"].value == 0
    zero_shot = by["zero-shot, unseen classes", "top-1"].value
    assert by["generalised zero-shot, calibrated", "U"].value == zero_shot
    assert by["generalised zero-shot, calibrated", "H"].config["factor"] == 1e6
    assert by["generalised zero-shot", "H"].config["factor"] == 0
