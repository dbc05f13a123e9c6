from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.manifest import Record, write_manifest
from ski_data.synthetic import AdlMiniConfig, make_adl_mini
from ski_data.video.decode import probe, read_all
from ski_data.video.people import ImageJoints
from ski_lvlm.cli import main
from ski_lvlm.curation.crop import crop_frames, crop_videos, frame_boxes
from ski_lvlm.curation.errors import CurationError


def joints(points):
    points = np.asarray(points, np.float32)
    seen = np.isfinite(points).all(-1)
    return ImageJoints("kinect25", points, seen.any(-1), seen)


def test_box_has_64_pixels_more_than_all_bodies():
    points = np.full((2, 1, 3, 2), np.nan)
    points[0, 0, :2] = [[300, 200], [340, 260]]
    points[1, 0, 0] = [500, 400]
    assert frame_boxes(joints(points), 640, 480).tolist() == [[268, 168, 532, 432]]


def test_box_stays_in_the_picture_and_a_frame_without_body_takes_the_nearest():
    points = np.full((1, 4, 2, 2), np.nan)
    points[0, 1] = [[2, 3], [630, 470]]
    points[0, 3] = [[100, 100], [200, 200]]
    boxes = frame_boxes(joints(points), 640, 480).tolist()
    assert boxes[0] == boxes[1] == boxes[2] == [0, 0, 640, 480]
    assert boxes[3] == [68, 68, 232, 232]


@given(
    st.lists(st.tuples(st.floats(-50, 700), st.floats(-50, 500)), min_size=2, max_size=6),
    st.integers(0, 200),
)
def test_boxes_are_never_empty_and_hold_the_joints(places, slack):
    points = np.array(places, np.float32)[None, None]
    inside = [p for p in points[0, 0] if (p >= 0).all() and p[0] <= 640 and p[1] <= 480]
    if not inside:
        with pytest.raises(CurationError, match="no body"):
            frame_boxes(joints(points), 640, 480, slack)
        return
    x0, y0, x1, y1 = frame_boxes(joints(points), 640, 480, slack)[0]
    assert 0 <= x0 < x1 <= 640
    assert 0 <= y0 < y1 <= 480
    assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in inside)


def test_crops_are_squeezed():
    frames = np.zeros((2, 40, 60, 3), np.uint8)
    frames[:, 10:20, 30:50] = 255
    made = crop_frames(frames, np.array([[30, 10, 50, 20], [0, 0, 10, 10]]), 32)
    assert made.shape == (2, 32, 32, 3)
    assert (made[0] == 255).all()
    assert (made[1] == 0).all()


def test_negative_slack():
    with pytest.raises(CurationError, match="slack"):
        frame_boxes(joints(np.ones((1, 1, 1, 2))), 8, 8, -1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "data"
    config = AdlMiniConfig(
        subjects=2,
        repetitions=1,
        cameras=1,
        frames_min=8,
        frames_max=8,
        caption_frames=2,
        classes=(0, 1),
    )
    make_adl_mini(folder, config)
    return folder


def test_videos_are_cropped_once_and_others_skipped(clips, tmp_path, capsys):
    rows = [json.loads(line) for line in (clips / "manifest.jsonl").read_text().splitlines()][:2]
    records = [
        Record(rows[0]["name"], clips / rows[0]["video"], clips / rows[0]["skeleton"]),
        Record("alone", clips / rows[1]["video"], None),
    ]
    done, skipped = crop_videos(records, tmp_path / "crops", colour_size=(112, 112))
    made = tmp_path / "crops" / f"{rows[0]['name']}.mp4"
    assert (done, skipped) == (1, ["alone"])
    assert read_all(made).shape == (probe(records[0].video).frames, 224, 224, 3)
    before = made.stat().st_mtime_ns
    manifest = tmp_path / "manifest.jsonl"
    write_manifest(manifest, records)
    arguments = ["--colour_width", "112", "--colour_height", "112"]
    assert main(["curate-crop", str(manifest), str(tmp_path / "crops"), *arguments]) == 0
    assert "1 clips, 1 skipped" in capsys.readouterr().out
    assert made.stat().st_mtime_ns == before


def test_no_skeleton_at_all(tmp_path):
    with pytest.raises(CurationError, match="no clip has a video and a skeleton"):
        crop_videos([Record("a", tmp_path / "a.mp4", None)], tmp_path / "out")
    assert not (tmp_path / "out").exists()
