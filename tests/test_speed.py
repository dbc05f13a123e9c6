"""The speed benchmarks: what they compare does the same, and every figure has its floor."""

import json

import numpy as np
import pytest
import torch

from benchmarks.speed import __main__ as program
from benchmarks.speed import table
from benchmarks.speed.data import benchmark
from benchmarks.speed.data_text import plain_read, recording
from benchmarks.speed.measure import Row, as_json, as_table, best
from benchmarks.speed.table import Line
from ski_data import command
from ski_data.errors import InputError
from ski_data.ntu.skeleton_file import read_skeleton


def test_the_plain_script_reads_the_same(tmp_path):
    file = tmp_path / "S001C001P001R001A001.skeleton"
    file.write_text(recording(np.random.default_rng(0), frames=5), newline="")
    raw = read_skeleton(file)
    plain = plain_read(file)
    assert raw.frames == 5
    assert len(plain) == 2
    for name, body in plain.items():
        ours = raw.joints[raw.body_id == int(name)]
        np.testing.assert_array_equal(body["joints"], ours.reshape(-1, 3))
        assert body["colours"].shape == (125, 2)


def test_ratios():
    rate = Row("read", 30.0, "MB/s", "copy", 60.0, goal=0.75)
    time = Row("open", 2.0, "ms", "plain", 30.0, more_is_better=False, goal=15)
    assert rate.ratio == 0.5
    assert time.ratio == 15
    lines = as_table([rate, time]).splitlines()
    assert lines[2] == "| read | 30 MB/s | copy | 60 MB/s | 0.5 | 0.75 (missed) |"
    assert lines[3].endswith("| 15 | 15 |")
    assert json.loads(as_json([rate]))["rows"][0]["ratio"] == 0.5
    assert best(lambda: sum(range(1000)), 3) > 0


@pytest.mark.slow
def test_a_small_run(tmp_path, capsys):
    benchmark(only="store", clips=12, folder=str(tmp_path), json=True)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {"random clips", "open a store of 12 clips"} <= {row["what"] for row in rows}
    assert all(row["value"] > 0 and row["floor_value"] > 0 for row in rows)
    assert not list(tmp_path.iterdir())


def test_a_task_of_the_one_table():
    rows = [
        Row("read", 30.0, "MB/s", "the script", 10.0, goal=4, plain=True),
        Row("open", 2.0, "ms", "the bare call", 0.5, more_is_better=False, goal=0.2),
        Row("read", 30.0, "MB/s", "memcpy", 60.0, goal=0.4),
        Row("workers", 1200.0, "MB", "limit", 1000.0, more_is_better=False, goal=1),
    ]
    script, read, opened, workers = table.of_data(rows)
    assert (script.task, script.way) == ("read", "straightforward: the script")
    assert (script.seconds, script.rate, script.ratio) == (0.1, 10.0, 1.0)
    assert script.floor == "0.167 of memcpy"
    assert (read.way, read.ratio, read.floor) == ("ours", 3.0, "0.5 of memcpy")
    assert read.goal == "4 (missed); 0.4 of memcpy"
    assert (opened.seconds, opened.rate, opened.ratio) == (0.002, 500.0, None)
    assert (opened.floor, opened.goal) == ("0.25 of the bare call", "0.2 of the bare call")
    assert (workers.memory, workers.goal) == (1200.0, "at most 1,000 MB (missed)")


def test_the_programs_rows_become_lines():
    share = {"% of torch.mm": 50.0, "% of 1x1 convolution": 25.0}
    row = {"task": "inference", "way": "folded", "ms": 500.0, "clips/s": 16.0, "goal": "1.5"}
    (line,) = table.of_skeleton([{**row, **share, "times as fast as plain": 1.7}])
    assert (line.way, line.seconds, line.ratio) == ("ours, folded", 0.5, 1.7)
    assert line.floor == "50 % of torch.mm; 25 % of 1x1 convolution"
    row = {"task": "step", "way": "ours, bfloat16", "s": 2.0, "clips/s": 2.0, "goal": ""}
    loader = {"way": "2 workers", "clips/s of one worker": 4.0, "% of the time waiting": 10.0}
    half, waits = table.of_vlm([{**row, **share, "times as fast": 1.5, "as": "ours"}], loader)
    assert half.cells()[4] == "1.5 (of ours)"
    assert (waits.seconds, waits.floor) == (0.25, "the loop waits 10 % of its time")
    row = {"task": "captions", "way": "ours", "s": 4.0, "tokens/s": 25.0, "goal": "5 (missed)"}
    row |= {"% of the product": 30.0, "peak MB more": 0.0, "times as fast": 4.5}
    (line,) = table.of_lvlm([row])
    assert (line.floor, line.memory, line.goal) == ("30 % of the product", None, "5 (missed)")


def test_one_command_one_table(monkeypatch, capsys):
    def measured(ask):
        assert (ask.quick, ask.threads) == (False, 1)
        return {"cpu": "told above", "pairs": 3}, [Line("work", "ours", "none", 0.5, 2.0, "x/s")]

    monkeypatch.setattr(program, "PROGRAMS", dict.fromkeys(("data", "vlm"), measured))
    assert command.run_one(program.benchmark, ["--threads", "1"], prog="speed") == 0
    machine, data, vlm, empty, head, rule, *rows = capsys.readouterr().out.splitlines()
    assert machine.startswith("- machine: date: 20")
    assert (data, vlm, empty) == ("- data: pairs: 3", "- vlm: pairs: 3", "")
    assert head.count("|") == rule.count("|") == len(table.HEADERS) + 1
    assert rows == ["| work | ours | 0.5 | 2 x/s |  | none |  |  |"] * 2
    arguments = ["--threads=1", "--only=vlm", "--json"]
    assert command.run_one(program.benchmark, arguments, prog="speed") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["facts"]) == {"machine", "vlm"}
    assert found["rows"][0]["rate"] == 2.0


def test_programs_are_chosen_in_their_own_order():
    assert program.chosen(None) == ["data", "skeleton", "vlm", "lvlm"]
    assert program.chosen("lvlm, data") == ["data", "lvlm"]
    with pytest.raises(InputError, match="no 'vision'; there are data, skeleton, vlm, lvlm"):
        program.chosen("data,vision")


@pytest.mark.slow
def test_the_whole_table_at_toy_size(tmp_path, capsys):
    threads = torch.get_num_threads()
    program.benchmark(quick=True, threads=1, folder=str(tmp_path), json=True)
    torch.set_num_threads(threads)
    rows = json.loads(capsys.readouterr().out)["rows"]
    tasks = {row["task"] for row in rows}
    assert {"random clips", "Hyperformer, inference", "loader", "language model, captions"} <= tasks
    assert all(row["floor"] and not row["goal"] for row in rows)
    assert all(row["seconds"] or row["memory"] for row in rows)
    assert not list(tmp_path.iterdir())
