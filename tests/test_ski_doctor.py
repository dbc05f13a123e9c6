"""The doctor: what it finds, says and advises, and that it lives whatever is missing."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from apps.cli import datasets, doctor, findings, machine, probes, software
from apps.cli.findings import Finding, pip_install, probe, run_check

ROOT = Path(__file__).parents[1]
GIB = 2**30
HIDING = """
import importlib.metadata, importlib.util, os, sys

hidden = set(os.environ["HIDDEN"].split(","))

class Hider:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hider())
found = importlib.metadata.version

def version(name):
    if name.replace("-", "_").lower() in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

importlib.metadata.version = version
spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *package: None if name in hidden else spec(name, *package)
"""
EVERYTHING = (
    "torch,torchvision,av,decord,cv2,deepspeed,numpy,yaml,jsonargparse,docstring_parser,packaging,"
    "ski_data,ski_eval,ski_skeleton,ski_vlm,ski_lvlm,pip,pycocoevalcap"
)


def one(found, name):
    (finding,) = [each for each in found if each.name == name]
    return finding


# ------------------------------------------------------------------ whatever is missing


def without(modules, folder, *args, **environment):
    """The doctor in a Python that lacks modules."""
    (folder / "sitecustomize.py").write_text(HIDING, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "apps", "doctor", *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "HIDDEN": modules, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_lives_with_nothing_but_python(tmp_path):
    done = without(EVERYTHING, tmp_path, "--json", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["healthy"] is False
    found = {each["name"]: each for each in told["findings"]}
    for name in ("ski-data", "ski-vlm", "torch", "PyAV", "decord", "OpenCV", "DeepSpeed"):
        assert found[name]["status"] == "missing", name
        assert "install" in found[name]["fix"]
    assert found["Python"]["status"] == "ok"
    assert found["data"]["status"] == "broken"  # its readers are not there


def test_an_empty_path_and_another_locale(tmp_path):
    done = without(
        EVERYTHING, tmp_path, PATH="", LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    for name in ("Java", "Chromium", "compiler", "ninja", "torch"):
        assert any(line.split()[:2] == ["missing", name] for line in lines), name
    assert any(line.split()[:2] == ["broken", "locale"] for line in lines)
    assert "to fix: export LC_ALL=C.UTF-8, or PYTHONUTF8=1" in done.stdout
    assert lines[-1].startswith("Not all that is needed is there: ski-data, ")


def test_a_check_that_fails_is_a_finding():
    def bad():
        yield Finding("first", "ok", "", "")
        raise RuntimeError("no\nway")

    first, found = run_check("it", bad)
    assert first.status == "ok"
    assert (found.name, found.status, found.needed) == ("it", "broken", True)
    assert found.detail == "cannot be checked: RuntimeError: no way"


# ------------------------------------------------------------------ probes


def fake(tmp_path, monkeypatch, name, source):
    (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise OSError('libx.so: cannot open')", {"error": "OSError: libx.so: cannot open"}),
        ("import no_such_part", {"missing": "no_such_part"}),
        ("import os; os.abort()", {"error": "the process ended by signal 6: no word"}),
        ("import sys; sys.exit('bye')", {"error": "the process ended by code 1: bye"}),
    ],
)
def test_a_library_that_ends_the_process_is_told(tmp_path, monkeypatch, source, told):
    fake(tmp_path, monkeypatch, "deepspeed", source)
    assert probe("deepspeed") == told


def test_a_library_that_hangs_is_told(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "deepspeed", "import time; time.sleep(60)")
    monkeypatch.setattr(findings, "SECONDS", 0.5)
    assert probe("deepspeed") == {"error": "not done after 0.5 s"}


def test_a_python_that_cannot_start(monkeypatch):
    monkeypatch.setattr(findings.sys, "executable", "/no/such/python")
    assert "cannot start /no/such/python" in probe("torch")["error"]


def test_decoders_read_a_made_video():
    assert probes.pyav_probe()["works"]
    assert probes.decord_probe()["works"]
    assert probes.cv2_probe()["works"]
    assert not probes.rising([20.0] * probes.FRAMES)
    assert not probes.rising([20.0, 45.0])


def test_probes_run_as_a_file():
    found = probe("cv2")
    assert found["works"]


# ------------------------------------------------------------------ torch and GPUs


def seen(**values):
    base = {"version": "2.9", "cuda_build": "12.8", "cpu_bfloat16": True, "cuda": False}
    return {**base, **values}


CARD = {"name": "H200", "memory": 140 * GIB, "capability": [9, 0]}


@pytest.mark.parametrize(
    ("found", "hardware", "tool", "status", "needed", "told"),
    [
        (seen(cuda=True, gpus=[CARD], gpu_works=True), True, True, "ok", False, "H200 (140 GiB)"),
        (seen(cuda=True, gpus=[CARD], gpu_works=False), True, True, "broken", True, "wrong sums"),
        (seen(), False, False, "missing", False, "no NVIDIA card"),
        (seen(cuda_build=None), False, False, "missing", False, "no NVIDIA card"),
        (seen(cuda_build=None), True, True, "broken", True, "built without CUDA"),
        (seen(cuda_error="no driver"), True, False, "broken", True, "but no driver (no driver)"),
        (seen(cuda_error="too old"), True, True, "broken", True, "12.8 cannot use the card (too"),
    ],
)
def test_gpus(found, hardware, tool, status, needed, told):
    finding = software.gpu(found, hardware, tool)
    assert (finding.status, finding.needed) == (status, needed)
    assert told in finding.detail
    assert (finding.fix is None) == (status == "ok")


def test_bfloat16():
    assert software.bfloat16(seen()).status == "ok"
    assert software.bfloat16(seen(cpu_bfloat16=False)).status == "broken"
    old = seen(cuda=True, gpus=[CARD], gpu_bfloat16=False)
    assert software.bfloat16(old).status == "missing"
    assert "GPU" in software.bfloat16({**old, "gpu_bfloat16": True}).detail


def test_torch_that_does_not_load_is_needed(monkeypatch):
    monkeypatch.setattr(software, "probe", lambda _: {"error": "ImportError: libcudart.so"})
    (found,) = software.torch()
    assert (found.status, found.needed) == ("broken", True)
    assert "torch>=2.4" in found.fix
    (found,) = software.torchvision()
    assert found.status == "broken"


def test_a_decoder_without_h264(monkeypatch):
    told = {"version": "15", "works": True, "lacking": ["h264"]}
    monkeypatch.setattr(software, "probe", lambda _: told)
    (found,) = software.pyav()
    assert (found.status, found.detail) == ("broken", "15, without h264")
    monkeypatch.setattr(software, "probe", lambda _: {**told, "works": False})
    (found,) = software.decord()
    assert (found.status, found.needed) == ("broken", False)


# ------------------------------------------------------------------ packages


def test_packages_here_are_within_their_bounds():
    assert [f.status for f in software.packages()] == ["ok"] * 5


def test_bounds_that_are_not_met(monkeypatch):
    versions = {"numpy": "1.20", "ski-data": "0.3.0"}
    real = importlib.metadata.version

    def version(name):
        if name == "pyarrow":
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(software.importlib.metadata, "version", version)
    found = one(software.packages(), "ski-vlm")
    assert (found.status, found.needed) == ("broken", True)
    assert "numpy>=1.26 is wanted, 1.20 is installed" in found.detail
    assert "pyarrow>=15 is not installed" in found.detail
    assert "ski-data<0.2,>=0.1 is wanted, 0.3.0 is installed" in found.detail
    assert "'numpy>=1.26'" in found.fix
    assert str(ROOT / "packages" / "ski-data") in found.fix


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(software, "OURS", ("ski-data", "ski-none"))
    monkeypatch.setitem(software.USES, "ski-none", "tests")
    found = one(software.packages(), "ski-none")
    assert (found.status, found.fix) == ("missing", pip_install("ski-none"))


def test_installation_is_by_uv_where_there_is_no_pip(monkeypatch):
    monkeypatch.setattr(findings.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(findings.shutil, "which", lambda _: "/usr/bin/uv")
    assert pip_install("a>=1", "b") == f"uv pip install --python {sys.executable} 'a>=1' b"
    monkeypatch.setattr(findings.shutil, "which", lambda _: None)
    assert pip_install("b") == f"{sys.executable} -m pip install b"


# ------------------------------------------------------------------ programs


@pytest.mark.parametrize(
    ("said", "status", "told"),
    [
        ('openjdk version "11.0.2" 2019', "ok", "11, "),
        ('java version "1.8.0_292"', "ok", "8, "),
        ('openjdk version "17.0.15"', "broken", "SPICE needs Java 8 to 14"),
        ("what?", "broken", "does not tell its version"),
    ],
)
def test_java(tmp_path, monkeypatch, said, status, told):
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(software.shutil, "which", lambda name: str(tmp_path / name))
    found = one(software.java(), "Java")
    assert found.status == status
    assert told in found.detail
    assert not found.needed


def test_compiler_without_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(software, "probe", lambda _: {"version": "1", "works": True})
    monkeypatch.setattr(software, "nvidia_hardware", lambda: True)
    monkeypatch.setattr(software.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(software.shutil, "which", lambda name: "/bin/c++" if "+" in name else None)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    found = list(software.deepspeed())
    statuses = {each.name: each.status for each in found}
    assert statuses["compiler"] == "broken"
    assert statuses["ninja"] == statuses["CUDA toolkit"] == "missing"
    assert "-dev" in one(found, "compiler").fix


# ------------------------------------------------------------------ machine


def test_too_little_room(monkeypatch):
    usage = SimpleNamespace(free=GIB)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(machine, "free_memory", lambda: GIB)
    found = [*machine.disks(), *machine.memory()]
    assert {f.status for f in found if f.name != "shared memory"} == {"broken"}
    assert all("1.0 GiB free, less than 2" in f.detail for f in found if f.status == "broken")
    assert one(found, "disk (working folder)").needed


def test_free_memory_is_told():
    assert machine.free_memory() > 0


def test_cache_of_models(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    (found,) = machine.hub()
    assert (found.status, found.detail) == ("ok", f"{tmp_path / 'hub'}, 0 models in it")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (found,) = machine.hub()
    assert found.status == "missing"
    assert found.fix.startswith("unset HF_HUB_OFFLINE, or copy")
    (tmp_path / "hub" / "models--a--b").mkdir(parents=True)
    (found,) = machine.hub()
    assert found.status == "ok"
    assert "nothing is fetched" in found.detail
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    (found,) = machine.hub()
    assert (found.status, found.needed) == ("broken", False)


# ------------------------------------------------------------------ data


def test_a_folder_that_is_not_there(tmp_path):
    (found,) = datasets.data(tmp_path / "none")
    assert (found.status, found.needed) == ("missing", True)


def test_a_folder_without_data(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (found,) = datasets.data(tmp_path)
    assert found.status == "missing"
    assert "by the form at" in found.fix


def test_archives_of_ntu(tmp_path):
    with zipfile.ZipFile(tmp_path / "s001.zip", "w") as archive:
        for action in (1, 2):
            archive.writestr(f"nturgb+d_skeletons/S001C001P001R001A00{action}.skeleton", "0\n")
    (found,) = datasets.data(tmp_path)
    assert found.status == "ok"
    assert found.detail == "2 recordings of 1 setups, of the 56880 of ntu60"
    (tmp_path / "s002.zip").write_bytes(b"PK cut")
    (found,) = datasets.data(tmp_path)
    assert (found.status, found.needed) == ("broken", True)
    assert "s002.zip" in found.detail


def test_recordings_with_other_names(tmp_path):
    (tmp_path / "walk.skeleton").write_text("0\n")
    (found,) = datasets.data(tmp_path)
    assert found.status == "broken"
    assert "walk" in found.detail


def test_manifests(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "manifest.jsonl").write_text('{"name": "a", "video": "clip.mp4", "label": 0}\n')
    (tmp_path / "test-actions.jsonl").write_text("{}\n")
    (tmp_path / "train.csv").write_text("gone.mp4,1\nclip.mp4,1\n")
    (tmp_path / "test.jsonl").write_text("no json\n")
    found = list(datasets.data(tmp_path))
    assert one(found, f"manifest: {tmp_path / 'manifest.jsonl'}").detail == "1 clips"
    lost = one(found, f"manifest: {tmp_path / 'train.csv'}")
    assert lost.detail.startswith("1 of 2 videos are not there, the first is ")
    assert one(found, f"manifest: {tmp_path / 'test.jsonl'}").status == "broken"
    assert len(found) == 3


def test_stores(tmp_path):
    store = tmp_path / "skeletons"
    store.mkdir()
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3, np.float32))
    (store / "joints.npy").write_bytes(buffer.getvalue())
    (found,) = datasets.data(tmp_path)
    assert (found.name, found.status) == (f"store: {store}", "broken")


def test_charades(tmp_path):
    (tmp_path / "Charades_v1_train.csv").write_text("id\n")
    (found,) = datasets.data(tmp_path)
    assert found.status == "broken"
    assert "Charades_v1_classes.txt" in found.detail


# ------------------------------------------------------------------ the report


def report(*checks, capsys, monkeypatch, **options):
    monkeypatch.setattr(doctor, "CHECKS", {str(i): lambda c=c: [c] for i, c in enumerate(checks)})
    code = doctor.doctor(**options)
    return code, capsys.readouterr().out


GOOD = Finding("torch", "ok", "2.9", "models", needed=True)
OPTIONAL = Finding("Java", "missing", "not on the path", "METEOR", fix="apt-get install java")
BAD = Finding("PyAV", "broken", "wrong", "videos", True, "pip install av")


def test_all_is_well(capsys, monkeypatch):
    code, text = report(GOOD, OPTIONAL, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0
    assert text.splitlines() == [
        "ok       torch                 2.9",
        "missing  Java                  not on the path",
        "         only for: METEOR",
        "         to fix: apt-get install java",
        "",
        "All that is needed is there; what only some commands need and is not: 1.",
    ]


def test_something_needed_is_broken(capsys, monkeypatch):
    code, text = report(GOOD, BAD, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 1
    assert "needed for: videos" in text
    assert text.splitlines()[-1] == "Not all that is needed is there: PyAV."


def test_json(capsys, monkeypatch):
    code, text = report(GOOD, BAD, capsys=capsys, monkeypatch=monkeypatch, json=True)
    told = json.loads(text)
    assert (code, told["healthy"]) == (1, False)
    assert told["findings"][1] == {
        "name": "PyAV",
        "status": "broken",
        "detail": "wrong",
        "use": "videos",
        "needed": True,
        "fix": "pip install av",
    }


def test_help(capsys):
    assert doctor.main(["--help"]) == 0
    assert "--data DATA" in capsys.readouterr().out


@pytest.mark.slow
def test_this_machine_has_all_that_is_needed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "apps", "doctor", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    needed = [each for each in told["findings"] if each["needed"]]
    assert [each["name"] for each in needed if each["status"] != "ok"] == []
    assert done.returncode == 0
