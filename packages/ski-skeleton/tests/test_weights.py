from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file

from ski_data.errors import MissingFileError
from ski_skeleton.errors import CheckpointError
from ski_skeleton.weights import load_strictly, read_weights, shorten, write_weights


@pytest.fixture
def state():
    return {"a": torch.arange(3.0), "b.c": torch.ones(2, 2)}


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_archives_are_unwrapped(tmp_path, state, wrap, prefix):
    content = {prefix + k: v for k, v in state.items()}
    torch.save(content if wrap is None else {wrap: content, "epoch": 3}, tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert set(read) == set(state)
    assert torch.equal(read["b.c"], state["b.c"])


def test_safetensors_round_trip(tmp_path, state):
    write_weights(tmp_path / "w.safetensors", state)
    read = read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(read[k], v) for k, v in state.items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    (tmp_path / "new").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


class Trap:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_code_in_an_archive_is_refused(tmp_path, capsys):
    torch.save({"a": Trap()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="unpickling"):
        read_weights(tmp_path / "w.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "raw.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"not weights at all, only text", b"\0" * 64]
)
def test_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        read_weights(tmp_path / name)


def test_truncated_file_is_named(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pth"):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(CheckpointError, match=path.name):
            read_weights(path)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match="nothing"):
        read_weights(tmp_path / "nothing.pth")


def test_archive_of_something_else(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(CheckpointError, match="epoch"):
        read_weights(tmp_path / "numbers.pt")


def test_every_entry_must_be_covered():
    module = torch.nn.Linear(2, 3)
    good = module.state_dict()
    load_strictly(module, good, "file")
    with pytest.raises(CheckpointError, match=r"1 of 2 entries missing \(bias\)"):
        load_strictly(module, {"weight": good["weight"]}, "file")
    with pytest.raises(CheckpointError, match=r"unknown entries \(extra\)"):
        load_strictly(module, {**good, "extra": torch.ones(1)}, "file")
    with pytest.raises(CheckpointError, match="another shape"):
        load_strictly(module, {**good, "bias": torch.ones(4)}, "file")


def test_long_lists_are_shortened():
    assert shorten([str(i) for i in range(9)]) == "0, 1, 2, 3 and 5 more"
