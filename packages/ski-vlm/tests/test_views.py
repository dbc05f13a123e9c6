from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_videos import plain_recipe, write_clips

from ski_data.config import from_plain
from ski_data.errors import InputError
from ski_data.manifest import Record
from ski_data.synthetic.dataset import encode
from ski_data.video.decode import probe, read_frames
from ski_data.video.sampling import test_indices
from ski_data.video.transforms import VideoTransformConfig, resize_short_side
from ski_vlm.data import open_clips
from ski_vlm.errors import ConfigError
from ski_vlm.evaluation import UNSEEN, VIDEOS, Answerer, predict_clips
from ski_vlm.recipe import VideoRecipe
from ski_vlm.students import build_student
from ski_vlm.views import ViewedClips, Views, averaged

CONFIG = VideoTransformConfig(size=32, short_side=36)


@pytest.fixture
def record(tmp_path):
    """Forty frames, twice as wide as high."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 6, 12, 3), dtype=np.uint8)
    encode(tmp_path / "wide.mp4", noise.repeat(8, 1).repeat(8, 2))
    return Record("wide", video=tmp_path / "wide.mp4", label=2)


def viewed(record, **views):
    config = Views(**views)
    return ViewedClips([record], None, frames=4, config=CONFIG, views=config)[0]


def test_left_right_and_middle_of_the_longer_side(record):
    sample = viewed(record, spatial=3)
    assert sample["video"].shape == (3, 4, 32, 32, 3)
    assert (sample["index"], sample["label"]) == (0, 2)
    frames = read_frames(record.video, test_indices(probe(record.video).frames, 4))
    wide = resize_short_side(frames, 32)
    assert wide.shape == (4, 32, 64, 3)
    for view, left in zip(sample["video"], (0, 32, 16), strict=True):
        assert np.array_equal(view, wide[:, :, left : left + 32])


def test_top_bottom_and_middle_of_a_high_video(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 6, 3), dtype=np.uint8)
    encode(tmp_path / "high.mp4", noise.repeat(8, 1).repeat(8, 2))
    sample = viewed(Record("high", video=tmp_path / "high.mp4"), spatial=3)
    high = resize_short_side(read_frames(tmp_path / "high.mp4", [1, 3, 5, 7]), 32)
    for view, top in zip(sample["video"], (0, 32, 16), strict=True):
        assert np.array_equal(view, high[:, top : top + 32])
    assert sample["label"] == -1


def test_clips_in_time_are_even_and_share_no_frame(record):
    whole = viewed(record, temporal=4)["video"]
    assert whole.shape == (4, 4, 32, 32, 3)
    many = viewed(record, temporal=4, spatial=3)["video"]
    assert many.shape == (12, 4, 32, 32, 3)
    flat = whole.reshape(16, -1)
    assert len(np.unique(flat, axis=0)) == 16


def test_drawn_clips_are_the_same_in_each_test(record):
    one, two = (viewed(record, temporal=3, drawn=True)["video"] for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, viewed(record, temporal=3)["video"])


def test_probabilities_are_averaged():
    video = torch.rand(2, 5, 1, 1, 1, 3)
    found = averaged(lambda b, _: 9 * b["video"].flatten(1), {"video": video}, ["a", "b", "c"])
    wanted = (9 * video.flatten(2)).softmax(-1).mean(1)
    torch.testing.assert_close(found.exp(), wanted)


@pytest.mark.parametrize(
    "wrong", [{"temporal": 0}, {"spatial": 2}, {"drawn": True}, {"spatial": 3, "drawn": True}]
)
def test_unusable_settings(wrong):
    with pytest.raises(ConfigError, match="views"):
        Views(**wrong)


def test_a_clip_without_a_video_is_told():
    with pytest.raises(InputError, match="nothing names no video"):
        viewed(Record("nothing"), temporal=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def test_one_view_is_as_before_and_several_are_their_mean(clips):
    recipe = from_plain(VideoRecipe, plain_recipe(clips), "recipe")
    found, student = open_clips(recipe.data), build_student(recipe.student).eval()
    way = Answerer("video", VIDEOS, lambda b, n: student(student.normalise(b["video"]), n).logits)

    def asked(views):
        device = torch.device("cpu")
        return predict_clips(recipe, found, way, UNSEEN, size=32, device=device, views=views)

    device = torch.device("cpu")
    before = predict_clips(recipe, found, way, UNSEEN, size=32, device=device)
    one = asked(Views())
    assert np.array_equal(one.logits, before.logits)
    assert "views" not in one.meta
    several = asked(Views(temporal=2, spatial=3))
    assert several.meta["views"] == "2 clips x 3 crops"
    assert several.names == one.names
    np.testing.assert_allclose(np.exp(several.logits).sum(1), 1, rtol=1e-5)
    # frames are square: three crops are one, and two clips hold the even and the odd frames
    source = ViewedClips(
        found.test_unseen,
        None,
        frames=8,
        config=CONFIG,
        views=Views(spatial=3),
    )
    video = torch.from_numpy(np.stack([source[i]["video"][0] for i in range(len(source))]))
    with torch.inference_mode():
        parts = [
            student(student.normalise(video[:, first::2]), several.classes).logits.softmax(-1)
            for first in (0, 1)
        ]
    np.testing.assert_allclose(np.exp(several.logits), (sum(parts) / 2).numpy(), atol=1e-5)
