from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from students_of_every_kind import KINDS, of_kind
from tiny_videos import write_clips

from ski_data.video.decode import probe, read_all
from ski_skeleton.train import write_model
from ski_vlm.attention_command import as_seen
from ski_vlm.cli import main
from ski_vlm.predict import Recognizer


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips")) / "p1-kick.mp4"


def shown(folder, clip, out, *more, code=0, classes="喝水,bow,kick"):
    argv = ["attention", str(clip), "--model", str(folder), "--out", str(out)]
    assert main([*argv, "--classes", classes, *more]) == code


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_student(tmp_path, sizes, clip, kind):
    model = of_kind(kind, sizes)
    folder = write_model(tmp_path / "model", kind, model.config, model.state_dict(), {})
    out = tmp_path / "out"
    shown(folder, clip, out, "--target=喝水", "--average")
    wanted = {f"frame-{i:02d}.png" for i in range(4)}
    wanted |= {"sheet.png", "average.png", "overlay.mp4", "maps.npy", "attention.json"}
    assert {p.name for p in out.iterdir()} == wanted
    about = json.loads((out / "attention.json").read_text(encoding="utf-8"))
    assert about["target"] == "喝水"
    assert about["frames"] == [1, 3, 5, 7]
    maps = np.load(out / "maps.npy", allow_pickle=False)
    assert maps.shape == (4, 2, 2)
    picture = cv2.imread(str(out / "frame-00.png"))
    assert picture.shape == (320, 320, 3)
    info = probe(out / "overlay.mp4")
    assert (info.frames, info.height) == (4, 320)
    assert info.fps == pytest.approx(probe(clip).fps * 4 / 8)


def test_the_recognised_class_is_explained_by_default(tmp_path, folder, clip):
    shown(folder, clip, tmp_path / "out", "--opacity=0")
    about = json.loads((tmp_path / "out" / "attention.json").read_text(encoding="utf-8"))
    assert about["target"] == about["recognised"]
    assert about["probability"] >= 1 / 3
    assert not (tmp_path / "out" / "average.png").exists()


def test_pictures_show_what_the_model_sees(folder, student, clip):
    frames = np.repeat(np.repeat(read_all(clip), 2, 1), 3, 2)[:, :, 20:]
    large = as_seen(frames, 32, 48)
    seen = center = Recognizer(student).fitted(frames)
    assert center.shape[1:3] == (32, 32)
    small = as_seen(frames, 320, 320)
    assert small.shape[1:3] == (320, 320)
    assert large.shape[1:3] == (320, 320)
    again = np.stack([cv2.resize(f, (32, 32), interpolation=cv2.INTER_AREA) for f in small])
    assert abs(again.astype(int) - seen).mean() < 12


@pytest.mark.parametrize(
    ("video", "more", "word"),
    [
        ("absent.mp4", (), "absent.mp4"),
        ("text.mp4", (), "text.mp4"),
        (None, ("--target=fly",), "fly"),
        (None, ("--classes=a,a",), "twice"),
        (None, ("--classes=,",), "no class"),
        (None, ("--blocks=9",), "blocks"),
        (None, ("--low=99", "--high=5"), "--low"),
        (None, ("--opacity=2",), "--opacity"),
        (None, ("--model=absent",), "absent"),
    ],
)
def test_unusable_input(tmp_path, folder, clip, capsys, video, more, word):
    (tmp_path / "text.mp4").write_text("no video")
    shown(folder, clip if video is None else tmp_path / video, tmp_path / "out", *more, code=2)
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert word in told.err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path, folder, clip, capsys):
    (tmp_path / "out").mkdir()
    shown(folder, clip, tmp_path / "out", code=2)
    assert "already there" in capsys.readouterr().err
