"""The whole set of tables on adl-mini at the tiny scale, killed in the middle (slow: minutes)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.bench.jobs import ordered
from benchmarks.bench.mistakes import READABLE, by_column
from benchmarks.bench.paper import ORDER, heading
from benchmarks.bench.requests import Request

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def words(out, *tables):
    run = [sys.executable, "-m", "benchmarks.bench", "run", *tables, "--out", str(out)]
    return [*run, "--scale", "tiny", "--data", "adl-mini"]


def go(out, *tables):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words(out, *tables), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def records(out):
    return sorted((out / "jobs").glob("*/record.json"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of everything that was killed while it trained a row, and asked for again."""
    out = tmp_path_factory.mktemp("bench") / "runs"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words(out, "--all"), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 1800
    while not list((out / "jobs").glob("adl-mini-tiny-scd-seed-0-*/claim")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(2)  # into the row's work
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.with_name("time.json").read_bytes() for path in records(out)}
    done = go(out, "--all")
    return out, before, done


def test_everything_runs_and_what_was_done_is_not_done_again(killed):
    out, before, done = killed
    assert done.returncode == 0, done.stderr[-3000:]
    cells = Request(ORDER, ("adl-mini",), None, scale="tiny").cells()
    wanted = {job.id for cell in cells for result in cell.results for job in ordered([result.job])}
    assert {path.parent.name for path in records(out)} == wanted
    assert before
    for path, told in before.items():
        assert path.with_name("time.json").read_bytes() == told
    assert list((out / "jobs").glob("*/claim")) == []


def test_the_report_has_every_table(killed):
    out, _, _ = killed
    text = (out / "report.md").read_text(encoding="utf-8")
    for name in ORDER:
        assert f"## {heading(name)}" in text, name
    assert "not finished" not in text
    assert "lacks data" not in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 6
    cells = Request(ORDER, ("adl-mini",), None, scale="tiny").cells()
    methods = [one for found in by_column(cells, out).values() for one in found]
    drawn = [one for one in methods if len(one.classes) <= READABLE]
    assert len(drawn) >= 20
    assert page.count("data:image/svg") == 1 + len(drawn)


def test_a_row_that_was_never_killed_leaves_the_same_bytes(killed, tmp_path):
    out, _, _ = killed
    done = go(tmp_path / "runs", "table6")
    assert done.returncode == 0, done.stderr[-3000:]
    fresh = records(tmp_path / "runs")
    assert len(fresh) == 8
    for path in fresh:
        twin = out / "jobs" / path.parent.name / "record.json"
        assert twin.read_bytes() == path.read_bytes()
    predictions = sorted((tmp_path / "runs").rglob("scd/seed-0/*.npz"))
    assert predictions
    for path in predictions:
        twin = out / path.relative_to(tmp_path / "runs")
        assert twin.read_bytes() == path.read_bytes(), path.name
    row = next((tmp_path / "runs").rglob("scd/seed-0/record.json"))
    found, twin = (
        json.loads(p.read_text()) for p in (row, out / row.relative_to(tmp_path / "runs"))
    )
    for told in (found, twin):
        told.pop("seconds")
        told["training"].pop("seconds", None)
    assert found == twin
