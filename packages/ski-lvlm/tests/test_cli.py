from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_lvlm import make_base

from ski_lvlm.cli import main
from ski_lvlm.lvlm_folder import load_lvlm
from ski_lvlm.pooling import spatio_temporal_pool
from ski_skeleton.weights import read_weights, write_weights


@pytest.fixture
def clip(tmp_path):
    features = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float16)
    np.save(tmp_path / "clip.npy", features)
    return tmp_path / "clip.npy"


def refused(capsys, tmp_path, *argv, word):
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert word in captured.err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_pool(tmp_path, clip, capsys):
    out = tmp_path / "tokens.npy"
    assert main(["pool", str(clip), str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    np.testing.assert_array_equal(np.load(out), spatio_temporal_pool(np.load(clip)))
    refused(capsys, tmp_path, "pool", clip, out, word="already there")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros((3, 4)), "(frames, patches, channels)"),
        (np.zeros((101, 2, 2)), "at most 100"),
        (np.full((2, 2, 2), np.nan), "not finite"),
        (np.zeros((2, 2, 2), int), "floating"),
        (np.array([{}]), ".npy file of plain numbers"),
    ],
)
def test_pool_refuses(tmp_path, capsys, values, word):
    np.save(tmp_path / "clip.npy", values, allow_pickle=True)
    refused(capsys, tmp_path, "pool", tmp_path / "clip.npy", tmp_path / "out.npy", word=word)


def test_pool_refuses_bad_files(tmp_path, clip, capsys):
    refused(capsys, tmp_path, "pool", tmp_path / "no.npy", tmp_path / "o", word="no such file")
    refused(capsys, tmp_path, "pool", clip, tmp_path / "no" / "o", word="no such folder")
    whole = clip.read_bytes()
    for content in (b"", b"text", whole[:-7]):
        clip.write_bytes(content)
        refused(capsys, tmp_path, "pool", clip, tmp_path / "o.npy", word=str(clip))
    np.savez(tmp_path / "two.npz", a=np.zeros(2))
    refused(capsys, tmp_path, "pool", tmp_path / "two.npz", tmp_path / "o.npy", word="archive")


def test_convert_there_and_back(tmp_path, capsys):
    state = {
        "model.mm_projector.weight": torch.randn(8, 6),
        "model.mm_projector.bias": torch.randn(8),
    }
    torch.save(state, tmp_path / "mm_projector.bin")
    ours, back = tmp_path / "ours", tmp_path / "back.safetensors"
    assert main(["convert", str(tmp_path / "mm_projector.bin"), str(ours)]) == 0
    assert main(["convert", str(ours), str(back), "--to", "published"]) == 0
    assert capsys.readouterr().out == f"{ours}\n{back}\n"
    again = read_weights(back)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[k], state[k]) for k in state)
    refused(capsys, tmp_path, "convert", ours, back, "--to", "published", word="already there")


def test_published_projectors_become_a_model(tmp_path, golden_folder, capsys):
    base = make_base(tmp_path / "base", golden_folder / "tiny_tokenizer")
    capsys.readouterr()
    state = {"weight": torch.randn(16, 6), "bias": torch.randn(16)}
    published = {f"model.mm_projector.{leaf}": value for leaf, value in state.items()}
    write_weights(tmp_path / "public.safetensors", published)
    command = ["convert", tmp_path / "public.safetensors", tmp_path / "model", "--to", "model"]
    refused(capsys, tmp_path, *command, word="needs --base")
    refused(capsys, tmp_path, *command[:3], "--base", base, word="needs --base")
    assert main([str(word) for word in [*command, "--base", base]]) == 0
    model, _, notes = load_lvlm(tmp_path / "model", skeletons=False)
    assert torch.equal(model.projectors.video.weight, state["weight"])
    assert notes["prompts"]["skeleton"] == "absent"
    assert notes["features"]["video"]["settings"]["layer"] == -2


def test_convert_refuses(tmp_path, capsys):
    file = tmp_path / "weights.safetensors"
    write_weights(file, {"head.weight": torch.zeros(2, 2)})
    refused(capsys, tmp_path, "convert", file, tmp_path / "o", word="no model.mm_projector.weight")
    file.write_bytes(b"")
    refused(capsys, tmp_path, "convert", file, tmp_path / "o", word=str(file))
    refused(capsys, tmp_path, "convert", tmp_path / "no", tmp_path / "o", word="no such")
