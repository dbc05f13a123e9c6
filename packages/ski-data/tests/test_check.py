import json

import numpy as np
import pytest

from ski_data.check import check, check_manifest, check_store
from ski_data.classes import ClassSet
from ski_data.cli import main
from ski_data.errors import MissingFileError
from ski_data.layouts import KINECT25
from ski_data.store import SkeletonStore, StoreError, StoreWriter


def person(rng):
    return rng.uniform(-0.8, 0.8, size=(3, 5, 25, 1)).astype(np.float32)


def make_store(folder, clips):
    with StoreWriter(folder, KINECT25, classes=ClassSet.from_names(["sit", "stand"])) as writer:
        for i, clip in enumerate(clips):
            writer.add(f"c{i}", clip, label=i % 2, subject=1)
    return folder


def test_a_good_store(tmp_path, rng):
    folder = make_store(tmp_path / "s", [person(rng) for _ in range(3)])
    findings = check_store(folder)
    assert findings.problems == []
    assert findings.counts["clips"] == 3
    assert findings.counts["frames"] == 15
    assert findings.per_class == {"sit": 2, "stand": 1}


def test_scale_and_copies_are_found(tmp_path, rng):
    first = person(rng)
    folder = make_store(tmp_path / "s", [first, first, person(rng) * 100])
    one, two = check_store(folder).problems
    assert "same coordinates twice: c1 = c0" in one
    assert "units" in two
    assert "c2" in two


def test_damage_is_found(tmp_path, rng):
    folder = make_store(tmp_path / "s", [person(rng), person(rng)])
    joints = np.lib.format.open_memmap(folder / "joints.npy", mode="r+")
    joints[7, 3, 1] = np.nan
    joints.flush()
    checksum, numbers = check_store(folder).problems
    assert "checksum" in checksum
    assert "not finite numbers: c1" in numbers
    with pytest.raises(StoreError, match=r"clip c1 .*not finite"):
        SkeletonStore(folder).clip(1)


def test_manifest_files_and_classes(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "b.mp4").write_bytes(b"")
    (tmp_path / "list.csv").write_text("a.mp4,0\nb.mp4,0\nc.mp4,0\n")
    findings = check_manifest(tmp_path / "list.csv", ClassSet.from_names(["sit", "stand"]))
    missing, empty, absent = findings.problems
    assert "missing" in missing
    assert "c.mp4" in missing
    assert "empty" in empty
    assert "b.mp4" in empty
    assert "without a clip: stand" in absent
    assert findings.counts["clips"] == 3


def test_command_line(tmp_path, rng, capsys):
    good = make_store(tmp_path / "good", [person(rng)])
    bad = make_store(tmp_path / "bad", [person(rng) * 1000])
    assert main(["check", str(good)]) == 0
    assert "no problems" in capsys.readouterr().out
    assert check(str(bad), json=True) == 1
    assert json.loads(capsys.readouterr().out)["problems"]
    assert main(["check", str(tmp_path / "gone")]) == 2
    err = capsys.readouterr().err
    assert "no such store or manifest" in err
    assert "Traceback" not in err
    with pytest.raises(MissingFileError):
        check(str(tmp_path / "gone"))
