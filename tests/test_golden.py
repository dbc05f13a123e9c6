"""The golden runner passes every shipped case of a known kind, and can fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import golden
import numpy as np
import pytest

CASES = Path(__file__).parent / "golden"
STEMS = sorted(p.stem for p in CASES.glob("*.json") if p.stem.split("-")[0] in golden.KINDS)


@pytest.mark.golden
@pytest.mark.parametrize("stem", STEMS)
def test_case_passes(stem, capsys):
    assert golden.main([str(CASES / stem)]) == 0
    assert "FAIL" not in capsys.readouterr().out


def test_every_kind_of_this_version_has_a_case():
    assert {stem.split("-")[0] for stem in STEMS} == set(golden.KINDS)


@pytest.mark.golden
def test_wrong_answer_fails(tmp_path, capsys):
    for suffix in (".json", ".npz"):
        shutil.copy(CASES / f"clip_vit{suffix}", tmp_path / f"clip_vit-changed{suffix}")
    stem = tmp_path / "clip_vit-changed"
    with np.load(stem.with_suffix(".npz")) as content:
        arrays = dict(content)
    arrays["out_image_features"] = arrays["out_image_features"] + 1e-3
    np.savez(stem.with_suffix(".npz"), **arrays)
    assert golden.main([str(stem)]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL") == 1
    assert "FAIL  out_image_features" in out


@pytest.mark.golden
def test_other_salt_gives_other_weights(tmp_path, capsys):
    plain = json.loads((CASES / "hyperformer.json").read_text())
    plain["salt"] = "another/"
    (tmp_path / "hyperformer.json").write_text(json.dumps(plain))
    shutil.copy(CASES / "hyperformer.npz", tmp_path)
    assert golden.main([str(tmp_path / "hyperformer")]) == 1


@pytest.mark.parametrize("name", ["nothing", "unknown-kind"])
def test_case_that_cannot_run_exits_2(tmp_path, name, capsys):
    if name != "nothing":
        (tmp_path / f"{name}.json").write_text('{"config": {}}')
    assert golden.main([str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


def test_answer_without_counterpart_fails(tmp_path):
    for suffix in (".json", ".npz"):
        shutil.copy(CASES / f"feeder{suffix}", tmp_path / f"feeder{suffix}")
    with np.load(tmp_path / "feeder.npz") as content:
        arrays = dict(content)
    arrays["out_something_else"] = np.zeros(3, np.float32)
    np.savez(tmp_path / "feeder.npz", **arrays)
    assert golden.main([str(tmp_path / "feeder")]) == 1
