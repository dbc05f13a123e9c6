"""The speed benchmarks: what they compare does the same, and every figure has its floor."""

import json

import numpy as np
import pytest

from benchmarks.speed.data import benchmark
from benchmarks.speed.data_text import plain_read, recording
from benchmarks.speed.measure import Row, as_json, as_table, best
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
    benchmark(part="store", clips=12, folder=str(tmp_path), json=True)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {"random clips", "open a store of 12 clips"} <= {row["what"] for row in rows}
    assert all(row["value"] > 0 and row["floor_value"] > 0 for row in rows)
    assert not list(tmp_path.iterdir())
