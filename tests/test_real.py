"""The benchmarks on real recordings: the plan, what is lacking, resuming, and the one table."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real import __main__ as program
from benchmarks.real import clips, skeletons
from benchmarks.real.headline import WARNING, Headline, as_table
from benchmarks.real.sources import SOURCES
from benchmarks.real_skeletons.settings import read_splits
from benchmarks.real_skeletons.split_run import ENCODER, METHODS, Record, write_json
from ski_data import command
from ski_data.errors import InputError, MissingFileError
from ski_eval import Interval, Predictions, ResultCard, save_predictions, write_card

ROOT = Path(__file__).parents[1]
CLASSES = ("bow", "kick", "run")


@pytest.fixture
def data(tmp_path):
    """A data folder with everything in its place, and nothing in the files."""
    for source in SOURCES.values():
        path = tmp_path / "data" / source.file
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path / "data"


def write_splits(folder, count, value=0.7):
    """Records of the first splits of a set."""
    record = Record("hash", "M", ("a",), value, 0.3, 0.5, 0.5, 0.5, (3, 3), {}, 1.0)
    for number, split in enumerate(read_splits("hdm05")[:count]):
        place = folder / "splits" / "-".join(map(str, split))
        for kind, title in METHODS.items():
            each = replace(record, method=title, zero_shot=value - 0.1 * (number % 2))
            write_json(asdict(each), place / f"{kind}.json")
        write_json({"settings": "hash", "accuracy": 0.9, "seconds": 1.0}, place / f"{ENCODER}.json")


def predictions(**more):
    scores = np.array([[3, 2, 1], [1, 2, 3], [3, 1, 2], [1, 1, 1]], np.float32)
    return Predictions(
        names=("p", "q", "r", "s"),
        labels=np.array([0, 1, 1, 2]),
        logits=scores,
        classes=CLASSES,
        **more,
    )


def test_sources_are_named_as_in_the_data_folder():
    shared = ROOT.parent / "shared" / "data"
    if not shared.is_dir():
        pytest.skip("no folder shared/data beside the repository")
    assert all(source.path(shared).is_file() for source in SOURCES.values())
    assert all(source.lacks(shared) == () for source in SOURCES.values())


def test_what_is_absent_is_told_with_its_source(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    arguments = [str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--dry-run"]
    assert command.run_one(program.benchmark, arguments, prog="real") == 1
    told = capsys.readouterr().out
    assert "UI-PRMD, zero-shot: 0 of 45 splits done; cannot run, see below" in told
    for source in SOURCES.values():
        assert told.count(f"{source.file}: get {source.title} ({source.licence}) from") == 1
    assert told.count("give --run RUN") == told.count("give --sentence MODEL") == 1
    assert not (tmp_path / "out").exists()


def test_a_plan_of_what_could_run(data, tmp_path, capsys):
    out = tmp_path / "out"
    write_splits(out / "real_skeletons" / "hdm05", 4)
    assert program.benchmark(str(data), out=str(out), only="hdm05", sentence="T", dry_run=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        "HDM05 (11 classes), zero-shot: 4 of 10 splits done; 33 s of a core a split",
        "HDM05 (11 classes), closed set: 0 of 2 encoders done; 1 to 3 minutes of a core an encoder",
    ]


def test_jobs_call_the_existing_programs(data, tmp_path, monkeypatch, capsys):
    """With their arguments; their own tables do not reach standard output."""
    called = []

    def zero_shot(which, source, *, sentence, out):
        called.append((which, Path(source).name, sentence))
        write_splits(Path(out) / which, 10)
        print("its own table")

    def closed_set(which, source, *, out):
        called.append((which, Path(source).name, out))

    monkeypatch.setattr(skeletons.real_skeletons, "zero_shot", zero_shot)
    monkeypatch.setattr(skeletons.real_skeletons, "closed_set", closed_set)
    out = str(tmp_path / "out")
    assert program.benchmark(str(data), out=out, only="hdm05", sentence="T") == 0
    file = "hdm05_11class_30fps.npz"
    assert called == [("hdm05", file, "T"), ("hdm05", file, f"{out}/real_skeletons")]
    told = capsys.readouterr()
    assert "its own table" not in told.out
    assert "its own table" in told.err
    rows = [line for line in told.out.splitlines() if "splits of 3 unseen classes" in line]
    assert len(rows) == len(METHODS)
    assert all("65.0 [" in row and "33.3" in row and "10 of 10 splits" in row for row in rows)
    assert all("with wrong names 30.0" in row for row in rows)
    assert WARNING in told.out


def test_finished_results_need_nothing(tmp_path, capsys):
    """Neither recordings nor a sentence encoder."""
    (tmp_path / "data").mkdir()
    out = tmp_path / "out"
    write_splits(out / "real_skeletons" / "hdm05", 10)
    for kind in ("stgcn", "shift_gcn"):
        (out / "real_skeletons" / "hdm05" / "closed" / kind).mkdir(parents=True)
    assert program.benchmark(str(tmp_path / "data"), out=str(out), only="hdm05") == 1
    told = capsys.readouterr().out
    assert told.count("10 of 10 splits") == 4
    assert "not run: HDM05 (11 classes), closed set" in told
    assert "not run: HDM05 (11 classes), zero-shot" not in told


def test_two_movements_of_ui_prmd(data, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def benchmark(source, *, sentence, out, seeds):
        for seed in range(seeds):
            for name in skeletons.ui_prmd.PROTOCOLS:
                save_predictions(predictions(), Path(out) / f"seed{seed}" / f"{name}.npz")
        for number, protocol in enumerate(skeletons.ui_prmd.PROTOCOLS.values()):
            card = ResultCard(
                name=protocol,
                method="SkeletonCLIP",
                dataset="UI-PRMD",
                split="s",
                protocol=protocol,
                metric="top-1",
                value=0.9,
                n=400,
                interval=Interval(0.8, 1.0, 0.95, "bootstrap"),
                n_classes=(2, 8)[number],
                seeds=(0, 1, 2),
            )
            write_card(card, Path(out) / "results")

    monkeypatch.setattr(skeletons.ui_prmd, "benchmark", benchmark)
    job = skeletons.jobs("ui_prmd", data, out, "T")[0]
    assert (job.done(), job.finished, job.headlines()) == (0, False, [])
    job.run()
    assert job.finished
    assert sorted(round(one.chance, 3) for one in job.headlines()) == [0.125, 0.5]
    (out / "ui_prmd" / "seed2" / "unseen-people.npz").unlink()
    assert job.done() == 2


def test_top_one_stands_beside_the_largest_class():
    found = skeletons.top_one("set", "closed", "net", predictions())
    assert (found.value, found.chance, found.clips) == (0.25, 0.5, 4)
    assert found.over == "clips"
    people = skeletons.top_one("set", "closed", "net", predictions(groups=("1", "1", "2", "2")))
    assert people.over == "people"


def test_figures_of_the_clips():
    first, place = clips.figures("CLIP", predictions())
    assert first.value == 0.25
    assert first.chance == pytest.approx(1 / 3)
    # first; second of three; last; all alike
    assert place.value == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert place.chance == 0.5
    assert first.interval.low <= first.value <= first.interval.high


def test_views_of_a_performance_are_one():
    listing = ROOT.parent / "shared" / "data" / SOURCES["clips"].file
    if not listing.is_file():
        pytest.skip("no recorded clips beside the repository")
    found = clips.performances(listing)
    assert len(found) == 29
    assert found.count("beam") == 8
    assert len(set(found)) == 22


def test_clips_are_recognised_once(tmp_path, monkeypatch):
    shared = ROOT.parent / "shared" / "data" / SOURCES["clips"].file
    if not shared.is_file():
        pytest.skip("no recorded clips beside the repository")
    run = tmp_path / "run"
    for name in clips.MODELS:
        (run / name / "model").mkdir(parents=True)
        (run / name / "model" / "weights.safetensors").write_text(name)
    asked = []

    def scores(folder, records, names):
        asked.append(folder.name)
        assert all(record.video.is_file() for record in records)
        labels = [record.label for record in records]
        return np.eye(len(names), dtype=np.float32)[labels]

    monkeypatch.setattr(clips, "from_video", scores)
    monkeypatch.setattr(
        clips,
        "from_poses",
        lambda run, records, store, names: scores(run / clips.POSES, records, names),
    )
    data, out = shared.parents[1], tmp_path / "out"
    jobs = clips.jobs(data, out, run)
    for _ in range(2):
        for job in jobs:
            job.run()
        assert asked == list(clips.MODELS)
    assert all(job.finished and not job.lacks for job in jobs)
    assert [one.value for job in jobs for one in job.headlines()] == [1.0] * 10
    assert all(job.finished for job in clips.jobs(tmp_path, out, None))
    (run / "clip" / "model" / "weights.safetensors").write_text("another")
    assert not jobs[0].finished
    with pytest.raises(InputError, match=r"clip.npz: of another model or of other clips"):
        clips.recognise("clip", run, shared, out / "clips")


def test_a_model_that_the_main_job_has_not_made(data, tmp_path):
    run = tmp_path / "run"
    (run / "clip" / "model").mkdir(parents=True)
    lacks = [job.lacks for job in clips.jobs(data, tmp_path / "out", run)]
    assert lacks[0] == ()
    assert all("finish the main job" in told[0] for told in lacks[1:])


def test_the_sentence_encoder_of_the_environment(tmp_path, monkeypatch):
    module = tmp_path / f"{program.PACKAGED}.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    module.write_text("def get_model_path():\n    return 'minilm'\n")
    assert program.packaged_encoder() == "minilm"
    monkeypatch.setattr(program, "PACKAGED", "no_such_package_anywhere")
    assert program.packaged_encoder() is None


def test_wrong_usage(data, tmp_path):
    with pytest.raises(InputError, match="no 'ntu'; there are ui_prmd, hdm05, bandai, clips"):
        program.benchmark(str(data), out="o", only="ntu")
    with pytest.raises(MissingFileError, match="no such folder"):
        program.benchmark(str(tmp_path / "none"), out="o")
    with pytest.raises(MissingFileError, match="hatch run main --out"):
        program.benchmark(str(data), out="o", run=str(tmp_path / "none"))
    assert program.chosen("clips, ui_prmd") == ["ui_prmd", "clips"]


def test_the_table():
    one = Headline("S", "P", "M", 0.5, Interval(0.4, 0.6, 0.95, "b"), "people", 0.1, None, "1 seed")
    text = as_table([one])
    assert "| 50.0 [40.0, 60.0] |" in text
    assert "10.0" in text
    assert json.loads(json.dumps(one.cells()))[-2] == ""
    assert text.endswith(f"{WARNING}\n")
