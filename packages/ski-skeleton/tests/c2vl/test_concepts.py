from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.manifest import Record
from ski_skeleton.c2vl import (
    Concepts,
    encode_captions,
    encode_videos,
    load_concepts,
    read_captions,
    save_concepts,
)
from ski_skeleton.text import ClipConfig, ClipSizes, build_clip

ROWS = np.array([[1, 0], [0, 2], [3, 4]], np.float32)


def encode(texts):
    """Vectors of length other than 1, from the texts alone."""
    return torch.tensor([[float(len(t)), 1.0, float(t.count("a"))] for t in texts])


def write(path, *rows):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_captions_by_clip(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        {"name": "b", "captions": ["sits", "sits"]},
        "",
        {"name": "a", "captions": ["holds a cup"]},
    )
    assert read_captions(path) == {"b": ["sits", "sits"], "a": ["holds a cup"]}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("{", "line 2: not JSON"),
        ({"name": "b"}, "line 2: an object with the keys"),
        ({"name": "", "captions": ["x"]}, "line 2: name must be text"),
        ({"name": "b", "captions": []}, "line 2: captions must be"),
        ({"name": "b", "captions": ["x", " "]}, "line 2: captions must be"),
        ({"name": "a", "captions": ["x"]}, "line 2: clip 'a' stands already"),
    ],
)
def test_bad_captions_name_the_line(tmp_path, row, text):
    path = write(tmp_path / "c.jsonl", {"name": "a", "captions": ["x"]}, row)
    with pytest.raises(InputError, match=text):
        read_captions(path)


def test_no_captions(tmp_path):
    with pytest.raises(MissingFileError):
        read_captions(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no captions"):
        read_captions(write(tmp_path / "c.jsonl", ""))


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_mean_of_unit_vectors(batch_size):
    captions = {"b": ["a cup", "a cup", "sits"], "a": ["stands"]}
    found = encode_captions(captions, encode, batch_size=batch_size)
    units = torch.nn.functional.normalize(encode(["a cup", "a cup", "sits"]), dim=-1)
    np.testing.assert_allclose(found[0], units.mean(0), rtol=1e-6)
    assert found.shape == (2, 3)
    assert found.dtype == np.float32


def test_each_text_is_encoded_once():
    asked = []

    def remember(texts):
        asked.extend(texts)
        return encode(texts)

    encode_captions({"a": ["x", "y", "x"], "b": ["y"]}, remember)
    assert asked == ["x", "y"]


def test_file_holds_what_was_saved(tmp_path):
    for text, vision in ((ROWS, None), (None, ROWS), (ROWS, 2 * ROWS)):
        path = tmp_path / f"{text is None}{vision is None}.npz"
        save_concepts(Concepts(("a", "ö", "c"), text, vision), path)
        found = load_concepts(path)
        assert found.names == ("a", "ö", "c")
        for rows, read in ((text, found.text), (vision, found.vision)):
            assert (rows is None) == (read is None)
            assert rows is None or (rows == read).all()
    with pytest.raises(ExistingOutputError):
        save_concepts(Concepts(("a", "b", "c"), ROWS), path)
    with pytest.raises(InputError, match=r"\.npz"):
        save_concepts(Concepts(("a", "b", "c"), ROWS), tmp_path / "x.npy")


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(MissingFileError):
        load_concepts(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"bad.npz: not a readable"):
        load_concepts(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", x=ROWS)
    with pytest.raises(InputError, match=r"other.npz: holds \['x'\]"):
        load_concepts(tmp_path / "other.npz")


def test_names_to_rows():
    concepts = Concepts(("a", "b", "c"), ROWS)
    assert concepts.rows(["c", "a"]).tolist() == [2, 0]
    with pytest.raises(InputError, match=r"1 of 2 clips .*'x'"):
        concepts.rows(["a", "x"])


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (("a", "a", "c"), ROWS),
        (("a", "b"), ROWS),
        (("a", "b", "c"), ROWS.astype(np.float64)),
        (("a", "b", "c"), ROWS * np.nan),
        (("a", "b", "c"), ROWS * 0),
        (("a", "b", "c"), None),
    ],
)
def test_bad_concepts(names, rows):
    with pytest.raises(InputError, match="concepts"):
        Concepts(names, rows)


def test_image_vectors_of_a_video(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 48
        for shade in range(8):
            pixels = np.full((48, 48, 3), 20 * shade, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())
    sizes = ClipSizes(8, 32, None, 32, 16, 1, 16, 16, 1, 1)
    clip = build_clip(ClipConfig(architecture=None, sizes=sizes))
    found = encode_videos([Record("v", video=path)], clip, frames=4)
    assert found.shape == (1, 8)
    assert 0 < np.linalg.norm(found) <= 1 + 1e-6
    with pytest.raises(InputError, match="no video"):
        encode_videos([Record("w")], clip)
