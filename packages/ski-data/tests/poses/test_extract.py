import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, SkiDataError
from ski_data.layouts import Validity, convert, joint_validity
from ski_data.manifest import Record
from ski_data.poses import extract
from ski_data.poses.estimator import PoseError, PoseEstimator, find_python
from ski_data.poses.extract import extract_poses
from ski_data.poses.keypoints import PoseStore
from ski_data.store import SkeletonStore, StoreError
from ski_data.video.decode import probe


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def records(write_levels, tmp_path):
    levels = {"a": [100, 0, 150], "empty": [0, 0, 0, 0], "b": [200] * 5}
    return [
        Record(name, video=write_levels(tmp_path / f"{name}.mp4", values), label=i, subject=7)
        for i, (name, values) in enumerate(levels.items())
    ]


def test_a_store_of_joints_and_landmarks(python, records, tmp_path):
    nobody = extract_poses(tmp_path / "out", records, python=python, progress=False)
    assert nobody == ["empty"]
    poses = PoseStore(tmp_path / "out")
    poses.verify()
    store = SkeletonStore(tmp_path / "out")
    assert store.names == ["a", "b"]
    assert store.layout.name == "kinect25"
    assert store.index["label"].tolist() == [0, 2]
    assert store.index["subject"].tolist() == [7, 7]
    assert store.index["empty_frames"].tolist() == [1, 0]
    with PoseEstimator(python) as process:
        found = process.estimate(records[0].video)
    joints, _ = convert(found.world[0], "mediapipe33")
    joints[1] = 0
    np.testing.assert_allclose(store.clip("a")[..., 0], joints.transpose(2, 0, 1), atol=1e-6)
    assert store.clip("a")[1, 0, 0, 0] < 0  # y points up, MediaPipe's down
    np.testing.assert_array_equal(poses.keypoints("a"), found.image)
    validity = store.validity("a")[..., 0]
    assert not validity[1].any()
    legs = [store.layout.joints.index(name) for name in ("left_knee", "right_foot")]
    arms = [store.layout.joints.index(name) for name in ("left_elbow", "head")]
    assert (validity[0, legs] == Validity.ABSENT).all()  # their visibility is low
    np.testing.assert_array_equal(validity[0, arms], joint_validity("mediapipe33")[arms])
    seen = poses.joints("a", 128, 96, 3)
    assert seen.known.tolist() == [[True, False, True]]
    assert np.isnan(seen.points[0, 1]).all()


