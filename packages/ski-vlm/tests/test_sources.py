from __future__ import annotations

import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from ski_data.errors import MissingFileError
from ski_skeleton.errors import CheckpointError
from ski_vlm import load
from ski_vlm.cli import main
from ski_vlm.errors import ConfigError
from ski_vlm.sources import open_student
from ski_vlm.students import ViFiClip

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the settings and weights of a CLIP that open_clip knows as ``tiny-clip``."""
    place = tmp_path_factory.mktemp("clip")
    (place / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(place / "tiny-clip.json")
    torch.manual_seed(1)
    save_file(open_clip.create_model("tiny-clip").state_dict(), place / "weights.safetensors")
    return place


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)


def hub_copy(place, folder, **preprocess):
    folder.mkdir()
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    shutil.copy(place / "weights.safetensors", folder / "open_clip_model.safetensors")
    return folder


def test_an_architecture_and_its_weights_are_plain_clip(place, frames, names):
    recognizer = load(f"tiny-clip/{place / 'weights.safetensors'}")
    student = recognizer.model
    assert isinstance(student, ViFiClip)
    assert (student.config.normalisation, student.config.frames) == ("clip", 16)
    clip = open_clip.create_model("tiny-clip", pretrained=str(place / "weights.safetensors")).eval()
    with torch.no_grad():
        seen = student.normalise(torch.from_numpy(recognizer.frames(frames)[None]))[0]
        video = clip.encode_image(seen).mean(0)
        prompts = open_clip.get_tokenizer("tiny-clip")([f"a photo of a {n}." for n in names])
        text = clip.encode_text(prompts, normalize=True)
        wanted = (clip.logit_scale.exp() * (video / video.norm()) @ text.T).softmax(0)
    found = {p.label: p.probability for p in recognizer.predict(frames, names)}
    np.testing.assert_allclose([found[n] for n in names], wanted.numpy(), rtol=1e-3)


def test_a_copy_of_a_hub_repository_is_the_same_model(place, tmp_path, frames, names):
    one = load(f"tiny-clip/{place / 'weights.safetensors'}").predict(frames, names)
    folder = hub_copy(place, tmp_path / "copy")
    assert load(f"local-dir:{folder}").predict(frames, names) == one


def test_pixels_are_normalised_as_the_weights_were_trained(place, tmp_path):
    imagenet = hub_copy(place, tmp_path / "a", mean=[0.485, 0.456, 0.406])
    assert open_student(f"local-dir:{imagenet}")[0].config.normalisation == "imagenet"
    other = hub_copy(place, tmp_path / "b", mean=[0.5, 0.5, 0.5])
    with pytest.raises(ConfigError, match="neither CLIP's nor ImageNet's"):
        open_student(f"local-dir:{other}")


def test_openai_weights_get_the_activation_they_were_trained_with(monkeypatch):
    asked = []
    monkeypatch.setattr("ski_vlm.sources.build_clip", lambda c: asked.append(c) or 1 / 0)
    for tag in ("openai", "laion400m_e32"):
        with pytest.raises(ZeroDivisionError):
            open_student(f"ViT-B-16/{tag}")
    assert [c.architecture for c in asked] == ["ViT-B-16-quickgelu", "ViT-B-16"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViT-B16/openai", ["no architecture", "ViT-B-16"]),
        ("vit-b-16/openai", ["ViT-B-16"]),
        ("ViT-B-16/opnai", ["tag of ViT-B-16", "tags: openai"]),
        ("ViT-B-16/absent.pt", ["neither a file nor a tag", "openai"]),
        ("ViT-B-16", ["without weights", "openai"]),
        ("runs/absent", ["no such model folder"]),
    ],
)
def test_unknown_names_list_near_ones(name, words, capsys):
    with pytest.raises(MissingFileError) as error:
        load(name)
    assert all(word in str(error.value) for word in words)
    assert main(["predict", __file__, "--model", name, "--classes=a,b"]) == 2
    told = capsys.readouterr().err
    assert told == f"ski-vlm: {error.value}\n"


def test_other_weights_and_no_network_are_told_in_one_line(place, tmp_path, capsys, monkeypatch):
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        load(f"ViT-B-32/{place / 'weights.safetensors'}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("ViT-B-32/laion400m_e32", "hf-hub:nobody/nothing"):
        assert main(["predict", __file__, "--model", name, "--classes=a,b"]) == 2
        told = capsys.readouterr().err.splitlines()
        assert f"{name}: cannot be loaded" in told[-1]
        assert "Traceback" not in " ".join(told)
        assert len(told) <= 2


def test_command_line_and_what_is_made_of_it(place, tmp_path, clip_file, capsys):
    name = f"tiny-clip/{place / 'weights.safetensors'}"
    argv = ["predict", str(clip_file), "--model", name, "--classes=sit,clap", "--json"]
    assert main(argv) == 0
    row = json.loads(capsys.readouterr().out)
    assert {p["label"] for p in row["predictions"]} == {"sit", "clap"}
    for folder in ("one", "two"):
        assert main(["embed", str(clip_file.parent), name, str(tmp_path / folder)]) == 0
    metas = [json.loads((tmp_path / f / "meta.json").read_text()) for f in ("one", "two")]
    assert metas[0]["model"] == metas[1]["model"]
