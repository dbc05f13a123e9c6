"""The harness of the paper's tables: data of the tables, jobs and what they share, messages."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.adl_mini_vlm import rows as students
from benchmarks.bench import __main__ as program
from benchmarks.bench import adl_rows, harness, plan, recipes
from benchmarks.bench.adl import AdlMini
from benchmarks.bench.jobs import Job, filled, finish, finished, ordered
from benchmarks.bench.launch import Launcher, read_launcher
from benchmarks.bench.paper import ORDER, PaperTable, chosen_tables, read_table
from benchmarks.bench.places import read_given
from benchmarks.bench.requests import Request, all_cells, remember, requests_of
from ski_data.config import from_plain
from ski_data.errors import InputError, MissingFileError
from ski_lvlm.recipe import LvlmRecipe
from ski_skeleton.c2vl.recipe import C2vlRecipe
from ski_skeleton.pipeline import SkeletonRecipe
from ski_skeleton.supervised import ClassifierRecipe
from ski_skeleton.zeroshot.recipe import ZeroShotRecipe
from ski_vlm.recipe import VideoRecipe

ROWS = {
    "table1": 10,
    "table2": 8,
    "table3": 5,
    "table4": 4,
    "table5": 3,
    "table6": 2,
    "table7": 4,
    "figure3": 2,
    "figure5": 7,
    "c2vl": 10,
    "anchors": 17,
}
RECIPES = {
    ("ski-vlm", "train"): VideoRecipe,
    ("ski-lvlm", "train"): LvlmRecipe,
    ("ski-skeleton", "train"): SkeletonRecipe,
    ("ski-skeleton", "train-classifier"): ClassifierRecipe,
    ("ski-skeleton", "zeroshot"): ZeroShotRecipe,
    ("ski-skeleton", "pretrain-c2vl"): C2vlRecipe,
}


def tables():
    return [read_table(name) for name in ORDER]


def jobs_of(cells):
    return ordered(result.job for cell in cells for result in cell.results)


@pytest.fixture
def ntu(tmp_path):
    """Folders with all parts that the rows ask for, empty as they are."""
    for name in ("ntu60", "ntu120", "charades"):
        folder = tmp_path / name
        (folder / "skeletons").mkdir(parents=True)
        for part in ("pairs.jsonl", "captions.jsonl", "questions.json"):
            (folder / part).write_text("")
        manifest = [
            {"name": f"c{label}", "video": f"c{label}.avi", "label": label} for label in range(60)
        ]
        lines = "".join(json.dumps(record) + "\n" for record in manifest)
        (folder / "manifest.jsonl").write_text(lines)
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("mm_projector.bin", "video_chatgpt-7B.bin"):
        (weights / name).write_text("")
    return tmp_path


def everything(folder: Path) -> Request:
    names = ("ntu60", "ntu120", "charades")
    data = tuple(f"{name}={folder / name}" for name in names)
    return Request(ORDER, data, 2, weights=str(folder / "weights"))


# the tables as data


def test_the_tables_have_the_papers_rows_and_columns():
    assert {table.id: len(table.rows) for table in tables()} == ROWS
    columns = {table.id: len(table.columns) for table in tables()}
    assert columns["table1"] == columns["figure5"] == 2
    assert columns["table2"] == 4
    assert columns["table3"] == 6


def test_published_values_are_those_that_are_known():
    two, three = read_table("table2"), read_table("table3")
    known = {row.id: list((row.values or {}).values()) for row in two.rows}
    assert known["clip"] == [54.5, 20.2, 35.0, 15.2]
    assert known["ski-vificlip"] == [82.2, 52.0, 77.5, 59.3]
    assert known["vificlip"] == [None] * 4
    for row in three.rows:
        if row.values is not None:
            *parts, average = row.values.values()
            assert sum(parts) / 5 == pytest.approx(average, abs=0.06), row.id
    one = read_table("table1")
    assert list((one.row("skeletonclip").values or {}).values()) == [35.1, 63.0]


def test_every_row_has_something_to_run_or_a_source():
    known = set(students.recipes.__code__.co_consts)  # names stand in the function itself
    for table in tables():
        for row in table.rows:
            if row.method is None:
                assert row.source, (table.id, row.id)
                assert any(value is not None for value in (row.values or {}).values())
            elif row.method == "video":
                for split in ("ntu60_48-12", "ntu120_110-10"):
                    assert recipes.recipe("ski_vlm", f"{row.recipe}_{split}")
                started = row.adl_mini is None or row.adl_mini.startswith(("alpha-", "vit-"))
                assert started or row.adl_mini in known, row.adl_mini


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": ({"id": "a/b", "title": "A"},) * 2}, "column a/b stands twice"),
        ({"rows": ({"id": "Not OK", "title": "x", "values": {"a/b": 1}},)}, "lower case"),
        ({"rows": ({"id": "x", "title": "x", "values": {"c": 1}},)}, "unknown columns"),
        ({"rows": ({"id": "x", "title": "x", "values": {"a/b": 101}},)}, "outside 0..100"),
        ({"rows": ({"id": "x", "title": "x"},)}, "neither run nor published"),
        ({"rows": ({"id": "x", "title": "x", "method": "video"},)}, "both method and recipe"),
    ],
)
def test_a_damaged_table_is_refused(change, told):
    plain = {"id": "t", "title": "T", "metric": "m", "unit": "percent", "source": "s"}
    plain |= {"columns": [{"id": "a/b", "title": "A"}], "rows": []}
    with pytest.raises(InputError, match=told):
        from_plain(PaperTable, plain | change, "here")


def test_only_keeps_named_rows_and_refuses_others():
    kept = chosen_tables(("table4", "table5"), "mse,offline")
    assert [(t.id, [r.id for r in t.rows]) for t in kept] == [
        ("table4", ["offline"]),
        ("table5", ["mse"]),
    ]
    with pytest.raises(InputError, match=r"no rows \['nothing'\]"):
        chosen_tables(("table4",), "nothing")
    with pytest.raises(InputError, match="no table 'table8'"):
        read_table("table8")


# jobs


def test_jobs_are_shared_between_tables_and_seeds(ntu):
    cells = everything(ntu).cells()
    jobs = jobs_of(cells)
    names = [job.name for job in jobs]
    assert len(names) == len(set(names))  # one name, one job
    assert sum(name.startswith("skeletonclip ntu60/48-12 seed 0") for name in names) == 1
    one = [c for c in cells if c.table == "table4" and c.row == "online"]
    for table, row in (("table5", "mse"), ("table6", "trained"), ("table7", "both")):
        other = [c for c in cells if c.table == table and c.row == row]
        assert [r.job.id for c in one for r in c.results] == [
            r.job.id for c in other for r in c.results
        ]
    sweep = [c for c in cells if c.table == "figure5" and c.row in ("alpha-0.01", "alpha-10")]
    published = {r.job.id for c in one for r in c.results}  # 0.01 on NTU60, 10 on NTU120
    shared = [bool(published & {r.job.id for r in c.results}) for c in sweep]
    assert shared == [True, False, False, True]


def test_needs_come_first_and_everything_named_in_a_command_is_made_by_them(ntu):
    seen = set()
    for job in jobs_of(everything(ntu).cells()):
        assert {need.id for need in job.needs} <= seen
        seen.add(job.id)
        before = {one.id for one in ordered(job.needs)} | {job.id}
        for text in (*job.argv, *job.files.values(), job.done or ""):
            for part in text.split("{runs}/jobs/")[1:]:
                assert part.partition("/")[0].split("'")[0] in before, (job.name, part)


@pytest.mark.parametrize("data", ["ntu", "full", "tiny"])
def test_recipes_of_jobs_are_read_strictly(data, ntu, monkeypatch):
    from benchmarks.lvlm_smollm2 import runs as smollm2
    from ski_lvlm.base import BaseConfig

    monkeypatch.setattr(smollm2, "base", lambda: BaseConfig("somewhere"))
    request = everything(ntu) if data == "ntu" else Request(ORDER, ("adl-mini",), 1, scale=data)
    read = set()
    for job in jobs_of(request.cells()):
        if "recipe.yaml" in job.files:
            kind = RECIPES[job.argv[0], job.argv[1]]
            plain = yaml.safe_load(filled(job.files["recipe.yaml"], job, Path("/runs")))
            from_plain(kind, plain, job.name)
            read.add(kind)
    assert read >= set(RECIPES.values()) - (
        {VideoRecipe, SkeletonRecipe} if data != "ntu" else set()
    )


def test_a_job_is_known_by_its_settings_alone(tmp_path):
    job = Job("a job", ("ski-vlm", "train", "{out}/recipe.yaml"), {"recipe.yaml": "x: 1"})
    assert job.id == Job("a job", job.argv, dict(job.files)).id
    assert job.id != replace(job, files={"recipe.yaml": "x: 2"}).id
    assert job.id != replace(job, needs=(Job("before", ("ski-vlm",)),)).id
    assert job.id == replace(job, units=5, kind="else").id
    assert filled("{runs} {out} {device}", job, tmp_path, "cuda") == (
        f"{tmp_path} {tmp_path}/jobs/{job.id} cuda"
    )


def test_a_record_of_other_settings_is_refused(tmp_path):
    job = Job("a job", ("ski-vlm",))
    assert not finished(job, tmp_path)
    job.folder(tmp_path).mkdir(parents=True)
    finish(job, tmp_path, 1.0, "host")
    assert finished(job, tmp_path)
    path = job.folder(tmp_path) / "record.json"
    path.write_text(path.read_text().replace(job.settings, "0" * 64))
    with pytest.raises(InputError, match="other settings"):
        finished(job, tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        finished(job, tmp_path)


def test_tiny_and_full_share_nothing():
    tiny, full = (AdlMini(scale) for scale in ("tiny", "full"))
    table = read_table("table2")
    ids = [
        {job.id for row in table.rows for job in jobs_of(adl_rows.cells(adl, table, row, 1))}
        for adl in (tiny, full)
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


# data and weights that are not there


def test_what_a_row_lacks_is_said_with_how_to_get_it(tmp_path):
    (tmp_path / "ntu60").mkdir()
    request = Request(("table1", "table3"), (f"ntu60={tmp_path / 'ntu60'}",), 1)
    lacks = {
        (c.table, c.row, c.column): " | ".join(c.missing) for c in request.cells() if c.missing
    }
    video = lacks["table1", "ski-vificlip", "NTU60 48/12"]
    assert f"{tmp_path}/ntu60/manifest.jsonl is not there" in video
    assert "`ski-data prepare DATASET RAW FOLDER/skeletons`" in video
    other = lacks["table1", "vificlip", "NTU120 110/10"]
    assert "ntu120: not given" in other
    assert "rose1.ntu.edu.sg" in other
    words = lacks["table3", "ski-lvlm", "correctness"]
    assert "charades: not given" in words
    assert "mm_projector.bin" in words
    assert "MBZUAI/Video-ChatGPT-7B" in lacks["table3", "vcgpt", "average"]


def test_weights_are_fetched_by_a_job_unless_a_file_is_there(ntu):
    request = everything(ntu)
    fetched = {job.name for job in jobs_of(request.cells()) if job.kind == "weights"}
    assert "weights ViT-B-16-quickgelu/openai" in fetched
    assert "weights mmaaz60/LLaVA-7B-Lightening-v1-1" in fetched
    file = ntu / "weights" / "vit-b-16-quickgelu.safetensors"
    file.write_text("")
    jobs = jobs_of(request.cells())
    assert "weights ViT-B-16-quickgelu/openai" not in {job.name for job in jobs}
    assert any(str(file) in job.files.get("recipe.yaml", "") for job in jobs)


def test_columns_of_data_that_were_not_given_do_not_count_where_a_row_has_others(ntu):
    request = Request(("table4",), (f"ntu60={ntu / 'ntu60'}",), 1)
    told = harness.not_run(request.cells(), ntu, {}, planned=True)
    assert told == {}
    nothing = Request(("table3",), (f"ntu60={ntu / 'ntu60'}",), 1)
    held = harness.not_run(nothing.cells(), ntu, {}, planned=True)
    assert {len(rows) for reason, rows in held.items() if "charades" in reason} == {30}


def own_folder(folder: Path) -> Path:
    (folder / "skeletons").mkdir(parents=True)
    (folder / "manifest.csv").write_text("a.mp4,,0\n")
    (folder / "classes.csv").write_text("id,name\n0,bow\n1,clap\n2,kick\n3,wave\n")
    (folder / "data.yaml").write_text("unseen: [kick, wave]\ntrain_subjects: [1, 2]\n")
    return folder


def test_columns_of_data_that_nothing_runs_on_are_left_to_the_report(ntu):
    request = Request(("c2vl",), (f"ntu60={ntu / 'ntu60'}",), 1)
    columns = {cell.column for cell in request.cells()}
    assert columns == {"NTU60 X-Sub", "NTU60 X-View", "NTU120 X-Sub", "NTU120 X-Set"}
    assert harness.not_run(request.cells(), ntu, {}, planned=True) == {}


def test_an_own_folder_makes_a_column_of_its_own(tmp_path):
    folder = own_folder(tmp_path / "kitchen")
    cells = Request(("table2",), (str(folder),), 1).cells()
    assert {(c.column, c.dataset, c.published) for c in cells} == {("kitchen", "kitchen", None)}
    text = "".join(job.files.get("recipe.yaml", "") for job in jobs_of(cells))
    assert "- kick" in text
    assert "split: ntu60" not in text
    assert str(folder / "skeletons") in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unseen: [kick, jump]\ntrain_subjects: [1]\n", "jump"),
        ("unseen: [kick, wave]\n", "must say"),
        ("unseen: [kick, wave]\ntrain_subjects: []\n", "people"),
    ],
)
def test_an_own_folder_is_checked(tmp_path, text, told):
    folder = own_folder(tmp_path / "kitchen")
    (folder / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        read_given((str(folder),), None)
    (folder / "data.yaml").unlink()
    with pytest.raises(MissingFileError, match=r"no data\.yaml"):
        read_given((str(folder),), None)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ((), "--data is missing"),
        (("ntu99=.",), "'ntu99' is none of"),
        (("ntu60=/nowhere",), "no such folder"),
        (("ntu60=.", "ntu60=."), "given already"),
    ],
)
def test_data_are_checked(data, told):
    with pytest.raises((InputError, MissingFileError), match=told):
        read_given(data, None)


# plan, requests, command line


def test_the_plan_counts_steps_time_and_disk(ntu, capsys):
    request = Request(("table6",), (f"ntu60={ntu / 'ntu60'}",), 1)
    text = plan.report(request.cells(), ntu / "runs")
    row = next(line for line in text.splitlines() if line.startswith("| table6 frozen"))
    assert "0/5" in row  # weights, SkeletonCLIP, ViFi-CLIP, the row, its scores
    assert "done: 0" in text
    assert f"{plan.CLIP_SECONDS} s per clip and GPU" in text
    assert "GiB more" in text


def test_times_are_measured_where_jobs_of_the_kind_are_done(tmp_path):
    done, todo = (
        Job(name, ("ski-vlm", name), kind="row", units=u) for name, u in (("a", 1), ("b", 3))
    )
    done.folder(tmp_path).mkdir(parents=True)
    finish(done, tmp_path, 2.0, "host")
    first, second = plan.estimate([done, todo], tmp_path)
    assert first.done
    assert (second.done, second.measured, second.seconds) == (False, True, 6.0)


def test_a_dry_run_does_nothing_but_says_what_it_lacks(tmp_path, capsys):
    (tmp_path / "ntu60").mkdir()
    code = harness.run_request(
        tables=["table6"],
        out=tmp_path / "runs",
        data=[f"ntu60={tmp_path / 'ntu60'}"],
        seeds=1,
        only=None,
        scale="full",
        device="cpu",
        launcher="local",
        weights=None,
        judge=None,
        dry_run=True,
    )
    said = capsys.readouterr()
    assert code == 1
    assert "| table6 frozen" in said.out
    assert "holds up: table6 frozen (NTU60 48/12), table6 trained (NTU60 48/12)" in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("scale", ["full", "tiny"])
def test_a_newcomers_plan_of_adl_mini_knows_all_times_and_steps(scale, tmp_path, monkeypatch):
    from benchmarks.lvlm_smollm2 import runs as smollm2
    from ski_lvlm.base import BaseConfig

    monkeypatch.setattr(smollm2, "base", lambda: BaseConfig("somewhere"))
    cells = Request(ORDER, ("adl-mini",), 1, scale=scale).cells()
    jobs = jobs_of(cells)
    kinds = {kind for kind in plan.STATED if kind.startswith(f"adl-mini {scale} ")}
    assert kinds - {"adl-mini full language model"} == {job.kind for job in jobs}
    text = plan.report(cells, tmp_path)
    assert "unknown" not in text
    assert "0 of" in text
    assert f"the others as stated for {plan.STATED_FOR}" in text
    steps = {job.name.removeprefix(f"adl-mini {scale} "): job.steps for job in jobs}
    counted = {
        "hyperformer": (270, 5),
        "scd seed 0": (135, 5),
        "stgcn": (270, 5),
        "synse seed 0": (3400, 20),
        "smie seed 0": (200, 5),
        "star seed 0": (220, 5),
        "c2vl seed 0": (84, 3),
        "c2vl finetune seed 0": (336, 3),
        "lvlm video seed 0": (360, 10),
    }  # as their logs say
    assert {name: steps[name] for name in counted} == {
        name: both[scale == "tiny"] for name, both in counted.items()
    }


def test_jobs_of_unknown_length_are_counted():
    known, unknown, none = (
        plan.Estimate(Job(name, ("toy",), units=units), False, None, seconds, False, 0)
        for name, units, seconds in (("a", 1, 60.0), ("b", None, None), ("c", 0, None))
    )
    assert plan._time([known, none]) == "about 1 min 0 s"
    assert plan._time([known, unknown]) == "about 1 min 0 s + 1 job of unknown length"
    assert plan._time([unknown, unknown]) == "2 jobs of unknown length"
    assert plan._time([none]) == "little"
    assert plan._time([]) == "none"


def test_without_a_folder_runs_go_to_one_place(monkeypatch):
    found = {}
    monkeypatch.setattr(harness, "run_request", lambda **given: found.update(given) or 0)
    monkeypatch.setattr(sys, "argv", ["ski-bench", "run", "--all", "--data", "adl-mini"])
    assert program.main() == 0
    assert found["out"] == Path(program.OUT)
    assert (found["tables"], found["data"], found["dry_run"]) == (["all"], ("adl-mini",), False)


def test_requests_are_remembered_once_and_the_most_seeds_count(tmp_path):
    one = Request(("table4",), ("adl-mini",), 1, scale="tiny")
    for request in (one, one, replace(one, seeds=2)):
        remember(request, tmp_path)
    assert [r.seeds for r in requests_of(tmp_path)] == [1, 2]
    cells = all_cells(requests_of(tmp_path))
    assert len(cells) == 4
    assert {len(cell.results) for cell in cells} == {2}
    with pytest.raises(MissingFileError, match="no runs of this harness"):
        requests_of(tmp_path / "elsewhere")


def test_a_worker_gets_the_same_request(ntu):
    request = everything(ntu)
    words = program.spread(harness.worker_arguments(request, ntu / "runs", "cuda"))
    assert json.loads(words[-1].removeprefix("--data=")) == list(request.data)
    assert words[words.index("--seeds") + 1] == "2"
    assert words[1 : 1 + len(ORDER)] == list(ORDER)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("run --all --data adl-mini --out R", ["run", "all", "--out", "R", '--data=["adl-mini"]']),
        ("run t --data a=1 b=2 --out R", ["run", "t", "--out", "R", '--data=["a=1", "b=2"]']),
        ("run t --data a=1 --data=b=2", ["run", "t", '--data=["a=1", "b=2"]']),
        ("report --out R", ["report", "--out", "R"]),
    ],
)
def test_data_become_one_option(given, expected):
    assert program.spread(given.split()) == expected


def test_the_list_names_every_row(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ski-bench", "list"])
    assert program.main() == 0
    said = capsys.readouterr().out
    for table in tables():
        for row in table.rows:
            assert f"  {row.id}: {row.title}" in said


@pytest.mark.parametrize(
    ("text", "launcher"),
    [
        ("local", Launcher()),
        ("torchrun:4", Launcher("torchrun", processes=4)),
        ("slurm:gpu", Launcher("slurm", partition="gpu")),
        ("slurm:gpu:8", Launcher("slurm", partition="gpu", workers=8)),
    ],
)
def test_launchers_are_read(text, launcher):
    assert read_launcher(text) == launcher


@pytest.mark.parametrize("text", ["", "local:2", "torchrun", "torchrun:0", "slurm", "slurm:a:b"])
def test_other_launchers_are_refused(text):
    with pytest.raises(InputError, match="--launcher"):
        read_launcher(text)
