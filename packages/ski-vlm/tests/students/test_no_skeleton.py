from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ski_vlm.students
from ski_skeleton.text import ClipConfig
from ski_vlm.students import STUDENTS

ALLOWED = ("text", "train.model_folder", "weights", "errors")
"""What students take from ski-skeleton: text towers, folders of weights."""
FILES = sorted(Path(ski_vlm.students.__file__).parent.glob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_student_imports_a_skeleton_part(path):
    parts = [name for name in imported(path) if name.startswith("ski_skeleton")]
    known = tuple(f"ski_skeleton.{name}" for name in ALLOWED)
    assert [name for name in parts if not name.startswith(known)] == []
    assert not any(name.startswith("ski_data") and "skeleton" in name for name in imported(path))


@pytest.mark.parametrize("kind", STUDENTS)
def test_no_student_holds_one(kind, sizes, build):
    depth = {"image_depth": 1, "text_depth": 1} if kind == "vifi-clip-prompted" else {}
    clip = ClipConfig(architecture=None, sizes=sizes)
    model = build(STUDENTS[kind].config(clip=clip, **depth))
    words = ("skeleton", "hyperformer", "encoder", "joint", "teacher", "projector")
    assert [k for k in model.state_dict() if any(word in k for word in words)] == []
