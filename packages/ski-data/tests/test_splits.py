import hashlib
import json
from importlib.resources import files

import pytest

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.splits import (
    ZeroShotSplit,
    dataset_classes,
    read_split,
    split_names,
    write_split,
    zero_shot_split,
)

UNSEEN = {
    "ntu60/55-5": (11, 12, 20, 27, 57),
    "ntu60/48-12": (4, 6, 10, 13, 16, 41, 43, 48, 52, 57, 59, 60),
    "ntu120/110-10": (5, 14, 38, 44, 50, 66, 89, 96, 100, 107),
}
SIZES = {"ntu60": 60, "ntu120": 120, "pku-mmd": 51}


@pytest.mark.parametrize("name", split_names())
def test_splits_partition_their_classes(name):
    split = zero_shot_split(name)
    size = SIZES[name.split("/")[0]]
    assert sorted(split.seen_actions + split.unseen_actions) == list(range(1, size + 1))
    assert len(split.hash) == 64


@pytest.mark.parametrize(("name", "actions"), UNSEEN.items())
def test_published_unseen_actions(name, actions):
    split = zero_shot_split(name)
    assert split.unseen_actions == actions
    assert split.unseen.ids == tuple(f"A{action:03d}" for action in actions)


def test_official_names_are_those_of_the_label_files():
    assert zero_shot_split("ntu60/48-12").unseen.names[9] == "touch person's pocket"
    assert len(zero_shot_split("ntu120/96-24").seen) == 96
    folder = files("ski_data") / "resources" / "splits"
    for name in ("55-5", "48-12", "110-10", "96-24"):
        data = "ntu60" if name in ("55-5", "48-12") else "ntu120"
        split = zero_shot_split(f"{data}/{name}")
        for part, actions in (("base", split.seen_actions), ("novel", split.unseen_actions)):
            lines = (folder / f"zsl_{name}_{part}_action_ids.csv").read_text("utf-8").splitlines()
            listed = [int(line.split(",")[1][1:]) for line in lines[1:]]
            assert tuple(listed) == actions


def test_resources_are_byte_for_byte(shared):
    folder = files("ski_data") / "resources"
    for path in sorted((shared / "data" / "splits").iterdir()):
        assert (folder / "splits" / path.name).read_bytes() == path.read_bytes()
    for name in ("zsl_splits.json", "ntu120_actions.csv", "ntu_missing_skeletons.txt"):
        assert (folder / name).read_bytes() == (shared / "data" / name).read_bytes()


def test_missing_list_has_the_published_counts():
    names = (files("ski_data") / "resources" / "ntu_missing_skeletons.txt").read_text().split()
    assert len(names) == len(set(names)) == 535
    assert sum(int(name[1:4]) <= 17 for name in names) == 302


def test_hashes_differ_and_stay():
    hashes = {name: zero_shot_split(name).hash for name in split_names()}
    assert hashes["pku-mmd/46-5"] == hashes["pku-mmd/smie-1"]
    assert len(set(hashes.values())) == len(hashes) - 1
    split = zero_shot_split("ntu60/55-5")
    content = [
        [[a, n] for a, n in zip(actions, classes.names, strict=True)]
        for actions, classes in (
            (split.seen_actions, split.seen),
            (split.unseen_actions, split.unseen),
        )
    ]
    text = json.dumps(content, separators=(",", ":"))
    assert split.hash == hashlib.sha256(text.encode()).hexdigest()


def test_unknown_names_list_the_known():
    for wrong in ("ntu60/50-10", "55-5", "ucf/1"):
        with pytest.raises(InputError, match=r"ntu60/55-5.*pku-mmd/39-12"):
            zero_shot_split(wrong)
    with pytest.raises(InputError, match="pku-mmd"):
        dataset_classes("ucf")


def test_own_split_round_trip(tmp_path):
    split = ZeroShotSplit(
        "adl/2-1", ClassSet(("c", "a"), ("see", "wave")), ClassSet(("b",), ("clap",)), (3, 1), (2,)
    )
    path = tmp_path / "split.json"
    write_split(path, split)
    assert read_split(path) == split
    assert read_split(path).hash == split.hash
    with pytest.raises(ExistingOutputError):
        write_split(path, split)
    other = ZeroShotSplit("x", split.seen, split.unseen, (4, 1), (2,))
    with pytest.raises(InputError, match="does not cover"):
        write_split(tmp_path / "other.json", other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seen": ["a", "z"]}, r"\['z'\]"),
        ({"seen": ["a", "b"]}, "twice"),
        ({"seen": []}, "no classes"),
        ({"classes": {"a": "x", "b": "x", "c": "y"}}, "'x' twice"),
        ({"classes": ["a"]}, "exactly the keys"),
        ({"extra": 1}, "exactly the keys"),
        ({"seen": [["a"]]}, "split.json"),
    ],
)
def test_bad_split_files(tmp_path, change, words):
    path = tmp_path / "split.json"
    good = {"name": "n", "classes": {"a": "x", "b": "y", "c": "z"}, "seen": ["a"], "unseen": ["b"]}
    path.write_text(json.dumps(good | change))
    with pytest.raises(InputError, match=words) as caught:
        read_split(path)
    assert "split.json" in str(caught.value)


def test_unreadable_split_files(tmp_path):
    with pytest.raises(MissingFileError):
        read_split(tmp_path / "gone.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_split(tmp_path / "a.json")
