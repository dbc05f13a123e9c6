"""The report of a folder of runs: values beside the paper's, what is missing, curve, gallery."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.bench import mistakes, report
from benchmarks.bench.cells import Cell, Result
from benchmarks.bench.jobs import Job, finish
from benchmarks.bench.requests import Request, remember
from ski_data.errors import MissingFileError
from ski_eval import Predictions, save_predictions


def done_job(runs, name):
    job = Job(name, ("toy", name))
    job.folder(runs).mkdir(parents=True, exist_ok=True)
    finish(job, runs, 2.0, "host")
    return job


def scored(runs, name, right, clips=10):
    """A result with ``right`` of ``clips`` named rightly."""
    job = done_job(runs, name)
    logits = np.eye(4)[[0] * right + [1] * (clips - right)]
    names = tuple(f"c{i}" for i in range(clips))
    found = Predictions(names, np.zeros(clips, int), logits, ("a", "b", "c", "d"))
    save_predictions(found, job.folder(runs) / "p.npz")
    return Result(job, f"{job.out}/p.npz")


def published(runs, **more):
    """Table 2's last row and its column 48/12."""
    start = ("table2", "ski-vificlip", "NTU60 48/12", "ntu60")
    return Cell(*start, published="ntu60/48-12", **more)


def line_of(text, title):
    return next(line for line in text.splitlines() if line.startswith(f"| {title} "))


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ours_stands_beside_the_papers_value(tmp_path):
    cell = published(
        tmp_path, results=(scored(tmp_path, "seed 0", 6), scored(tmp_path, "seed 1", 5))
    )
    (section,) = report.sections([cell], tmp_path)
    text = section.content.markdown()
    row = cells_of(line_of(text, "SKI-ViFi-CLIP"))
    value, ours, gap = row[4:7]
    assert value == "52.0"
    assert ours.startswith("55.0 [")
    assert gap == "+3.0, outside"
    assert "difference (± 1)" in text
    assert row[1:4] == ["82.2", "not asked for", ""]
    assert cells_of(line_of(text, "ViFi-CLIP"))[1] == "not transcribed"
    assert "not comparable" not in text


def test_what_is_not_done_is_said_and_never_filled_in(tmp_path):
    todo = Job("todo", ("toy",))
    half = published(tmp_path, results=(scored(tmp_path, "a", 6), Result(todo, "{out}/p.npz")))
    (section,) = report.sections([half], tmp_path)
    assert "(1 of 2 seeds)" in line_of(section.content.markdown(), "SKI-ViFi-CLIP")
    none = published(tmp_path, results=(Result(todo, "{out}/p.npz"),))
    (section,) = report.sections([none], tmp_path)
    row = cells_of(line_of(section.content.markdown(), "SKI-ViFi-CLIP"))
    assert row[4:7] == ["52.0", "not finished", ""]
    lacking = published(tmp_path, missing=("ntu60: not given; ask",))
    (section,) = report.sections([lacking], tmp_path)
    text = section.content.markdown()
    assert "lacks data or weights" in text
    assert "- SKI-ViFi-CLIP lacks: ntu60: not given; ask" in text


def test_other_data_have_no_difference_and_say_so(tmp_path):
    cell = Cell("table2", "ski-vificlip", "unseen classes", "adl-mini", (scored(tmp_path, "a", 6),))
    other = Cell("table2", "clip", "unseen classes", "adl-mini")
    (section,) = report.sections([cell, other], tmp_path)
    assert "**not comparable**" in section.text
    assert section.content.headers[:3] == ("", "unseen classes, %", "seeds")
    row = cells_of(line_of(section.content.markdown(), "SKI-ViFi-CLIP"))
    assert row[3:] == ["(82.2)", "(52.0)", "(77.5)", "(59.3)"]
    assert "difference" not in section.content.markdown()
    assert cells_of(line_of(section.content.markdown(), "CLIP"))[1] == "no counterpart"
    assert "chance is 25.0 %, 10 clips" in section.content.notes
    assert len(section.content.rows) == 2


