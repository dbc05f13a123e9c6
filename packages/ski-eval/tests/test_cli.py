from __future__ import annotations

import json

import numpy as np
import pytest

import ski_eval
from ski_eval import save_predictions, write_card
from ski_eval.cli import main


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ski-eval {ski_eval.__version__}\n"
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ("show", "table", "score", "compare"):
        assert name in text


def test_show(tmp_path, capsys, make_card):
    first = write_card(make_card(), tmp_path / "a.json")
    second = write_card(make_card(name="other", paper_value=0.822), tmp_path / "b.json")
    assert main(["show", str(first), str(second)]) == 0
    text = capsys.readouterr().out
    assert "top-1 %:             80.0 [70.0, 90.0]" in text
    assert "git:                 c0ffee with changes" in text
    assert "paper %:             82.2" in text
    assert main(["show", str(first), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["value"] == 0.8


def test_table(tmp_path, capsys, make_card):
    write_card(make_card(), tmp_path / "results")
    assert main(["table", str(tmp_path)]) == 0
    assert "| SKI-ViFi-CLIP | 80.0 [70.0, 90.0] |" in capsys.readouterr().out
    assert main(["table", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["headers"] == ["Method", "top-1 %"]


def test_score(tmp_path, capsys, make_predictions):
    path = save_predictions(make_predictions(), tmp_path / "p.npz")
    assert main(["score", str(path), "--samples", "200"]) == 0
    text = capsys.readouterr().out
    assert "| all candidates |               top-5 |         undefined |" in text
    assert "bootstrap, 20 groups" in text
    assert main(["score", str(path), "--json", "--samples=200"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [f["metric"] for f in figures] == ["top-1", "top-5", "mean class accuracy"]
    assert figures[1]["value"] is None


def test_classes(tmp_path, capsys, make_predictions):
    path = tmp_path / "p.npz"
    logits = np.eye(3)[[0, 0, 2, 1, 1, 1]]
    own = make_predictions(n=6, k=3, labels=np.array([0, 0, 0, 0, 1, 1]), logits=logits)
    save_predictions(own, path)
    assert main(["classes", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2:] == [
        "| action 0 | 50.0 | 4 | action 1 1, action 2 1 |",
        "| action 1 | 100.0 | 2 | |",
        "| action 2 | undefined | 0 | |",
    ]
    assert main(["classes", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == [0.5, 1.0, None]
    assert found["confusion"] == [[2, 1, 1], [0, 2, 0], [0, 0, 0]]


def test_compare(tmp_path, capsys, make_predictions):
    good = save_predictions(make_predictions(strength=4.0), tmp_path / "a.npz")
    poor = save_predictions(make_predictions(strength=0.1), tmp_path / "b.npz")
    assert main(["compare", str(good), str(poor)]) == 0
    assert "| better |" in " ".join(capsys.readouterr().out.split())
    assert main(["compare", str(good), str(good), "--json", "true"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "not distinguishable"
    assert found["metric"] == "top-1"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["show", "none.json"], "none.json: no such file"),
        (["table", "none"], "none: no such folder"),
        (["score", "none.npz"], "none.npz: no such file"),
        (["score", "empty.npz"], "empty.npz: the file is empty"),
        (["compare", "empty.npz", "none.npz"], "empty.npz: the file is empty"),
        (["show", "empty.npz"], "empty.npz: the file is empty"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, monkeypatch, capsys, args, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.npz").write_bytes(b"")
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert text in err


@pytest.mark.parametrize("args", [["score"], ["nothing"], ["score", "p.npz", "--wrong", "1"], []])
def test_wrong_usage_is_code_2(capsys, args):
    assert main(args) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_calibration(tmp_path, capsys, make_predictions):
    path = save_predictions(make_predictions(), tmp_path / "p.npz")
    args = ["calibration", str(path), "--samples", "200", "--bins", "5"]
    assert main([*args, "--binning", "mass"]) == 0
    text = capsys.readouterr().out
    assert "Expected calibration error: " in text
    assert text.count("\n|") == 6
    assert main([*args, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 60


def test_reject(tmp_path, capsys, make_predictions):
    path = save_predictions(make_predictions(unseen=(3, 4)), tmp_path / "p.npz")
    args = ["reject", str(path), "--samples", "100"]
    assert main(args) == 0
    text = capsys.readouterr().out
    assert "false acceptance at 95 % recall" in text
    assert "36 known and 24 unknown samples." in text
    assert main([*args, "--json", "--confidence", "energy"]) == 0
    assert 0.0 <= json.loads(capsys.readouterr().out)["auroc"] <= 1.0


def test_segments(tmp_path, capsys):
    truth, mine = tmp_path / "t.jsonl", tmp_path / "p.jsonl"
    line = '{"name": "v%d", "label": "a", "start": 0, "end": 2%s}\n'
    truth.write_text("".join(line % (i, "") for i in range(4)), "utf-8")
    mine.write_text("".join(line % (i, ', "score": 0.5') for i in range(3)), "utf-8")
    args = ["segments", str(mine), str(truth), "--samples", "100"]
    assert main(args) == 0
    text = capsys.readouterr().out
    assert "4 segments of 1 classes in 4 videos." in text
    assert text.count("75.0 [") == 8
    assert main([*args, "--json", "--tiou", "[0.5]"]) == 0
    assert [line["threshold"] for line in json.loads(capsys.readouterr().out)] == [0.5, None]
