"""The benchmark of all students on adl-mini, with everything as small as it goes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import yaml

from apps.adl_mini import stages
from apps.adl_mini.recipe import AdlMiniRecipe
from benchmarks.adl_mini_vlm import __main__ as program
from benchmarks.adl_mini_vlm import runs, tables
from benchmarks.adl_mini_vlm.rows import (
    SWEEP,
    Bench,
    BenchConfig,
    VitConfig,
    answers_of,
    recipes,
    said,
    seeds_of,
    starts,
)
from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError, MissingFileError
from ski_data.manifest import read_manifest
from ski_data.synthetic import AdlMiniConfig
from ski_eval import Predictions, save_predictions
from ski_skeleton import pipeline
from ski_skeleton.errors import RunError
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.text import ClipSizes
from ski_skeleton.train import TrainConfig, write_model
from ski_vlm.data import open_clips
from ski_vlm.recipe import VideoRecipe
from ski_vlm.students import ViFiClip, load_student
from ski_vlm.training import start_student

TINY = BenchConfig(epochs=1, vit=VitConfig(width=16, layers=1, head=8, pretrain_epochs=1))


def write_job(run):
    """A main job of two people and five classes whose models were never trained."""
    once = TrainConfig(epochs=1, batch_size=4)
    settings = AdlMiniRecipe(
        data=AdlMiniConfig(
            subjects=2,
            repetitions=1,
            cameras=2,
            frames_min=8,
            frames_max=8,
            caption_frames=1,
            classes=(0, 1, 2, 20, 21),
        ),
        stored_frames=3,
        short_side=36,
        frames=2,
        train_frames=2,
        window=8,
        clip=ClipSizes(
            embed=64, image=32, timm="lcnet_035", text_width=16, text_layers=1, text_heads=1
        ),
        encoder=HyperformerConfig(heads=1, strides=(2,), persons=1, output=64),
        train_towers="image",
        pretrain=once,
        finetune=once,
        classify=once,
        align=once,
        distil=once,
    )
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(to_plain(settings)))
    data = stages.make_data(settings, run)
    meta = {"classes_seen": list(data.seen.names)}
    config = stages.student_config(settings)
    for name in ("clip", "vificlip"):
        state = ViFiClip(config).state_dict()
        write_model(run / name / "model", "vifi-clip", config, state, meta)
    clip = stages.skeleton_clip_config(settings)
    state = SkeletonClip(clip).state_dict()
    write_model(run / "skeleton-clip" / "model", pipeline.KIND, clip, state, meta)
    return run


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vlm")
    return Bench(write_job(folder / "job"), folder / "out", TINY)


@pytest.fixture(scope="module")
def finished(bench):
    """Every row with one seed."""
    rows = recipes(bench)
    clips = runs.prepare(bench, list(rows))
    for row, recipe in rows.items():
        runs.run_row(bench, clips, row, recipe, 0)
    return rows


def test_every_row_leaves_a_record_and_its_answers(bench, finished):
    for row, recipe in finished.items():
        folder = runs.seed_folder(bench, row, 0)
        record = runs.read_record(folder)
        assert set(record.top1) == set(answers_of(recipe)), row
        for answer, by_protocol in record.top1.items():
            assert set(by_protocol) == set(runs.PROTOCOLS)
            for protocol, value in by_protocol.items():
                found = runs.read_predictions(folder, answer, protocol)
                assert runs.accuracy(found) == value
        assert ("loss" in record.training) == (recipe.method.kind != "zero-shot"), row
        assert not (folder / "work").exists()


def test_steps_are_the_same_in_all_rows_that_train(bench, finished):
    steps = {
        runs.read_record(runs.seed_folder(bench, row, 0)).training.get("step")
        for row, recipe in finished.items()
        if recipe.method.kind != "zero-shot"
    }
    assert len(steps) == 1


def test_clips_are_the_main_jobs(bench, finished):
    clips = open_clips(bench.data)
    data = stages.make_data(bench.settings, bench.run)
    for own, other in (
        (clips.train, data.train),
        (clips.test_seen, data.test_seen),
        (clips.test_unseen, data.test_unseen),
    ):
        assert {(r.name, r.label) for r in own} == {(r.name, r.label) for r in other}
    assert clips.seen.names == data.seen.names
    assert clips.unseen is not None
    assert clips.unseen.names == data.unseen.names
    names = bench.all_classes().names
    records = read_manifest(bench.run / "data" / "manifest.jsonl", bench.all_classes())
    assert all(record.caption == names[record.label] for record in records)


def test_what_is_done_is_kept(bench, finished, monkeypatch):
    monkeypatch.setattr(runs, "train_seed", lambda *a, **k: pytest.fail("trained again"))
    runs.run_row(bench, open_clips(bench.data), "scd", finished["scd"], 0)
    assert runs.known(bench, "scd", finished["scd"], 0)
    assert not runs.known(bench, "scd", finished["scd"], 1)


def test_other_settings_are_refused(bench, finished):
    other = Bench(bench.run, bench.out, replace(TINY, epochs=2))
    with pytest.raises(RunError, match="made with other settings"):
        runs.known(other, "scd", recipes(other)["scd"], 0)
    slower = Bench(bench.run, bench.out, replace(TINY, vit=replace(TINY.vit, pretrain_lr=1.0)))
    assert runs.known(slower, "scd", recipes(slower)["scd"], 0)  # hangs not on the transformer
    with pytest.raises(RunError, match="made with other settings"):
        runs.known(slower, "vit-xclip", recipes(slower)["vit-xclip"], 0)


def test_settings_do_not_hang_on_the_place(bench, tmp_path):
    (tmp_path / "moved").symlink_to(bench.run)
    moved = Bench(tmp_path / "moved", tmp_path / "moved" / "out", TINY)
    for row in ("scd", "vit-ski-froster", "cross-projection"):
        own, other = recipes(bench)[row], recipes(moved)[row]
        assert bench.settings_hash(own, 0) == moved.settings_hash(other, 0)
    assert bench.settings_hash(own, 0) != bench.settings_hash(own, 1)


def test_settings_at_their_default_are_not_said(bench):
    @dataclass(frozen=True)
    class Settings:
        a: int
        b: int = 1
        c: tuple[int, ...] = field(default_factory=tuple)
        d: Any = None

    assert said(Settings(1)) == {"Settings": {"a": 1}}
    assert said(Settings(1, 2, (3,), Settings(4))) == {
        "Settings": {"a": 1, "b": 2, "c": [3], "d": {"Settings": {"a": 4}}}
    }
    mse, feature = (said(recipes(bench)[row].method) for row in ("scd", "feature"))
    assert mse != feature


def test_recipes_are_plain_settings(bench):
    for row, recipe in {**recipes(bench), **starts(bench)}.items():
        assert from_plain(VideoRecipe, to_plain(recipe), row) == recipe


def test_students_on_the_transformer_start_from_the_same_clip(bench, finished):
    clip = load_student(bench.out / "vit" / "clip")[0].state_dict()
    for name, recipe in starts(bench).items():
        state = start_student(recipe).state_dict()
        shared = [k for k in clip if k in state]
        assert len(shared) == len(clip), name
        assert all((state[k] == clip[k]).all() for k in shared)


def test_lines_of_tables_are_answers_of_rows(bench):
    rows = recipes(bench)
    for question in tables.QUESTIONS:
        for line in question.lines:
            assert line.answer in answers_of(rows[line.row])
            assert line.control is None or "video" in answers_of(rows[line.control])
        titles = [line.title for line in question.lines]
        assert len(set(titles)) == len(titles)
    shown = {line.row for question in tables.QUESTIONS for line in question.lines}
    controls = {line.control for question in tables.QUESTIONS for line in question.lines}
    assert shown | controls >= set(rows)


def test_seeds_of_rows(bench):
    rows = recipes(bench)
    assert seeds_of("scd", rows["scd"], 3) == (0, 1, 2)
    assert seeds_of("clip", rows["clip"], 3) == (0,)
    assert seeds_of(f"alpha-{SWEEP[0]:g}", rows[f"alpha-{SWEEP[0]:g}"], 3) == (0,)


def test_tables_say_what_is_not_finished(bench, finished):
    text = tables.markdown(tables.Results(bench, finished, 2))
    assert text.count("### ") == len(tables.QUESTIONS)
    assert "scd (seeds [1])" in text
    assert " clip (seeds" not in text
    assert "All rows are finished" in tables.markdown(tables.Results(bench, finished, 1))


def test_nothing_is_invented(bench):
    nothing = Bench(bench.run, bench.out.parent / "empty", TINY)
    rows = recipes(nothing)
    text = tables.markdown(tables.Results(nothing, rows, 1))
    assert text.count("No row is done.") == len(tables.QUESTIONS)
    assert all(f"{row} (seeds [0])" in text for row in rows)
    assert "%" not in text


def write_predictions(bench, row, seed, right):
    """Predictions of two performances by two cameras; ``right`` says which clips are right."""
    folder = runs.seed_folder(bench, row, seed)
    folder.mkdir(parents=True)
    names = tuple(f"S001C00{c}P00{p}R001A001" for p in range(1, 9) for c in (1, 2))
    hits = np.array(right)
    for protocol in runs.PROTOCOLS:
        logits = np.stack([hits, ~hits], 1).astype(np.float32)
        found = Predictions(names, np.zeros(16, np.int64), logits, ("a", "b"))
        save_predictions(found, runs.predictions_file(folder, "video", protocol))
    settings = bench.settings_hash(recipes(bench)[row], seed)
    record = runs.Record(settings, row, seed, {}, {}, 0.0)
    runs.write_json(record.__dict__, folder / runs.RECORD)


def test_differences_are_paired_and_adjusted(bench):
    place = Bench(bench.run, bench.out.parent / "made-up", TINY)
    none, half = [False] * 16, [True, False] * 8
    for seed in (0, 1):
        write_predictions(place, "control", seed, none)
        write_predictions(place, "scd", seed, half)
    write_predictions(place, "scd-trained-text", 0, none)
    question = next(q for q in tables.QUESTIONS if "text tower" in q.title)
    rows = tables.table_of(tables.Results(place, recipes(place), 2), question).rows
    control, frozen, trained = rows
    assert control[1:3] == ("2", "0.0 [0.0, 36.9]")  # eight performances, none right
    assert control[4:6] == ("", "")
    assert frozen[2].startswith("50.0 ")
    assert frozen[4] == "+50.0 [+50.0, +50.0]"
    assert math.isclose(float(frozen[5]), 2 * 2 / 2**8, abs_tol=6e-4)  # Holm: twice 2 of 256
    assert trained[1] == "1"
    assert trained[3:6] == ("", "+0.0 [+0.0, +0.0]", "1.000")


def test_tables_go_between_the_marks(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"before\n{tables.START}\nold\n{tables.END}\nafter\n")
    tables.replace_part(page, "new")
    tables.replace_part(page, "new")
    text = page.read_text()
    assert text == f"before\n{tables.START}\n\nnew\n{tables.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(InputError, match="has no part between"):
        tables.replace_part(page, "new")
    assert page.read_text() == "no marks"


def test_command(bench, finished, monkeypatch, tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text(f"{tables.START}{tables.END}")
    monkeypatch.setattr(program, "README", page)
    monkeypatch.setattr(program, "Bench", lambda run, out: Bench(run, out, TINY))
    run, out = str(bench.run), str(bench.out)
    program.adl_mini_vlm(run, out=out, only="scd,clip", seeds=1)
    assert "SKI-ViFi-CLIP" in capsys.readouterr().out
    program.adl_mini_vlm(run, out=out, seeds=1, readme=True)
    assert capsys.readouterr().out.strip() in page.read_text()
    with pytest.raises(InputError, match=r"no rows \['nonsense'\]"):
        program.adl_mini_vlm(run, out=out, only="scd,nonsense")
    with pytest.raises(InputError, match="seeds must be at least 1"):
        program.adl_mini_vlm(run, out=out, seeds=0)


def test_a_main_job_is_needed(tmp_path):
    with pytest.raises(MissingFileError, match=r"no finished main job \(no config.yaml\)"):
        Bench(tmp_path, tmp_path / "out")


def test_the_sweep_is_ascending_and_leaves_out_the_default():
    assert all(a < b for a, b in pairwise(SWEEP))
    assert json.loads(json.dumps(SWEEP)) == list(SWEEP)
