"""Every kind of published file to a folder of ours and back, on towers of toy size."""

from __future__ import annotations

import open_clip
import pytest
import torch

from ski_skeleton import pipeline
from ski_skeleton.convert.table import to_published
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text import ClipConfig, build_clip
from ski_skeleton.weights import read_weights
from ski_vlm.cli import main
from ski_vlm.convert import command
from ski_vlm.convert.command import looks_like, table_of
from ski_vlm.students import STUDENTS, load_student

ENCODER = HyperformerConfig(heads=1, strides=(2,), persons=1, output=16)
SOURCES = ("openai", "vifi-clip", "x-clip", "froster", "ski-phase1", "ski-phase2")


@pytest.fixture(autouse=True)
def toy(monkeypatch, sizes):
    """A toy architecture by name, and a base whose weights are a file."""
    clip = ClipConfig(architecture=None, sizes=sizes)

    def config(architecture=None, pretrained=None, **rest):
        return ClipConfig(architecture=None, sizes=sizes, pretrained=pretrained, **rest)

    monkeypatch.setattr(command, "ClipConfig", config)
    return clip


@pytest.fixture
def models(toy):
    def build(kind):
        torch.manual_seed(1)
        return STUDENTS[kind].model(STUDENTS[kind].config(clip=toy, frames=4)).eval()

    return build


def state_of(source, models, toy):
    """A published state dict of this kind, as its own project would save it."""
    kind = {"openai": "vifi-clip", "ski-phase2": "vifi-clip"}.get(source, source)
    student = None if source == "ski-phase1" else models(kind)
    skeleton = None
    if source.startswith("ski"):
        skeleton = SkeletonClip(SkeletonClipConfig(ENCODER, toy))
    state = {}
    if source == "ski-phase2":
        state = {f"student.{k}": v for k, v in student.state_dict().items() if k != "logit_scale"}
        state |= {f"teacher.{k}": v for k, v in skeleton.state_dict().items()}
    else:
        state = dict((student or skeleton).state_dict())
    return to_published(table_of(source, student, skeleton), state, source)


def encoder_flags():
    settings = {"heads": 1, "strides": "[2]", "persons": 1, "output": 16}
    return [word for k, v in settings.items() for word in (f"--encoder.{k}", str(v))]


@pytest.mark.parametrize("source", SOURCES)
def test_there_and_back(tmp_path, models, toy, source, capsys):
    theirs = state_of(source, models, toy)
    tokens = theirs.get("token_embedding.weight")
    partial = source in ("vifi-clip", "ski-phase1", "ski-phase2")
    saved = {k: v for k, v in theirs.items() if not (partial and k == "token_embedding.weight")}
    if partial:
        saved["prompt_learner.complete_text_embeddings"] = torch.zeros(3, 77, 16)
    if source == "froster":
        saved |= {"raw_model.logit_scale": torch.tensor(1.0), "projector_v.0.weight": torch.ones(2)}
    file = tmp_path / "theirs.pth"
    torch.save({"model": {f"module.{k}": v for k, v in saved.items()}}, file)
    base = build_clip(toy)
    if tokens is not None:
        base.token_embedding.weight.data.copy_(tokens)
    torch.save(base.state_dict(), tmp_path / "base.pt")
    flags = ["--source", source, "--frames", "4"]
    flags += ["--base", str(tmp_path / "base.pt")] if partial else []
    flags += encoder_flags() if source.startswith("ski") else []
    out = tmp_path / "ours"
    assert main(["convert", str(file), str(out), *flags]) == 0, capsys.readouterr().err
    if source == "ski-phase1":
        assert pipeline.load_skeleton_clip(out)[1]["classes_seen"] is None
    else:
        student, meta = load_student(out)
        assert meta["classes_seen"] is None
        assert student.config.frames == 4
    back = tmp_path / "back.safetensors"
    assert main(["convert", str(out), str(back), "--source", source, "--to", "published"]) == 0
    again = read_weights(back)
    dropped = ("prompt_learner.", "raw_model.", "projector_")
    wanted = {k: v for k, v in saved.items() if not k.startswith(dropped)}
    assert set(again) == set(wanted)
    assert all(torch.equal(again[k], v) for k, v in wanted.items())


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_of_another_kind_is_named(tmp_path, models, toy, source, capsys):
    other = SOURCES[SOURCES.index(source) - 1]
    theirs = state_of(other, models, toy)
    assert f"({other})" in looks_like(theirs)
    file = tmp_path / "theirs.pth"
    torch.save(theirs, file)
    torch.save(build_clip(toy).state_dict(), tmp_path / "base.pt")
    flags = ["--source", source, "--frames", "4"]
    if source in ("vifi-clip", "ski-phase1", "ski-phase2"):
        flags += ["--base", str(tmp_path / "base.pt")]
    flags += encoder_flags() if source.startswith("ski") else []
    assert main(["convert", str(file), str(tmp_path / "ours"), *flags]) == 2
    err = capsys.readouterr().err
    assert f"({other})" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "ours").exists()


def test_files_without_tokens_need_a_base(tmp_path, models, toy, capsys):
    file = tmp_path / "theirs.pth"
    torch.save(state_of("vifi-clip", models, toy), file)
    assert main(["convert", str(file), str(tmp_path / "x"), "--source", "vifi-clip"]) == 2
    assert "give --base" in capsys.readouterr().err


def test_what_files_look_like(models, toy):
    assert "Hyperformer" in looks_like({"l1.vit1.attn.alpha": torch.zeros(1)})
    assert looks_like({"x": torch.zeros(1)}) == "nothing that is known here"
    assert "ours" in looks_like(models("vifi-clip").state_dict())
    assert "(openai)" in looks_like(open_clip.create_model("RN50", pretrained=None).state_dict())
