import numpy as np
import pytest

from ski_data import cli
from ski_data.layouts import KINECT25
from ski_data.manifest import read_manifest
from ski_data.store import StoreWriter

NAMES = ["S001C001P001R001A001", "S001C002P003R002A012", "S017C003P007R001A060"]


@pytest.fixture
def store(tmp_path):
    with StoreWriter(tmp_path / "ntu60" / "skeletons", KINECT25) as writer:
        for name in NAMES:
            clip = np.random.default_rng(0).normal(size=(3, 4, 25, 1)).astype(np.float32)
            writer.add(name, clip)
    return tmp_path / "ntu60" / "skeletons"


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def listed(store, videos, out, capsys):
    code = cli.main(["list-videos", str(store), str(videos), str(out)])
    return code, capsys.readouterr()


def test_videos_are_listed_with_labels_people_and_skeletons(tmp_path, store, capsys, caplog):
    raw = tmp_path / "raw"
    touch(raw / "nturgb+d_rgb_s001", *(f"{name}_rgb.avi" for name in NAMES[:2]))
    touch(raw, "S001C001P001R001A099_rgb.avi", f"{NAMES[0]}.skeleton", "readme.txt")
    out = tmp_path / "ntu60" / "manifest.jsonl"
    code, said = listed(store, raw, out, capsys)
    assert code == 0
    assert "2 videos of 3 clips; 1 other videos left out" in said.out
    assert "1 of 3 clips have no video: S017C003P007R001A060" in caplog.text
    first, second = read_manifest(out)
    assert (first.name, first.label, first.subject, first.camera) == (NAMES[0], 0, 1, 1)
    assert first.video == raw / "nturgb+d_rgb_s001" / f"{NAMES[0]}_rgb.avi"
    assert first.skeleton == raw / f"{NAMES[0]}.skeleton"
    assert (second.label, second.replication, second.skeleton) == (11, 2, None)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([f"a/{NAMES[0]}_rgb.avi", f"b/{NAMES[0]}_rgb.avi"], "the same clip is at"),
        (["holiday_rgb.mp4"], "not an NTU RGB+D name"),
        (["S001C001P001R001A099_rgb.avi"], "none of the 3 clips"),
        ([], "unpack the archives"),
    ],
)
def test_what_cannot_be_listed_is_an_error(tmp_path, store, capsys, files, told):
    raw = tmp_path / "raw"
    raw.mkdir()
    for file in files:
        touch((raw / file).parent, (raw / file).name)
    code, said = listed(store, raw, tmp_path / "out.jsonl", capsys)
    assert code == 2
    assert told in said.err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path, store, capsys):
    code, said = listed(store, tmp_path / "nowhere", tmp_path / "out.jsonl", capsys)
    assert code == 2
    assert "no such folder" in said.err