def test_metrics_of_words_are_shown_as_they_are(tmp_path):
    job = done_job(tmp_path, "answers")
    told = {
        "CIDEr-D, all": {"value": 3.25, "interval": [3, 3.5], "method": "bootstrap", "n": 4},
        "class named, all": {"value": 0.5, "interval": None, "method": None, "n": 4},
    }
    (job.folder(tmp_path) / "metrics.json").write_text(json.dumps(told))
    cells = [
        Cell(
            "table3",
            "ski-lvlm",
            metric,
            "adl-mini",
            (Result(job, f"{job.out}/metrics.json", "metrics", metric),),
        )
        for metric in told
    ]
    (section,) = report.sections(cells, tmp_path)
    row = cells_of(line_of(section.content.markdown(), "SKI-LVLM, video and SkeletonCLIP"))
    assert row[1] == "3.25 [3, 3.5]"
    assert row[2] == "50.0"


def test_pictures_and_curves_come_into_the_page(tmp_path):
    job = done_job(tmp_path, "pictures")
    sheet = job.folder(tmp_path) / "pictures" / "clip1" / "sheet.png"
    sheet.parent.mkdir(parents=True)
    Image.new("RGB", (3108, 780)).save(sheet)
    shown = Result(job, f"{job.out}/pictures/*/sheet.png", "pictures")
    cells = [Cell("figure3", "vificlip", "unseen classes", "adl-mini", (shown,))]
    for alpha, right in (("0.01", 3), ("10", 8)):
        result = scored(tmp_path, f"alpha {alpha}", right)
        cells.append(Cell("figure5", f"alpha-{alpha}", "unseen classes", "adl-mini", (result,)))
    gallery, sweep = report.sections(cells, tmp_path)
    assert gallery.pictures == (("ViFi-CLIP: clip1", sheet),)
    assert sweep.curve is not None
    html = report.page([gallery, sweep], cells, tmp_path).html()
    assert html.count("data:image/jpeg") == 1
    assert html.count("data:image/svg") == 3  # the curve, and mistakes at each weight
    assert "clip1" in report.markdown([gallery, sweep], cells, tmp_path)


def test_methods_stand_class_by_class_once(tmp_path):
    result = scored(tmp_path, "a", 6)
    cells = [
        Cell("table1", "ski-vificlip", "unseen classes", "adl-mini", (result,)),
        Cell("table4", "online", "unseen classes", "adl-mini", (result,)),
        Cell("table1", "vificlip", "unseen classes", "adl-mini", (scored(tmp_path, "b", 3),)),
    ]
    (methods,) = mistakes.by_column(cells, tmp_path).values()
    assert [one.title for one in methods] == ["Table 1: SKI-ViFi-CLIP", "Table 1: ViFi-CLIP"]
    assert methods[0].matrix.tolist()[0] == [6, 4, 0, 0]
    assert methods[0].by_class == ["60.0", "", "", ""]
    page = report.page(list(report.sections(cells, tmp_path)), cells, tmp_path).html()
    assert page.count("data:image/svg") == 2
    assert "Class by class, adl-mini, unseen classes" in page


def test_published_rows_that_are_not_run_stand_with_their_sources(tmp_path):
    remember(Request(("table6", "anchors"), ("adl-mini",), 1, scale="tiny"), tmp_path)
    text = report.write_report(tmp_path)
    assert "Table 6, adl-mini, tiny" in text
    assert "not finished" in text
    anchors = text.partition("## Anchors")[2]
    row = cells_of(line_of(anchors, "FS-VAE (ICCV 2025)"))
    assert row[1:] == [
        "86.9",
        "57.2",
        "74.4",
        "62.5",
        "reported by others, not checked in the paper",
    ]
    assert "not transcribed" in line_of(anchors, "SKI: SkeletonCLIP")
    assert (tmp_path / "report.md").read_text() == text
    page = (tmp_path / "report.html").read_text()
    assert page.count("<table>") >= 2
    assert not re.search(r'(src|href)="https?:', page)
    assert report.write_report(tmp_path) == text


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no runs"):
        report.write_report(tmp_path)


def test_a_report_of_another_scale_is_a_section_of_its_own(tmp_path):
    request = Request(("table6",), ("adl-mini",), 1, scale="tiny")
    remember(request, tmp_path)
    remember(replace(request, scale="full"), tmp_path)
    text = report.write_report(tmp_path)
    assert "## Table 6, adl-mini, tiny:" in text
    assert "## Table 6, adl-mini:" in text