def test_workers_and_people(python, records, tmp_path):
    extract_poses(tmp_path / "one", records, python=python, people=2, progress=False)
    extract_poses(tmp_path / "two", records, python=python, people=2, workers=2, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert SkeletonStore(tmp_path / "one").clip("b").shape[-1] == 2
    assert PoseStore(tmp_path / "one").people == 2


def test_other_videos_than_the_poses(python, records, tmp_path):
    extract_poses(tmp_path / "out", records, python=python, progress=False)
    poses = PoseStore(tmp_path / "out")
    with pytest.raises(InputError, match=r"3 frames of 128x96 pixels, its video has 3 of 64x48"):
        poses.joints("a", 64, 48, 3)
    with pytest.raises(InputError, match="no poses of clip empty"):
        poses.joints("empty", 128, 96, 4)


def test_a_failed_run_goes_on(python, records, tmp_path, monkeypatch):
    extract_poses(tmp_path / "whole", records, python=python, progress=False)
    monkeypatch.setenv("FAKE_POSE", "stops")
    with pytest.raises(PoseError, match="out of memory"):
        extract_poses(tmp_path / "out", records, python=python, progress=False)
    assert not (tmp_path / "out").exists()
    monkeypatch.delenv("FAKE_POSE")
    made = []
    estimate = PoseEstimator.estimate
    monkeypatch.setattr(
        PoseEstimator, "estimate", lambda self, video: made.append(video) or estimate(self, video)
    )
    extract_poses(tmp_path / "out", records, python=python, progress=False)
    assert [path.name for path in made] == ["empty.mp4", "b.mp4"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from ski_data.manifest import Record
from ski_data.poses import estimator, extract
estimator.WORKER = Path(sys.argv[1])
left = [int(sys.argv[2])]
def audit(frame, event, argument):
    if "poses" in frame.f_code.co_filename and "extract.py" in frame.f_code.co_filename:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return audit
import threading
threading.settrace(audit)
sys.settrace(audit)
records = [Record(Path(path).stem, video=Path(path), label=i, subject=7)
           for i, path in enumerate(sys.argv[4:])]
extract.extract_poses(sys.argv[3], records, python=Path(sys.executable), progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_goes_on(python, records, tmp_path, rng):
    extract_poses(tmp_path / "whole", records, python=python, progress=False)
    fake = str(Path(__file__).with_name("fake_worker.py"))
    videos = [str(record.video) for record in records]
    for events in rng.integers(60, 230, 2):
        out = tmp_path / f"out{events}"
        command = [sys.executable, "-c", KILLED, fake, str(events), str(out), *videos]
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
        extract_poses(out, records, python=python, progress=False)
        assert contents(out) == contents(tmp_path / "whole")


def test_bad_videos_are_listed_together(python, records, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    bad = [records[0]] + [Record(n, video=tmp_path / f"{n}.mp4") for n in ("bad", "gone")]
    with pytest.raises(InputError, match=r"2 of 3 videos.*bad\.mp4.*gone\.mp4"):
        extract_poses(tmp_path / "out", bad, python=python, progress=False)
    assert not (tmp_path / "out").exists()


def test_nobody_at_all(python, records, tmp_path):
    with pytest.raises(InputError, match="nobody was found in any"):
        extract_poses(tmp_path / "out", records[1:2], python=python, progress=False)
    assert not list(tmp_path.glob("*out*"))


def test_bad_requests(python, records, tmp_path):
    with pytest.raises(InputError, match="visibility"):
        extract_poses(tmp_path / "out", records, python=python, visibility=2)
    with pytest.raises(InputError, match="used twice"):
        extract_poses(tmp_path / "out", records[:1] * 2, python=python)
    with pytest.raises(InputError, match="has no video"):
        extract_poses(tmp_path / "out", [Record("a")], python=python)
    with pytest.raises(ExistingOutputError):
        extract_poses(tmp_path, records, python=python)


def test_a_full_disk(python, records, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(extract.np, "save", full)
        with pytest.raises(SkiDataError, match=r"No space left on device.*goes on"):
            extract_poses(tmp_path / "out", records, python=python, progress=False)
    assert not (tmp_path / "out").exists()
    extract_poses(tmp_path / "out", records, python=python, progress=False)
    PoseStore(tmp_path / "out").verify()


def test_damaged_stores(python, records, tmp_path):
    extract_poses(tmp_path / "out", records, python=python, progress=False)
    keypoints = tmp_path / "out" / "keypoints2d.npy"
    data = keypoints.read_bytes()
    keypoints.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match="checksum"):
        PoseStore(tmp_path / "out").verify()
    keypoints.write_bytes(data[:200])
    with pytest.raises(StoreError, match="keypoints2d"):
        PoseStore(tmp_path / "out")


def test_command(python, records, tmp_path, capsys):
    videos = [str(record.video) for record in records]
    out = tmp_path / "out"
    arguments = ["poses", *videos, str(out), "--python", str(python), "--layout", "mediapipe33"]
    assert main(arguments) == 1
    told = capsys.readouterr().out
    assert "2 clips, 8 frames, nobody found in 1 of them" in told
    assert "left out: empty" in told
    assert SkeletonStore(out).layout.name == "mediapipe33"
    manifest = tmp_path / "list.csv"
    manifest.write_text("a.mp4,0\n")
    assert main(["poses", str(manifest), str(tmp_path / "o"), "--python", str(python)]) == 0
    assert main(["poses", str(manifest), str(tmp_path / "p"), "--python", "gone"]) == 2
    assert "gone: no such file" in capsys.readouterr().err


def test_no_pictures_on_disk(python, records, tmp_path, monkeypatch):
    """Whatever the process writes while it estimates is smaller than a single picture's part."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    sizes = []
    estimate = PoseEstimator.estimate

    def looked(self, video):
        found = estimate(self, video)
        sizes.extend(p.stat().st_size for p in tmp_path.rglob(".out.partial/**/*") if p.is_file())
        return found

    monkeypatch.setattr(PoseEstimator, "estimate", looked)
    extract_poses(tmp_path / "out", records, python=python, progress=False)
    assert not list(temporary.iterdir())
    assert max(sizes) < 96 * 128 * 3 < probe(records[0].video).frames * 96 * 128 * 3


@pytest.mark.slow
def test_against_reference_poses(shared, tmp_path):
    """MediaPipe's own joints on 29 clips, estimated elsewhere by the same version."""
    try:
        python = find_python()
    except PoseError as error:
        pytest.skip(str(error))
    folder = shared / "data" / "rgb_pose_clips"
    reference = np.load(folder / "poses_mediapipe33.npz", allow_pickle=False)
    names = sorted(key.removesuffix("__world") for key in reference if key.endswith("__world"))
    files = {
        path.relative_to(folder).with_suffix("").as_posix().replace("/", "__"): path
        for path in folder.rglob("*.m*")
    }
    records = [Record(name, video=files[name]) for name in names]
    out = tmp_path / "out"
    workers = min(2, os.cpu_count() or 1)
    assert extract_poses(out, records, python=python, layout="mediapipe33", workers=workers) == []
    store, errors = SkeletonStore(out), []
    for name in names:
        joints = store.clip(name)[..., 0].transpose(1, 2, 0)
        truth = reference[f"{name}__world"].astype(np.float32) * np.float32([1, -1, -1])
        detected = reference[f"{name}__detected"]
        assert (joints.any(axis=(1, 2)) == detected).mean() > 0.95
        centred = [each - each[:, 23:25].mean(axis=1, keepdims=True) for each in (joints, truth)]
        distance = np.linalg.norm(centred[0] - centred[1], axis=-1)
        errors.append(1000 * distance[detected & joints.any(axis=(1, 2))].mean())
    assert np.median(errors) < 1  # millimetres; the reference is rounded to float16
    # Where colours are tagged BT.709 the reference's decoder took them for BT.601.
    assert max(errors) < 40
