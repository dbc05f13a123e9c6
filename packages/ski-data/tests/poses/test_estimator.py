import numpy as np
import pytest

from ski_data.errors import InputError, MissingFileError
from ski_data.poses import estimator
from ski_data.poses.estimator import PoseError, PoseEstimator, find_python


def test_every_frame_gets_its_answer(python, write_levels, tmp_path, monkeypatch):
    monkeypatch.setattr(estimator, "_CHUNK", 3 * 96 * 128 * 3)  # three pictures at once
    video = write_levels(tmp_path / "a.mp4", [100, 0, 150, 200, 0, 250, 50])
    with PoseEstimator(python, people=2) as process:
        assert process.name == "fake 1"
        found = process.estimate(video)
    assert found.found.tolist() == [[True, False, True, True, False, True, True]] * 2
    assert (found.width, found.height) == (128, 96)
    assert found.image.shape == found.world.shape == (2, 7, 33, 3)
    np.testing.assert_allclose(found.image[0, 0, 0], [64, 0.2 * 96, 0.9], rtol=1e-5)
    np.testing.assert_allclose(
        255 * found.world[0, :, 0, 0], [100, 0, 150, 200, 0, 250, 50], atol=3
    )
    assert not found.image[:, 1].any()


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("dies", "no model in it"),
        ("lacks", r"mediapipe.*it must be an environment made by"),
        ("talks", "did not answer"),
    ],
)
def test_a_process_that_does_not_start(python, monkeypatch, mode, text):
    monkeypatch.setenv("FAKE_POSE", mode)
    with pytest.raises(PoseError, match=text), PoseEstimator(python):
        pass


def test_a_process_that_hangs_is_ended(python, write_levels, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_POSE", "hangs")
    video = write_levels(tmp_path / "a.mp4", [100, 100])
    with PoseEstimator(python) as process:
        monkeypatch.setattr(estimator, "_START_SECONDS", 0.2)
        monkeypatch.setattr(estimator, "_FRAME_SECONDS", 0.0)
        with pytest.raises(PoseError, match="no answer"):
            process.estimate(video)
    assert process._process.returncode is not None


def test_bad_videos_do_not_end_the_process(python, write_levels, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    with PoseEstimator(python) as process:
        with pytest.raises(InputError, match="bad"):
            process.estimate(tmp_path / "bad.mp4")
        with pytest.raises(MissingFileError):
            process.estimate(tmp_path / "gone.mp4")
        assert process.estimate(write_levels(tmp_path / "a.mp4", [100])).found.all()


def test_where_the_interpreter_is(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setenv("SKI_POSE_PYTHON", str(python))
    assert find_python() == python
    assert find_python(str(python)) == python
    with pytest.raises(PoseError, match=r"python .*gone: no such file"):
        find_python(str(tmp_path / "gone"))
    monkeypatch.setenv("SKI_POSE_PYTHON", str(tmp_path / "gone"))
    with pytest.raises(PoseError, match=r"SKI_POSE_PYTHON .*gone: no such file"):
        find_python()
    monkeypatch.delenv("SKI_POSE_PYTHON")
    monkeypatch.setattr(estimator.shutil, "which", lambda name: None)
    with pytest.raises(PoseError, match="hatch env create pose") as told:
        find_python()
    assert "\n" not in str(told.value)


def test_what_is_no_interpreter(tmp_path):
    (tmp_path / "python").touch()
    with pytest.raises(PoseError, match="cannot be run"), PoseEstimator(tmp_path / "python"):
        pass
    with pytest.raises(InputError, match="people"):
        PoseEstimator(tmp_path / "python", people=0)
