"""A new user's way: the built wheels from a local index, one package at a time, and a first job.

As in `test_install_alone`, each package gets an environment of its own, but from wheels: siblings
come from the local index alone, all else from the configured one.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import venv
from pathlib import Path

import pytest
import release
from release_archives import builder
from release_project import read_projects, siblings

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = read_projects()
pytestmark = pytest.mark.slow


def _alone():
    """The module `test_install_alone`, whose helpers serve here."""
    spec = importlib.util.spec_from_file_location(
        "test_install_alone_helpers", Path(__file__).with_name("test_install_alone.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


alone = _alone()

PREDICTIONS = """
import numpy as np
from ski_eval import Predictions, save_predictions
logits = np.eye(3)[[0, 1, 2, 2]]
names, classes = ("a", "b", "c", "d"), ("bow", "clap", "kick")
found = Predictions(names=names, labels=np.array([0, 1, 2, 0]), logits=logits, classes=classes)
save_predictions(found, "predictions.npz")
"""
PATCHES = "import numpy as np; np.save('clip.npy', np.ones((8, 256, 1024), np.float16))"
MAPPING = "layout: kinect25\nclasses: [{classes}]\n"
CLASSIFIER = """
data: {store: store, split: {train: {subjects: [1]}}}
encoder: {heads: 1, strides: [2], persons: 1, output: null}
feeder: {window: 16, min_crop: 8}
train: {epochs: 1, batch_size: 16}
"""
STUDENT = """
data:
  manifest: adl/manifest.jsonl
  classes: classes.csv
  unseen: [class 3, class 4]
  train_subjects: [1]
student:
  kind: vifi-clip
  frames: 2
  short_side: 32
  clip:
    architecture: null
    sizes: {embed: 16, image: 32, patch: 16, vision_width: 32, vision_layers: 1, vision_head: 16,
      text_width: 16, text_layers: 1, text_heads: 1}
method: {kind: zero-shot}
"""
SMALL = [
    "--n-subjects",
    "2",
    "--repetitions",
    "1",
    "--n-cameras",
    "1",
    "--size",
    "32",
    "--workers",
    "1",
]
CLASSES = [f"class {number}" for number in range(25)]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """All packages built, with their index."""
    if builder() is None:
        pytest.skip("neither uv nor build is here to build wheels")
    folder = tmp_path_factory.mktemp("release") / "dist"
    assert release.main(["build", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def desk(tmp_path):
    """An empty folder; the environment below it is removed at once: with torch it is large."""
    yield tmp_path
    shutil.rmtree(tmp_path / "environment", ignore_errors=True)


def install(name: str, dist: Path, folder: Path) -> Path:
    """A new environment in ``folder`` with ``name`` from the index; the folder of its programs."""
    programs = folder / alone.BIN
    index = (dist / "simple").resolve().as_uri()
    if uv := alone.find_uv():
        alone.run(uv, "venv", "--python", sys.executable, folder, cwd=folder.parent)
        line = (uv, "pip", "install", "--python", programs / "python", "--index", index)
    else:
        venv.create(folder, with_pip=True)
        line = (programs / "python", "-m", "pip", "install", "--extra-index-url", index)
    alone.run(*line, f"{name}=={PROJECTS[name].version}", cwd=folder.parent)
    return programs


def first_job(name: str, programs: Path, desk: Path) -> str:
    """Output of a command of the package that does real work."""

    def call(program: str, *words: str) -> str:
        return alone.run(programs / program, *words, cwd=desk)

    if name == "ski-data":
        call("ski-data", "synthesize", "adl", *SMALL)
        return call("ski-data", "check", "adl/manifest.jsonl")
    if name == "ski-eval":
        call("python", "-c", PREDICTIONS)
        return call("ski-eval", "score", "predictions.npz")
    if name == "ski-lvlm":
        call("python", "-c", PATCHES)
        return call("ski-lvlm", "pool", "clip.npy", "tokens.npy")
    call("ski-data", "synthesize", "adl", *SMALL)
    if name == "ski-skeleton":
        (desk / "mapping.yaml").write_text(MAPPING.format(classes=", ".join(CLASSES)), "utf-8")
        (desk / "recipe.yaml").write_text(CLASSIFIER, "utf-8")
        call("ski-data", "import", "adl/manifest.jsonl", "store", "--mapping", "mapping.yaml")
        call("ski-skeleton", "train-classifier", "recipe.yaml", "--out", "run")
        return call(
            "ski-skeleton", "evaluate-classifier", "run/model", "store", "--out", "scores.npz"
        )
    rows = "".join(f"{number},{label}\n" for number, label in enumerate(CLASSES))
    (desk / "classes.csv").write_text("id,name\n" + rows, "utf-8")
    (desk / "recipe.yaml").write_text(STUDENT, "utf-8")
    call("ski-vlm", "train", "recipe.yaml", "--out", "run")
    clip = sorted((desk / "adl" / "videos").iterdir())[0]
    model = "run/seed-0/model"
    return call("ski-vlm", "predict", str(clip), "--model", model, "--classes", "bow,sit down")


TOLD = {
    "ski-data": "no problems",
    "ski-eval": "75.0",
    "ski-lvlm": "tokens.npy",
    "ski-skeleton": "top-1",
    "ski-vlm": "sit down",
}


@pytest.mark.parametrize("name", PROJECTS)
def test_a_new_user_installs_a_wheel_and_works(name, dist, desk):
    programs = install(name, dist, desk / "environment")
    version = PROJECTS[name].version
    assert alone.run(programs / name, "--version", cwd=desk) == f"{name} {version}\n"
    assert name in alone.run(programs / name, "--help", cwd=desk)
    listed = alone.run(
        programs / "python",
        "-c",
        "import importlib.metadata as m\n"
        "print(*[d.name for d in m.distributions() if d.name.startswith('ski-')])",
        cwd=desk,
    )
    assert set(listed.split()) == {name, *siblings(PROJECTS[name], PROJECTS)}
    assert TOLD[name] in first_job(name, programs, desk)
