from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from students_of_every_kind import KINDS, of_kind
from tiny_videos import ACTIONS, write_clips

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.text import tokenize
from ski_skeleton.train import write_model
from ski_vlm import export as exporting
from ski_vlm.cli import main
from ski_vlm.errors import ConfigError, SkiVlmError
from ski_vlm.export import PARITY, Exported, TextSide, export_student
from ski_vlm.export_command import quantise

HAS_ONNX = all(importlib.util.find_spec(n) for n in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="the extra 'export' is not installed")
FORMATS = [pytest.param("onnx", marks=needs_onnx), "torch"]


@pytest.fixture
def sizes(sizes):
    return replace(sizes, vision_layers=1)  # tracing takes seconds per layer


def shallow(kind, sizes):
    depth = {"image_depth": 1} if kind == "vifi-clip-prompted" else {}
    return of_kind(kind, sizes, **depth)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def exported_texts(model, exported, names):
    """As a program without this package would make them, from ``export.json``."""
    about = exported.about
    found = []
    for prompt in about["prompts"]:
        prompts = [prompt.replace("{name}", n).replace("{title}", n) for n in names]
        ids = tokenize(prompts, context=about["tokens"]).numpy()
        found.append(exported.text(ids))
    if not about["averaged"]:
        (one,) = found
        return one
    mean = np.mean(found, 0)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_student_gives_the_same_numbers(tmp_path, sizes, batch, kind, form):
    model = shallow(kind, sizes)
    about = export_student(model, tmp_path, form, classes=["a", "b"])
    assert max(about["parity"].values()) <= PARITY
    assert np.load(tmp_path / "texts.npy").shape == (2, 16)
    exported = Exported(tmp_path)
    names = ["sit down", "stand up", "clap", "jump", "喝水"]
    texts = exported_texts(model, exported, names)
    with torch.inference_mode():
        wanted = model(model.normalise(batch["video"]), names)
    np.testing.assert_allclose(texts, model.encode_classes(names).detach(), atol=PARITY)
    logits, features = exported.video(batch["video"].numpy(), texts)
    np.testing.assert_allclose(logits / about["scale"], wanted.cosines, atol=PARITY)
    np.testing.assert_allclose(features, wanted.video, atol=PARITY)


@pytest.mark.parametrize("kind", KINDS)
def test_all_positions_give_what_cut_prompts_give(sizes, kind):
    model = shallow(kind, sizes)
    side = TextSide(model)
    template = model.config.template
    ids = tokenize([template.format(name=n) for n in ("sit down", "喝水")], context=side.length)
    if kind == "froster":
        wanted = model.text.unit_text([template.format(name=n) for n in ("sit down", "喝水")])
    else:
        wanted = model.encode_classes(["sit down", "喝水"])
    torch.testing.assert_close(side(ids), wanted, rtol=1e-4, atol=1e-5)


def exported_by_command(folder, out, *more, code=0):
    assert main(["export", str(folder), str(out), *more]) == code


def test_command_writes_torch_archives(tmp_path, folder, capsys):
    exported_by_command(folder, tmp_path / "out", "--format=torch", "--classes=sit,stand")
    told = capsys.readouterr()
    assert told.out.startswith(f"{tmp_path / 'out'}\n")
    assert "differences" in told.out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "video.pt2",
        "text.pt2",
        "texts.npy",
        "export.json",
    }
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["classes"] == ["sit", "stand"]
    assert len(about["model"]) == 64
    exported_by_command(folder, tmp_path / "out", "--format=torch", code=2)


@needs_onnx
def test_eight_bits_have_a_card(tmp_path, sizes, clips, capsys):
    model = shallow("x-clip", sizes)
    folder = write_model(tmp_path / "model", "x-clip", model.config, model.state_dict(), {})
    out = tmp_path / "out"
    clips_, names = f"--videos={clips / 'clips.jsonl'}", f"--classes={','.join(ACTIONS)}"
    exported_by_command(folder, out, "--int8", clips_, names, "--workers=0")
    card = json.loads((out / "int8.json").read_text())
    assert (card["clips"], card["classes"]) == (16, 4)
    assert card["agreement"] >= 0.75
    assert card["bytes_int8"] == (out / "video.int8.onnx").stat().st_size
    assert 0 <= card["accuracy_int8"] <= 1
    assert "ms per clip" in capsys.readouterr().out


def test_graphs_that_differ_are_refused(tmp_path, student, monkeypatch):
    monkeypatch.setattr(exporting, "PARITY", -1.0)
    with pytest.raises(SkiVlmError, match="differ"):
        export_student(student, tmp_path, "torch")


def test_a_missing_library_names_the_extra(tmp_path, folder, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"ski-vlm\[export\]"):
        exporting.need("onnx")


def test_damaged_exports(tmp_path):
    with pytest.raises(MissingFileError):
        Exported(tmp_path)
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        Exported(tmp_path)
    (tmp_path / "export.json").write_text('{"version": 1, "format": "torch"}')
    with pytest.raises(MissingFileError, match="text"):
        Exported(tmp_path)
    (tmp_path / "text.pt2").write_text("x")
    with pytest.raises(InputError, match="not readable"):
        Exported(tmp_path)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--int8",), "onnx"),
        (("--videos=absent",), "--int8"),
        (("--classes=a,a",), "twice"),
        (("--classes=./absent.txt",), "absent"),
        (("--format=tflite",), "format"),
    ],
)
def test_unusable_input(tmp_path, folder, capsys, more, word):
    exported_by_command(folder, tmp_path / "out", "--format=torch", *more, code=2)
    told = capsys.readouterr()
    assert word in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_model(tmp_path, capsys):
    exported_by_command(tmp_path / "absent", tmp_path / "out", "--format=torch", code=2)
    assert "absent" in capsys.readouterr().err


@needs_onnx
def test_weights_that_the_quantiser_turns_round(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    kinds = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 5]), ("y", ["n", 3]), ("w", [3, 5]))
    }
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        "head",
        [kinds["x"]],
        [kinds["y"]],
        [numpy_helper.from_array(weights, "w")],
        value_info=[kinds["w"]],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "a.onnx")
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx")
    import onnxruntime

    x = np.ones((2, 5), np.float32)
    (y,) = onnxruntime.InferenceSession(tmp_path / "b.onnx").run(None, {"x": x})
    np.testing.assert_allclose(y, x @ weights.T, atol=0.1)
