import json
import shutil

import pytest
from made_up_people import kinds, make_store, person

from ski_data.check import check
from ski_data.check_videos import check_manifest, check_video_store, check_videos
from ski_data.classes import ClassSet
from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.manifest import Record
from ski_data.video.cache import write_video_store


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    import av
    import numpy as np

    folder = tmp_path_factory.mktemp("films")
    for i, frames in enumerate((8, 12, 9)):
        with av.open(str(folder / f"f{i}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for t in range(frames):
                image = np.full((48, 64, 3), 20 * t + i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return folder


def test_manifest_files_and_classes(tmp_path, films):
    shutil.copy(films / "f0.mp4", tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"")
    (tmp_path / "d.mp4").write_bytes(b"no video at all")
    (tmp_path / "list.csv").write_text("a.mp4,0\nb.mp4,0\nc.mp4,0\nd.mp4,0\n")
    findings, table = check_manifest(tmp_path / "list.csv", ClassSet.from_names(["sit", "stand"]))
    found = {finding.kind: str(finding) for finding in findings.of("problem")}
    assert set(found) == {"video-missing", "video-empty", "video-unreadable", "empty-class"}
    assert "c.mp4" in found["video-missing"]
    assert "b.mp4" in found["video-empty"]
    assert "d.mp4: not a readable video" in found["video-unreadable"]
    assert "stand" in found["empty-class"]
    assert findings.counts["clips"] == 4
    assert findings.counts["video frames"] == 8
    assert len(table.clips) == 4


def test_a_manifest_that_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4,0\nb.mp4,nine\n")
    findings, table = check_manifest(tmp_path / "list.csv")
    assert kinds(findings) == {"manifest"}
    assert "line 2" in str(findings.of("problem")[0])
    assert table.clips == ()


def test_folders_of_videos(tmp_path, films):
    shutil.copytree(films, tmp_path / "in" / "x")
    assert check_videos(tmp_path / "in")[0].found == []
    shutil.copy(films / "f1.mp4", tmp_path / "in" / "same.mp4")
    whole = (films / "f2.mp4").read_bytes()
    (tmp_path / "in" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "none.avi").touch()
    (tmp_path / "in" / "gone.mkv").symlink_to(tmp_path / "nowhere.mkv")
    findings, table = check_videos(tmp_path / "in", decode=True)
    assert kinds(findings) == {"copies", "video-unreadable", "video-empty", "video-missing"}
    assert "x/f1.mp4 = " in str(next(f for f in findings.found if f.kind == "copies"))
    assert findings.counts["video files"] == 6
    assert findings.counts["video frames"] == 8 + 12 + 12 + 9
    assert findings.counts["pictures"] == "64x48 (4)"
    assert len(table.clips) == 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"neither a store nor a folder with videos"):
        check_videos(tmp_path / "empty")


def test_frames_that_cannot_be_decoded(tmp_path, films):
    data = bytearray((films / "f2.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 400] = bytes(400)
    (tmp_path / "bad.mp4").write_bytes(data)
    assert kinds(check_videos(tmp_path / "bad.mp4", decode=True)[0]) == {"video-unreadable"}


def test_video_stores(tmp_path, films):
    records = [Record(f"v{i}", video=films / f"f{i % 2}.mp4", label=i % 2) for i in range(3)]
    write_video_store(tmp_path / "s", records, short_side=16, progress=False)
    findings, table = check_video_store(tmp_path / "s")
    assert kinds(findings) == {"copies"}
    assert findings.of("problem")[0].clips == ("v2 = v0",)
    assert findings.counts["frames"] == 8 + 12 + 8
    assert [clip.label for clip in table.clips] == [0, 1, 0]
    data = bytearray((tmp_path / "s" / "frames.bin").read_bytes())
    data[5] ^= 255
    (tmp_path / "s" / "frames.bin").write_bytes(data)
    assert kinds(check_video_store(tmp_path / "s")[0]) == {"damaged"}


def test_command_line(tmp_path, rng, capsys):
    good = make_store(tmp_path / "good", [person(rng)])
    bad = make_store(tmp_path / "bad", [person(rng) * 1000])
    assert main(["check", str(good)]) == 0
    out = capsys.readouterr().out
    assert "no problems" in out
    assert "class sit" in out
    report = tmp_path / "report.json"
    assert check([str(good), str(bad)], json=True, report=str(report)) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(report.read_text())
    assert printed["problems"] == len(printed["results"][1]["problems"]) > 0
    assert printed["results"][0]["problems"] == []
    assert printed["results"][1]["problems"][0]["clips"] == ["c0 1.6e+03 m"]
    assert printed["limits"]["tallest_person_m"] == 3.0
    with pytest.raises(ExistingOutputError, match=r"report\.json"):
        check([str(good)], report=str(report))
    with pytest.raises(MissingFileError, match="no such folder to write"):
        check([str(good)], report=str(tmp_path / "gone" / "report.json"))
    assert main(["check", str(tmp_path / "gone")]) == 2
    err = capsys.readouterr().err
    assert "no such store, manifest, folder or video" in err
    assert "Traceback" not in err
    with pytest.raises(MissingFileError):
        check([str(tmp_path / "gone")])
    with pytest.raises(InputError, match="unknown split"):
        check([str(good)], split="by-hand")


def test_two_sides(tmp_path, rng, capsys):
    clips = [person(rng) for _ in range(4)]
    fields = [{"subject": i, "split": "train" if i < 2 else "test"} for i in range(4)]
    one = make_store(tmp_path / "a", clips[:2], fields=fields[:2])
    two = make_store(tmp_path / "b", clips[2:], fields=fields[2:], names=["d0", "d1"])
    leak = make_store(tmp_path / "c", clips[1:3], fields=fields[1:3], names=["e0", "e1"])
    whole = make_store(tmp_path / "w", clips, fields=fields)
    assert check([str(one)], against=str(two), split="cross-subject") == 0
    assert check([str(whole)], split="cross-subject") == 0
    assert check([str(one), str(two)], against=str(leak), split="cross-subject", json=True) == 1
    text = capsys.readouterr().out
    results = json.loads(text[text.index("{") :])["results"]
    assert [result["kind"] for result in results] == ["skeleton store"] * 3 + ["split"] * 2
    assert [[p["clips"] for p in result["problems"]] for result in results[3:]] == [
        [["e0 = c1"], ["1"]],
        [["e1 = d0"], ["2"]],
    ]


def test_the_same_file_on_both_sides(tmp_path, films, capsys):
    for side, files in (("train", (0, 1)), ("test", (1, 2))):
        (tmp_path / side).mkdir()
        for i in files:
            shutil.copy(films / f"f{i}.mp4", tmp_path / side / f"{side}{i}.mp4")
        rows = "".join(f"{side}/{side}{i}.mp4,{i}\n" for i in files)
        (tmp_path / f"{side}.csv").write_text(rows)
    for one, two in (("train.csv", "test.csv"), ("train", "test"), ("train", "test.csv")):
        assert check([str(tmp_path / one)], against=str(tmp_path / two), json=True) == 1
        problems = json.loads(capsys.readouterr().out)["results"][-1]["problems"]
        assert [problem["kind"] for problem in problems] == ["content-on-both-sides"]
        assert "test1" in problems[0]["clips"][0]
