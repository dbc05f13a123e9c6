"""Imports follow the direction of the packages, and third-party code stays where it belongs.

    ski-data   ski-eval
          \\     /
        ski-skeleton
          /     \\
     ski-vlm   ski-lvlm
          \\     /
    apps, benchmarks, tools
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

SIBLINGS = {
    "ski_data": set(),
    "ski_eval": set(),
    "ski_skeleton": {"ski_data", "ski_eval"},
    "ski_vlm": {"ski_data", "ski_eval", "ski_skeleton"},
    "ski_lvlm": {"ski_data", "ski_skeleton"},
}
"""What a package may import of the others; programs around the packages may import all."""

PROGRAMS = {"apps", "benchmarks", "tools", "tests"} | {
    path.stem for path in (ROOT / "tools").glob("*.py")
}
"""What no package imports; the modules of tools/ are on the tests' path."""

EVERYWHERE = tuple(SIBLINGS)
WITH_TORCH = ("ski_skeleton", "ski_vlm", "ski_lvlm")
THIRD_PARTY = {
    "numpy": EVERYWHERE,
    "yaml": ("ski_data", "ski_skeleton", "ski_vlm", "ski_lvlm"),
    "jsonargparse": ("ski_data", "ski_eval"),
    "docstring_parser": ("ski_data",),
    "rich": ("ski_data",),
    "pyarrow": ("ski_data", "ski_lvlm.feature_store", "ski_vlm.embed"),
    "av": ("ski_data.video", "ski_data.synthetic"),
    "decord": ("ski_data.video",),
    "cv2": ("ski_data.video", "ski_data.synthetic"),
    "mediapipe": ("ski_data.poses.worker",),
    "sklearn": ("ski_eval", "ski_skeleton"),
    "matplotlib": ("ski_eval",),
    "sacrebleu": ("ski_eval",),
    "umap": ("ski_eval.embeddings",),
    "torch": WITH_TORCH,
    "safetensors": WITH_TORCH,
    "open_clip": ("ski_skeleton", "ski_vlm"),
    "timm": ("ski_skeleton",),
    "torchvision": ("ski_skeleton", "ski_vlm"),
    "onnx": ("ski_vlm.export", "ski_vlm.export_command"),
    "onnxruntime": ("ski_vlm.export", "ski_vlm.export_command"),
    "accelerate": ("ski_skeleton", "ski_vlm"),
    "transformers": ("ski_lvlm", "ski_skeleton.text.sentence", "ski_eval.judge"),
    "peft": ("ski_lvlm",),
    "deepspeed": ("ski_lvlm.engine",),
}
"""Third-party module to the parts of the packages that may import it."""


class Import(NamedTuple):
    """An absolute import, wherever it stands in a file."""

    name: str
    line: int


