import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.video.people import colour_joints


@pytest.fixture
def colour(rng):
    return rng.uniform(100, 1000, (4, 25, 2)).round(2)


def test_scaled_to_the_video(tmp_path, rng, colour):
    write_skeleton(tmp_path / "a.skeleton", rng.standard_normal((4, 25, 3)), colour=colour)
    joints = colour_joints(tmp_path / "a.skeleton", 640, 360)
    assert joints.layout == "kinect25"
    np.testing.assert_allclose(joints.points, colour[None] / 3, rtol=1e-5)
    assert joints.known.all()
    assert joints.seen.shape == (1, 4, 25)
    own = colour_joints(tmp_path / "a.skeleton", 200, 200, colour_size=(1000, 1000))
    np.testing.assert_allclose(own.points, colour[None] / 5, rtol=1e-5)


def test_coordinates_that_are_no_numbers_are_unknown(tmp_path, rng, colour):
    colour[1, 3] = colour[2, :, 0] = 77777
    path = tmp_path / "a.skeleton"
    write_skeleton(path, rng.standard_normal((4, 25, 3)), colour=colour)
    lines = path.read_text().split("\n")
    for word in ("nan", "-inf"):
        for i, line in enumerate(lines):
            lines[i] = line.replace("77777", word, 1)
    path.write_text("\n".join(lines))
    joints = colour_joints(path, 1920, 1080)
    assert joints.known.tolist() == [[True, True, False, True]]
    assert not joints.seen[0, 1, 3]
    assert joints.seen.sum() == 3 * 25 - 1


def test_every_body_has_its_frames(tmp_path, rng, colour):
    paths = [tmp_path / f"{i}.skeleton" for i in range(2)]
    for i, path in enumerate(paths):
        write_skeleton(path, rng.standard_normal((4, 25, 3)), colour=colour + i, body_id=7 + i)
    one, two = (path.read_text().splitlines() for path in paths)
    body = [two[1 + 28 * t + 1 : 1 + 28 * t + 28] for t in range(4)]
    lines = one[:1]
    for t in range(4):  # the second body is in frames 1 and 3
        here = one[1 + 28 * t + 1 : 1 + 28 * t + 28]
        lines += ["2", *here, *body[t]] if t % 2 else ["1", *here]
    (tmp_path / "both.skeleton").write_text("\n".join(lines) + "\n")
    joints = colour_joints(tmp_path / "both.skeleton", 1920, 1080)
    assert joints.known.tolist() == [[True] * 4, [False, True, False, True]]
    np.testing.assert_allclose(joints.points[1, [1, 3]], (colour + 1)[[1, 3]], rtol=1e-5)


def test_files_that_do_not_go_with_the_video(tmp_path, rng, colour):
    write_skeleton(tmp_path / "a.skeleton", rng.standard_normal((4, 25, 3)), colour=colour)
    with pytest.raises(InputError, match=r"1920x1080 pixels, the video has 224x224.*colour_width"):
        colour_joints(tmp_path / "a.skeleton", 224, 224)
    with pytest.raises(MissingFileError):
        colour_joints(tmp_path / "b.skeleton", 1920, 1080)
