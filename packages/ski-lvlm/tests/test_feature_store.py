from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_lvlm.errors import FeatureError
from ski_lvlm.feature_store import FeatureStore, FeatureWriter

META = {"kind": "video", "encoder": "ViT-tiny"}


def write(folder, tokens, **options):
    writer = FeatureWriter(folder, META, **options)
    for name, values in tokens.items():
        writer.add(name, values)
    writer.flush()
    return writer


@pytest.fixture
def tokens():
    return {f"clip{n}": torch.randn(3 + n, 4).half() for n in range(5)}


@pytest.mark.parametrize("shard_bytes", [1, 1 << 20])
def test_round_trip(tmp_path, tokens, shard_bytes):
    store = write(tmp_path / "s", tokens, shard_bytes=shard_bytes).finish(list(tokens))
    assert store.names == list(tokens)
    assert store.channels == 4
    assert store.meta["encoder"] == "ViT-tiny"
    assert store.rows["clip4"] == 7
    for name, values in tokens.items():
        assert torch.equal(store[name], values)
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again["clip2"], tokens["clip2"])
    with pytest.raises(FeatureError, match="no features of clip other"):
        store["other"]


def test_goes_on_and_joins_processes(tmp_path, tokens):
    names = list(tokens)
    write(tmp_path / "s", {n: tokens[n] for n in names[:2]})
    with pytest.raises(MissingFileError, match="feature store"):
        FeatureStore(tmp_path / "s")
    writer = FeatureWriter(tmp_path / "s", META)
    assert writer.done() == set(names[:2])
    with pytest.raises(FeatureError, match="3 clips have no features, first clip2"):
        writer.finish(names)
    write(tmp_path / "s", {n: tokens[n] for n in names[2:]}, rank=1)
    store = writer.finish(names)
    assert all(torch.equal(store[n], tokens[n]) for n in names)
    with pytest.raises(ExistingOutputError):
        FeatureWriter(tmp_path / "s", META)


def test_other_settings_and_other_folders_are_refused(tmp_path, tokens):
    write(tmp_path / "s", tokens)
    with pytest.raises(ExistingOutputError, match="other settings"):
        FeatureWriter(tmp_path / "s", META | {"encoder": "other"})
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "notes.txt").write_text("mine")
    with pytest.raises(ExistingOutputError, match="no feature store"):
        FeatureWriter(tmp_path / "o", META)


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(3), torch.zeros(0, 4), torch.ones(2, 2).long(), torch.full((2, 2), torch.nan)],
)
def test_tokens_that_cannot_be_used(tmp_path, wrong):
    with pytest.raises(FeatureError, match="clip x"):
        FeatureWriter(tmp_path / "s", META).add("x", wrong)


def test_damage_is_named(tmp_path, tokens):
    store = write(tmp_path / "s", tokens).finish(list(tokens))
    shard = next(store.folder.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(FeatureError, match=f"{shard.name}: damaged or cut off"):
        FeatureStore(store.folder)["clip0"]
    shard.unlink()
    with pytest.raises(MissingFileError, match=shard.name):
        FeatureStore(store.folder)
    (store.folder / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(FeatureError, match=r"index\.parquet"):
        FeatureStore(store.folder)


def test_widths_must_agree(tmp_path):
    writer = write(tmp_path / "s", {"a": torch.zeros(2, 3), "b": torch.zeros(2, 4)})
    with pytest.raises(FeatureError, match=r"widths \[3, 4\]"):
        writer.finish(["a", "b"])


def test_published_files(tmp_path):
    values = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float16)
    (tmp_path / "S001.pkl").write_bytes(pickle.dumps(values))
    store = FeatureStore(tmp_path)
    assert store.names == ["S001"]
    assert torch.equal(store["S001"], torch.from_numpy(values))
    (tmp_path / "S002.pkl").write_bytes(pickle.dumps(np.zeros((5, 4), np.float16)))
    store = FeatureStore(tmp_path)
    assert store["S001"].shape == (5, 3)
    with pytest.raises(FeatureError, match="S002"):
        store["S002"]
    (tmp_path / "S003.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match="S003"):
        FeatureStore(tmp_path)["S003"]