def imports_of(source: str, module: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in ``source``: at the top, in functions, under TYPE_CHECKING, by name.

    ``module`` is the dotted name of the file; relative imports are resolved against it.
    """
    parents = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: max(0, len(parents) - node.level + 1)] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            yield from (Import(f"{stem}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            name = node.args[0]
            literal = isinstance(name, ast.Constant) and isinstance(name.value, str)
            if called in ("import_module", "__import__") and literal:
                yield Import(name.value, node.lineno)


def why_forbidden(module: str, imported: str) -> str | None:
    """What is wrong with ``module`` importing ``imported``; None if nothing is."""
    package, top = module.split(".")[0], imported.split(".")[0]
    if top == package or top in sys.stdlib_module_names:
        return None
    if top in PROGRAMS:
        return f"{package} imports {top}: programs use packages, not the other way"
    if top in SIBLINGS:
        allowed = SIBLINGS[package]
        return None if top in allowed else f"{package} may import of its siblings {sorted(allowed)}"
    if top not in THIRD_PARTY:
        return f"{top} is not in the table of third-party modules"
    places = THIRD_PARTY[top]
    inside = any(module == place or module.startswith(place + ".") for place in places)
    return None if inside else f"{top} is allowed in {', '.join(places)} only"


def violations(source_root: Path) -> list[str]:
    """All forbidden imports of the packages below a ``src`` folder, as ``file:line: reason``."""
    found = []
    for file in sorted(source_root.rglob("*.py")):
        parts = file.relative_to(source_root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        for item in imports_of(file.read_text(encoding="utf-8"), module, is_package=is_package):
            if reason := why_forbidden(module, item.name):
                found.append(f"{file}:{item.line}: {item.name}: {reason}")
    return found


@pytest.mark.parametrize("package", SIBLINGS)
def test_imports_follow_the_direction(package):
    source = ROOT / "packages" / package.replace("_", "-") / "src"
    assert (source / package / "__init__.py").is_file()
    assert violations(source) == []


def test_every_package_is_checked():
    names = {p.parent.name.replace("-", "_") for p in ROOT.glob("packages/*/pyproject.toml")}
    assert names == set(SIBLINGS)


@pytest.mark.parametrize(
    ("file", "source", "word"),
    [
        ("ski_data/a.py", "import ski_eval", "siblings"),
        ("ski_eval/a.py", "from ski_data.errors import InputError", "siblings"),
        ("ski_skeleton/a.py", "import ski_vlm.tasks as t", "siblings"),
        ("ski_vlm/a.py", "def f():\n    from ski_lvlm import tokens", "siblings"),
        ("ski_lvlm/a.py", "import json, ski_vlm", "siblings"),
        ("ski_lvlm/a/b.py", "import importlib\nimportlib.import_module('ski_vlm.cli')", "siblings"),
        ("ski_data/a.py", "import torch", "torch is allowed in"),
        ("ski_data/a.py", "if TYPE_CHECKING:\n    from torch import Tensor", "torch is allowed in"),
        ("ski_eval/__init__.py", "x = __import__('torch')", "torch is allowed in"),
        ("ski_data/skeleton.py", "import cv2", "ski_data.video"),
        ("ski_data/video_list.py", "import decord", "ski_data.video"),
        ("ski_skeleton/text/clip.py", "import transformers", "sentence"),
        ("ski_lvlm/train.py", "import deepspeed", "ski_lvlm.engine"),
        ("ski_vlm/a.py", "import matplotlib.pyplot as plt", "ski_eval"),
        ("ski_vlm/a.py", "from apps.adl_mini import recipe", "programs"),
        ("ski_data/a.py", "import golden_kinds", "programs"),
        ("ski_data/a.py", "import pandas", "not in the table"),
        ("ski_data/a/b.py", "from ....ski_eval import x", "siblings"),
    ],
)
def test_the_check_fails_on(tmp_path, file, source, word):
    target = tmp_path / file
    target.parent.mkdir(parents=True)
    target.write_text(source, encoding="utf-8")
    (found,) = violations(tmp_path)
    assert word in found
    assert found.startswith(f"{target}:{len(source.splitlines())}: ")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ski_data/video/decode.py", "import av, cv2\nfrom decord import VideoReader"),
        ("ski_data/video/__init__.py", "from .decode import read\nfrom . import sampling"),
        ("ski_data/video/a.py", "from ..errors import InputError"),
        ("ski_skeleton/text/sentence.py", "from transformers import AutoModel"),
        ("ski_lvlm/engine.py", "def f():\n    import deepspeed"),
        ("ski_vlm/a.py", "import ski_skeleton, ski_eval, ski_data, torch, open_clip"),
    ],
)
def test_the_check_passes(tmp_path, file, source):
    target = tmp_path / file
    target.parent.mkdir(parents=True)
    target.write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []


WALK = """
import importlib, pkgutil, sys
sys.modules["torch"] = None  # importing it would raise
package = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize("package", ["ski_data", "ski_eval"])
def test_imports_without_torch(package):
    done = subprocess.run(
        [sys.executable, "-c", f"import {package}, sys; assert 'torch' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["ski_data", "ski_eval"])
def test_every_module_imports_without_torch(package):
    done = subprocess.run(
        [sys.executable, "-c", WALK, package], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
