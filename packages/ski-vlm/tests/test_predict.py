from __future__ import annotations

import json
import subprocess
import sys

import av
import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.errors import CheckpointError
from ski_vlm import load
from ski_vlm.cli import main
from ski_vlm.predict import read_class_names


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        for _ in range(6):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_file_and_frames(folder, clip, names):
    recognizer = load(folder)
    ranked = recognizer.predict(clip, names)
    assert {p.label for p in ranked} == set(names)
    assert sum(p.probability for p in ranked) == pytest.approx(1)
    assert [p.probability for p in ranked] == sorted((p.probability for p in ranked), reverse=True)
    assert len(recognizer.predict(clip, names, top_k=2)) == 2


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_any_length_of_clip(folder, names, length):
    frames = np.random.default_rng(1).integers(0, 256, (length, 64, 40, 3), dtype=np.uint8)
    assert len(load(folder).predict(frames, names)) == 3


def test_order_of_classes_does_not_matter(folder, clip, names):
    recognizer = load(folder)
    one, two = recognizer.predict(clip, names), recognizer.predict(clip, names[::-1])
    assert [p.label for p in one] == [p.label for p in two]


@pytest.mark.parametrize(
    ("video", "classes", "word"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), ["a"], "frames"),
        (np.zeros((3, 8, 8), np.uint8), ["a"], "frames"),
        (np.zeros((3, 8, 8, 3), np.float32), ["a"], "uint8"),
        (np.zeros((3, 8, 8, 3), np.uint8), [], "no class"),
        (np.zeros((3, 8, 8, 3), np.uint8), ["a", " "], "empty"),
        (np.zeros((3, 8, 8, 3), np.uint8), ["a", "a"], "twice"),
    ],
)
def test_unusable_input(folder, video, classes, word):
    with pytest.raises(InputError, match=word):
        load(folder).predict(video, classes)


def test_class_lists(tmp_path):
    assert read_class_names("sit down, stand up") == ["sit down", "stand up"]
    (tmp_path / "names.txt").write_text("sit down\n\nstand up\n")
    assert read_class_names(str(tmp_path / "names.txt")) == ["sit down", "stand up"]
    (tmp_path / "names.csv").write_text("id,name\n0,sit down\n1,stand up\n")
    assert read_class_names(str(tmp_path / "names.csv")) == ["sit down", "stand up"]
    with pytest.raises(MissingFileError, match=r"absent\.txt"):
        read_class_names(str(tmp_path / "absent.txt"))


def test_command_prints_ranked_classes(folder, clip, capsys):
    argv = ["predict", str(clip), "--model", str(folder), "--classes", "sit,clap"]
    assert main([*argv, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["video"] == str(clip)
    assert {p["label"] for p in row["predictions"]} == {"sit", "clap"}


def test_bad_files_give_one_line_and_exit_2(folder, tmp_path, capsys):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("absent.mp4", "empty.mp4", "text.mp4"):
        argv = ["predict", str(tmp_path / name), "--model", str(folder), "--classes", "a,b"]
        assert main(argv) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert name in captured.err
        assert captured.err.count("\n") == 1


def test_damaged_model_is_named(folder, clip, names):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        load(folder)


def test_prediction_imports_no_skeleton_encoder(folder, clip):
    code = (
        "import sys, ski_vlm; "
        f"print(ski_vlm.load({str(folder)!r}).predict({str(clip)!r}, ['a', 'b'])); "
        "assert 'ski_skeleton.hyperformer' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
