from __future__ import annotations

import json

import pytest
from tiny_models import tiny_image_model

from ski_data.manifest import Record, write_manifest
from ski_lvlm.cli import main
from ski_lvlm.curation.captions import ImageCaptioner, caption_videos
from ski_lvlm.curation.errors import CurationError
from ski_lvlm.curation.lines import Lines
from ski_lvlm.curation.prompts import load_prompt


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_image_model(tmp_path_factory.mktemp("model"))


def test_middle_frames_are_captioned_once(model, records, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ski_lvlm.curation.captions.NEW_TOKENS", 12)
    out = tmp_path / "captions.jsonl"
    captioner = ImageCaptioner(model)
    silent = caption_videos(records[:2], captioner, out)
    rows = Lines(out, "id").rows
    assert list(rows) == ["a", "b"]
    assert not silent
    assert rows["b"]["frame"] == 2
    assert rows["a"]["made_by"]["prompts"] == {"caption": load_prompt("caption").sha256}
    assert rows["a"]["caption"]
    manifest = tmp_path / "clips.jsonl"
    write_manifest(manifest, records)
    before = out.read_text()
    assert main(["curate-caption", str(manifest), str(out), "--model", model]) == 0
    assert out.read_text().startswith(before)
    assert len(out.read_text().splitlines()) == 3
    assert "3 clips" in capsys.readouterr().out


def test_the_picture_matters(model, monkeypatch):
    import numpy as np

    monkeypatch.setattr("ski_lvlm.curation.captions.NEW_TOKENS", 16)
    captioner, prompt = ImageCaptioner(model), load_prompt("caption")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(6)]
    said = [captioner.caption(picture, prompt) for picture in pictures]
    assert said[0] == captioner.caption(pictures[0], prompt)
    assert len(set(said)) > 1


def test_bad_input(records, tmp_path):
    with pytest.raises(CurationError, match="cannot be loaded"):
        ImageCaptioner(str(tmp_path / "none"))
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"id": "a", "caption": "x", "made_by": {"model": "y"}}) + "\n")

    class Nobody:
        name = "nobody"

    with pytest.raises(CurationError, match="another model"):
        caption_videos(records, Nobody(), other)
    with pytest.raises(CurationError, match="no video, first z"):
        caption_videos([Record("z")], Nobody(), other)
