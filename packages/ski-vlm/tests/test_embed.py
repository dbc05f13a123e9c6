from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from students_of_every_kind import KINDS, of_kind
from tiny_videos import ACTIONS, write_clips

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.train import write_model
from ski_vlm.cli import main
from ski_vlm.embed import read_embeddings
from ski_vlm.predict import Recognizer


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def embedded(source, folder, out, *more, code=0):
    argv = ["embed", str(source), str(folder), str(out), "--workers=0", *more]
    assert main(argv) == code


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_give_the_model_s_answers(tmp_path, clips, sizes, kind):
    model = of_kind(kind, sizes)
    folder = write_model(tmp_path / "model", kind, model.config, model.state_dict(), {})
    names = ",".join(ACTIONS)
    out = tmp_path / "out"
    embedded(clips / "clips.jsonl", folder, out, "--shard_size=5", f"--classes={names}")
    found = read_embeddings(out)
    assert found.features.shape == (16, 16)
    assert found.labels == tuple(range(4)) * 4
    assert found.classes == ACTIONS
    index = pq.read_table(out / "index.parquet").to_pydict()
    assert set(index) == {"name", "shard", "row", "label"}
    assert len(set(index["shard"])) == 4
    if kind != "x-clip":  # whose texts follow each video
        recognizer = Recognizer(model)
        at = found.names.index("p2-kick")
        wanted = recognizer.cosines(recognizer.frames(clips / "p2-kick.mp4")[None], ACTIONS)
        np.testing.assert_allclose((found.features @ found.texts.T)[at], wanted[0], atol=1e-5)


def test_goes_on_after_a_kill(tmp_path, clips, folder, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    embedded(clips / "clips.jsonl", folder, whole, "--shard_size=4")
    frames, seen = Recognizer.frames, []

    def counted(self, video, reader=None):
        seen.append(video)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return frames(self, video, reader)

    monkeypatch.setattr(Recognizer, "frames", counted)
    embedded(clips / "clips.jsonl", folder, out, "--shard_size=4", code=130)
    with pytest.raises(MissingFileError, match="not complete"):
        read_embeddings(out)
    monkeypatch.setattr(Recognizer, "frames", frames)
    before = (out / "videos-00000.safetensors").stat().st_mtime_ns
    embedded(clips / "clips.jsonl", folder, out, "--shard_size=4")
    assert (out / "videos-00000.safetensors").stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_embeddings(out).features, read_embeddings(whole).features)


def test_a_folder_with_a_file_that_cannot_be_read(tmp_path, clips, folder, capsys):
    (tmp_path / "videos" / "inner").mkdir(parents=True)
    (tmp_path / "videos" / "b.mp4").write_text("no video")
    (tmp_path / "videos" / "inner" / "喝水.mp4").write_bytes((clips / "p1-bow.mp4").read_bytes())
    out = tmp_path / "out"
    embedded(tmp_path / "videos", folder, out, code=1)
    assert "b.mp4" in capsys.readouterr().err
    found = read_embeddings(out)
    assert (found.names, found.labels) == (("inner/喝水",), (None,))
    assert len(found.meta["model"]) == 64
    (tmp_path / "videos" / "inner" / "喝水.mp4").unlink()
    embedded(tmp_path / "videos", folder, tmp_path / "other", code=2)
    assert not (tmp_path / "other").exists()


def test_unusable_input(tmp_path, clips, folder, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "a.txt").write_text("a")
    for source, more, word in [
        (tmp_path / "absent", (), "absent"),
        (tmp_path / "empty", (), "no videos"),
        (tmp_path / "empty.jsonl", (), "empty.jsonl"),
        (tmp_path / "a.txt", (), "manifest"),
        (clips / "clips.jsonl", ("--classes=a,a",), "twice"),
        (clips / "clips.jsonl", ("--shard_size=0",), "shard_size"),
    ]:
        embedded(source, folder, tmp_path / "out", *more, code=2)
        told = capsys.readouterr()
        assert told.err.count("\n") == 1, told.err
        assert word in told.err
        assert not (tmp_path / "out").exists()


def test_another_model_does_not_go_on(tmp_path, clips, folder, capsys):
    out = tmp_path / "out"
    embedded(clips / "clips.jsonl", folder, out)
    embedded(clips / "clips.jsonl", folder, out, code=2)
    assert "already complete" in capsys.readouterr().err
    (out / "index.parquet").unlink()
    meta = json.loads((out / "meta.json").read_text())
    (out / "meta.json").write_text(json.dumps(meta | {"model": "other"}))
    embedded(clips / "clips.jsonl", folder, out, code=2)
    assert "other settings (model)" in capsys.readouterr().err


def test_damaged_parts_are_named(tmp_path, clips, folder):
    out = tmp_path / "out"
    embedded(clips / "clips.jsonl", folder, out)
    assert len(read_embeddings(out).names) == 16
    (out / "videos-00000.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="videos-00000"):
        read_embeddings(out)
    (out / "videos-00000.safetensors").unlink()
    with pytest.raises(MissingFileError, match="videos-00000"):
        read_embeddings(out)
    (out / "meta.json").write_text("{")
    with pytest.raises(InputError, match="meta"):
        read_embeddings(out)
    with pytest.raises(MissingFileError):
        read_embeddings(tmp_path / "absent")
