from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from students_of_every_kind import KINDS, of_kind

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.errors import CheckpointError
from ski_vlm import Recognizer, load
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


def test_lists_of_files_and_frames(folder, clip, names):
    recognizer = load(folder)
    frames = np.random.default_rng(1).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    videos = [clip, frames, str(clip)] * 4
    found = recognizer.predict(videos, names, top_k=2)
    assert [len(row) for row in found] == [2] * 12
    for row, video in zip(found, videos, strict=True):
        alone = recognizer.predict(video, names, top_k=2)
        assert [p.label for p in row] == [p.label for p in alone]
        np.testing.assert_allclose(
            [p.probability for p in row], [p.probability for p in alone], atol=1e-6
        )
    assert recognizer.predict([], names) == []
    with pytest.raises(MissingFileError):
        recognizer.predict([clip, "absent.mp4"], names)
    for wrong in (0, -1):
        with pytest.raises(InputError, match="top_k"):
            recognizer.predict(frames, names, top_k=wrong)
    with pytest.raises(InputError, match="list of names"):
        recognizer.predict(frames, "sit down")


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_many_are_as_one_each_in_order_with_errors_between(
    tmp_path, sizes, clip, names, kind, workers
):
    recognizer = Recognizer(of_kind(kind, sizes))
    damaged = tmp_path / "text.mp4"
    damaged.write_text("no video")
    frames = np.random.default_rng(1).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    videos = [clip, damaged, frames, tmp_path / "absent.mp4", clip]
    found = list(recognizer.predict_many(videos, names, batch_size=2, workers=workers))
    assert [r.video for r in found] == [str(v) for v in videos[:2]] + ["clip 2"] + [
        str(v) for v in videos[3:]
    ]
    for video, result in zip(videos, found, strict=True):
        if result.error is None:
            for ours, alone in zip(
                result.predictions, recognizer.predict(video, names), strict=True
            ):
                assert ours.label == alone.label
                assert ours.probability == pytest.approx(alone.probability, abs=1e-5)
    assert [r.error is not None for r in found] == [False, True, False, True, False]
    assert "text.mp4" in found[1].error


def test_wrong_settings_are_told_before_anything_is_read(folder, clip, names):
    recognizer = load(folder)
    for settings in ({"batch_size": 0}, {"workers": -1}, {"timeout": 0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            recognizer.predict_many([clip], names, **settings)


def test_class_texts_are_computed_once(folder, clip, names, monkeypatch):
    recognizer = load(folder)
    calls = []
    encode = recognizer.model.encode_classes
    monkeypatch.setattr(recognizer.model, "encode_classes", lambda n: calls.append(n) or encode(n))
    list(recognizer.predict_many([clip] * 4, names, batch_size=1, workers=0))
    recognizer.predict(clip, names)
    assert len(calls) == 1


def predicted(capsys, folder, *videos, classes="sit,clap", code=0, **options):
    more = [f"--{n}" if v is True else f"--{n}={v}" for n, v in options.items()]
    argv = ["predict", *map(str, videos), "--model", str(folder), "--classes", classes, *more]
    assert main(argv) == code
    return capsys.readouterr()


def test_command_prints_ranked_classes(folder, clip, capsys):
    row = json.loads(predicted(capsys, folder, clip, json=True).out)
    assert row["video"] == str(clip)
    assert {p["label"] for p in row["predictions"]} == {"sit", "clap"}
    table = predicted(capsys, folder, clip).out
    assert table.startswith(f"{clip}\n")
    assert "%  sit" in table


def test_whole_folders_go_on_after_a_file_that_cannot_be_read(folder, clip, tmp_path, capsys):
    (tmp_path / "videos" / "inner").mkdir(parents=True)
    (tmp_path / "videos" / "b.MP4").write_text("no video")
    for name in ("a.mp4", "inner/c.mp4"):
        (tmp_path / "videos" / name).write_bytes(clip.read_bytes())
    (tmp_path / "videos" / "notes.txt").write_text("no video, and not named as one")
    out = tmp_path / "rows.csv"
    told = predicted(
        capsys, folder, tmp_path / "videos", code=1, csv=True, out=out, top_k=1, workers=2
    )
    assert told.out == f"{out}\n"
    assert [line for line in told.err.splitlines() if "b.MP4" in line] == [told.err.splitlines()[0]]
    rows = list(csv.DictReader(out.open()))
    assert [Path(r["video"]).name for r in rows] == ["a.mp4", "b.MP4", "c.mp4"]
    assert [bool(r["error"]) for r in rows] == [False, True, False]
    assert predicted(capsys, folder, clip, code=2, csv=True, out=out).err.count("\n") == 1


def test_many_classes_and_any_script(folder, clip, tmp_path, capsys):
    names = ["喝水", "пить воду", "شرب الماء", *(f"action {i}" for i in range(997))]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    told = predicted(
        capsys, folder, clip, classes=str(tmp_path / "names.txt"), json=True, top_k=1000
    )
    assert {p["label"] for p in json.loads(told.out)["predictions"]} == set(names)
    assert "喝水" in told.out


@pytest.mark.parametrize("classes", [",", "a,a", "a,b,a", "./absent.txt", "a.mp4/"])
def test_unusable_class_lists(folder, clip, classes, capsys):
    told = predicted(capsys, folder, clip, classes=classes, code=2)
    assert told.out == ""
    assert told.err.count("\n") == 1


def test_bad_files_give_one_line_and_exit_2(folder, tmp_path, capsys):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder").mkdir()
    for name in ("absent.mp4", "empty.mp4", "text.mp4", "folder"):
        told = predicted(capsys, folder, tmp_path / name, code=2)
        assert told.out == ""
        assert name in told.err
        assert told.err.count("\n") == 1


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
