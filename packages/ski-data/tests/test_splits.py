import hashlib
import json
from importlib.resources import files

import pytest

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, InputError, MissingFileError, SkiDataError
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


def test_every_shared_split_is_known_class_by_class(shared):
    table = json.loads((shared / "data" / "zsl_splits.json").read_text("utf-8"))
    found = {}
    for name in split_names():
        dataset, _, short = name.partition("/")
        split = zero_shot_split(name)
        key = next(key for key in table[dataset] if key.replace("/", "-") == short)
        assert list(split.seen_actions) == table[dataset][key]["seen"]
        assert list(split.unseen_actions) == table[dataset][key]["unseen"]
        names = dataset_classes(dataset)
        for actions, classes in (
            (split.seen_actions, split.seen),
            (split.unseen_actions, split.unseen),
        ):
            assert classes.ids == tuple(names.ids[action - 1] for action in actions)
        found.setdefault(dataset, set()).add(key)
    assert found == {dataset: set(splits) for dataset, splits in table.items()}


HASHES = {
    "ntu60/55-5": "33c9e659603ee740",
    "ntu60/48-12": "5dfe1cbf907ddd41",
    "ntu60/40-20": "c0c2e81b16ace5db",
    "ntu60/30-30": "8b3951c2163feadd",
    "ntu60/smie-1": "f831f12f3b590ad2",
    "ntu60/smie-2": "fde5777fd6cb3263",
    "ntu60/smie-3": "139465ef9ed2517d",
    "ntu120/110-10": "a2283a0b6a49195b",
    "ntu120/96-24": "47c5267ecb0d8465",
    "ntu120/80-40": "cf14178b64ffa244",
    "ntu120/60-60": "8fd0de898e7edaff",
    "ntu120/smie-1": "238f6050ad4b60ed",
    "ntu120/smie-2": "52b433511aa76b0f",
    "ntu120/smie-3": "177f7a2b4361f81f",
    "pku-mmd/smie-1": "a92893bc8373937d",
    "pku-mmd/smie-2": "c525627752dfdbb9",
    "pku-mmd/smie-3": "6f0fab8167a6b75e",
    "pku-mmd/46-5": "a92893bc8373937d",
    "pku-mmd/39-12": "c31b3adb7edba476",
}


def test_hashes_of_published_splits_stay_what_results_carry():
    assert {name: zero_shot_split(name).hash[:16] for name in split_names()} == HASHES


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


def test_a_full_disk_leaves_no_split(tmp_path, full_disk):
    with full_disk(100), pytest.raises(SkiDataError, match=r"s\.json: cannot be written"):
        write_split(tmp_path / "s.json", zero_shot_split("ntu60/55-5"))
    assert not list(tmp_path.iterdir())


def test_unreadable_split_files(tmp_path):
    with pytest.raises(MissingFileError):
        read_split(tmp_path / "gone.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read_split(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not JSON"):
        read_split(tmp_path / "a.json")
