"""adl-mini on disk."""

import hashlib
import json

import av
import numpy as np
import pytest

from ski_data.classes import read_classes
from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError
from ski_data.manifest import read_manifest
from ski_data.ntu.skeleton_file import read_skeleton
from ski_data.splits import read_split
from ski_data.synthetic import AdlMiniConfig, make_adl_mini
from ski_data.synthetic.captions import names_unseen
from ski_data.synthetic.classes import ACTIONS

TINY = AdlMiniConfig(
    subjects=3,
    repetitions=1,
    cameras=2,
    size=48,
    frames_min=8,
    frames_max=10,
    caption_frames=3,
    classes=(0, 7, 23),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_adl_mini(tmp_path_factory.mktemp("adl") / "data", TINY, workers=1)


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_bytes_from_any_number_of_processes(folder, tmp_path):
    again = make_adl_mini(tmp_path / "again", TINY, workers=2)
    assert digests(again) == digests(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_another_seed_gives_other_data(folder, tmp_path):
    config = AdlMiniConfig(**{**vars(TINY), "seed": 1, "subjects": 1, "classes": (0,)})
    other = digests(make_adl_mini(tmp_path / "other", config, workers=1))
    assert config.test_subjects == ()
    here = digests(folder)
    clips = [name for name in other if name.startswith(("videos", "skeletons"))]
    assert len(clips) == 4
    assert all(other[name] != here[name] for name in clips)


def test_videos_and_skeletons_have_the_same_frames(folder):
    records = read_manifest(folder / "manifest.jsonl")
    assert len(records) == TINY.clips == 18
    for record in records:
        raw = read_skeleton(record.skeleton)
        assert raw.joints.shape == (raw.frames, 25, 3)
        assert np.linalg.norm(raw.joints[0, 3] - raw.joints[0, 0]) > 0.4
        with av.open(str(record.video)) as video:
            stream = video.streams.video[0]
            assert (stream.codec_context.name, stream.width) == ("h264", 48)
            assert stream.codec_context.pix_fmt == "yuv420p"
            decoded = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(decoded) == raw.frames
        assert np.std(decoded) > 10


def test_manifests_classes_and_split(folder):
    seen = read_classes(folder / "classes_seen.csv")
    unseen = read_classes(folder / "classes_unseen.csv")
    assert seen.names + unseen.names == tuple(action.name for action in ACTIONS)
    train = read_manifest(folder / "train_seen.csv", seen)
    test = read_manifest(folder / "test_seen.csv", seen)
    novel = read_manifest(folder / "test_unseen.csv", unseen)
    assert {r.subject for r in train} == {1, 2}
    assert {r.subject for r in test} == {3}
    assert {r.label for r in train} == {0, 7}
    assert {r.label for r in novel} == {3}
    assert {r.subject for r in novel} == {1, 2, 3}
    split = read_split(folder / "split.json")
    meta = json.loads((folder / "meta.json").read_text())
    assert split.name == "adl-mini/20-5"
    assert meta["split"]["hash"] == split.hash
    assert meta["counts"]["train_seen"] == len(train) == 8
    assert meta["config_hash"] == TINY.hash
    assert "CC0" in meta["licence"]
    assert "CC0" in (folder / "README.md").read_text()


def test_captions_are_of_training_clips_of_seen_classes(folder):
    train = {f"videos/{r.video.name}" for r in read_manifest(folder / "train_seen.csv")}
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    assert {line["video"] for line in lines} == train
    assert all(line["captions"] and line["phrases"] for line in lines)
    assert not any(names_unseen(text) for line in lines for text in line["captions"])
    assert all(0 <= line["frame"] < TINY.frames_max for line in lines)


def test_a_complete_folder_is_reused_and_others_are_left_alone(folder, tmp_path):
    before = (folder / "meta.json").stat().st_mtime_ns
    assert make_adl_mini(folder, TINY) == folder
    assert (folder / "meta.json").stat().st_mtime_ns == before
    with pytest.raises(ExistingOutputError, match="another configuration"):
        make_adl_mini(folder, AdlMiniConfig(seed=5))
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ExistingOutputError, match=r"no meta\.json"):
        make_adl_mini(tmp_path, TINY)
    (tmp_path / "meta.json").write_text("[]")
    with pytest.raises(ExistingOutputError, match="not the description"):
        make_adl_mini(tmp_path, TINY)


def test_a_stopped_run_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_adl_mini(tmp_path / "data", TINY, workers=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"subjects": 0},
        {"cameras": 4},
        {"size": 113},
        {"frames_min": 30, "frames_max": 20},
        {"classes": (25,)},
        {"classes": ()},
    ],
)
def test_wrong_sizes_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)).split("_")[0]):
        AdlMiniConfig(**wrong)


def test_command_reuses_and_refuses(tmp_path, capsys, monkeypatch):
    import ski_data.synthetic.synthesize as command

    calls = []

    def fake(folder, config, *, workers, progress):
        calls.append(config)
        progress(config.clips, config.clips)
        return make_adl_mini(folder, TINY, workers=1)

    monkeypatch.setattr(command, "make_adl_mini", fake)
    out = str(tmp_path / "data")
    assert main(["synthesize", out, "--n_subjects", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "adl-mini"
    assert calls[0].subjects == 3
    monkeypatch.undo()
    assert main(["synthesize", out]) == 2
    assert "another configuration" in capsys.readouterr().err
    assert main(["synthesize", out, "--n_cameras", "9"]) == 2
    assert "cameras must be 1..3" in capsys.readouterr().err
