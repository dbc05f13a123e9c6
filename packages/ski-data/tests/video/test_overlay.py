from __future__ import annotations

import cv2
import numpy as np
import pytest

from ski_data.errors import ExistingOutputError, InputError
from ski_data.video.decode import probe, read_all
from ski_data.video.overlay import clipped_heat, contact_sheet, lay_over, write_mp4, write_png

RNG = np.random.default_rng(0)


def frames(count=3, height=40, width=60):
    return RNG.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_few_large_values_do_not_darken_the_rest():
    maps = RNG.random((4, 10, 10))
    maps[0, 0, 0] = 1000
    heat = clipped_heat(maps, 5, 95)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, 1)
    assert 0.4 < heat.mean() < 0.6
    assert (clipped_heat(np.ones((2, 3, 3))) == 0).all()


def test_no_heat_leaves_frames_as_they_are_and_most_is_red():
    clip, heat = frames(), np.zeros((3, 4, 6), np.float32)
    np.testing.assert_array_equal(lay_over(clip, heat), clip)
    red = lay_over(clip, heat + 1, 1.0)
    assert (red[..., 0] >= 250).all()
    assert (red[..., 1:] < 6).all()
    blue = lay_over(np.full_like(clip, 128), heat + 0.1, 0.6)
    assert (blue[..., 2] > blue[..., 0]).all()


def test_heat_lies_where_it_belongs():
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 0, 3] = 1
    out = lay_over(np.zeros((1, 64, 64, 3), np.uint8), heat)
    assert out[0, :16, 48:].max() > 60
    assert out[0, 32:].max() < 10
    assert out[0, :, :32].max() < 10


def test_sheet():
    sheet = contact_sheet([frames(10), frames(10)])
    assert sheet.shape == (4 * 44 + 4, 8 * 64 + 4, 3)
    assert (sheet[:4] == 255).all()
    with pytest.raises(InputError):
        contact_sheet([frames(2), frames(3)])


def test_files(tmp_path):
    clip = np.repeat(frames(1), 5, 0) // 64 * 64
    path = tmp_path / "画.png"
    write_png(path, clip[0])
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(found, clip[0])
    with pytest.raises(ExistingOutputError):
        write_png(path, clip[0])
    smooth = cv2.GaussianBlur(frames(1, 41, 61)[0], (0, 0), 8)[None].repeat(5, 0)
    write_mp4(tmp_path / "a.mp4", smooth, 2.5)
    info = probe(tmp_path / "a.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (5, 40, 60, 2.5)
    again = read_all(tmp_path / "a.mp4")
    assert abs(again.astype(int) - smooth[:, :40, :60]).mean() < 8


@pytest.mark.parametrize(
    "call",
    [
        lambda _: clipped_heat(np.full((1, 2, 2), np.nan)),
        lambda _: clipped_heat(np.ones((2, 2))),
        lambda _: clipped_heat(np.ones((1, 2, 2)), 90, 10),
        lambda _: lay_over(frames(2), np.ones((3, 2, 2), np.float32)),
        lambda _: lay_over(frames(1), np.ones((1, 2, 2), np.float32), 1.5),
        lambda folder: write_mp4(folder / "a.mp4", frames(1, 1, 1), 5),
        lambda folder: write_mp4(folder / "a.mp4", frames(1), 0),
    ],
)
def test_unusable(tmp_path, call):
    with pytest.raises(InputError):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []
