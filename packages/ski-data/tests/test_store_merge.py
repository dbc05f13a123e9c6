import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.classes import ClassSet
from ski_data.cli import main
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.layouts import KINECT22, KINECT25, Validity
from ski_data.store import SkeletonStore, StoreError, StoreWriter
from ski_data.store_merge import merge, unite


def make(folder, prefix, count, *, classes=None, validity=None, own=False, seed=0, **options):
    rng = np.random.default_rng(seed)
    layout = options.pop("layout", KINECT25)
    fields = options.pop("fields", {"split": "x"})
    with StoreWriter(folder, layout, classes=classes, validity=validity, **options) as writer:
        for i in range(count):
            frames, bodies = int(rng.integers(1, 6)), int(rng.integers(1, writer.bodies + 1))
            clip = rng.normal(size=(3, frames, len(layout.joints), bodies)).astype(np.float32)
            codes = rng.integers(0, 4, clip.shape[1:], dtype=np.uint8) if own else None
            label = i % (2 if classes is None else len(classes)) if i else -1
            writer.add(f"{prefix}{i}", clip, validity=codes, label=label, **fields)
    return str(folder)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_every_clip_is_there_as_it_was(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("m")
    default = [Validity.COPIED] * 5 + [Validity.MEASURED] * 20
    stores = [
        make(folder / f"s{i}", f"c{i}-", n, own=own, validity=default if copied else None, seed=i)
        for i, (n, own, copied) in enumerate(parts)
    ]
    merge(str(folder / "out"), stores)
    merged = SkeletonStore(folder / "out")
    merged.verify()
    opened = [SkeletonStore(store) for store in stores]
    assert merged.names == [name for store in opened for name in store.names]
    for store in opened:
        for name in store.names:
            assert np.array_equal(merged.clip(name), store.clip(name))
            assert np.array_equal(merged.validity(name), store.validity(name))
            for key in ("label", "frames", "bodies", "split"):
                assert merged.index[key][merged.row(name)] == store.index[key][store.row(name)]


def test_appending_clip_by_clip_or_by_store_is_the_same(tmp_path):
    one, two = make(tmp_path / "a", "a", 3), make(tmp_path / "b", "b", 2, own=True)
    merge(str(tmp_path / "merged"), [one, two])
    with StoreWriter(tmp_path / "added", KINECT25) as writer:
        for store in map(SkeletonStore, (one, two)):
            for i, name in enumerate(store.names):
                bodies = store.index["bodies"][i]
                writer.add(
                    name,
                    store.clip(i)[..., :bodies],
                    validity=store.validity(i)[..., :bodies],
                    label=int(store.index["label"][i]),
                    split="x",
                )
    files = [
        {p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("merged", "added")
    ]
    assert files[0] == files[1]


def test_classes_are_united_by_name(tmp_path):
    one = make(tmp_path / "a", "a", 3, classes=ClassSet.from_names(["sit", "stand"]))
    two = make(tmp_path / "b", "b", 4, classes=ClassSet.from_names(["walk", "sit", "run"]))
    merge(str(tmp_path / "out"), [one, two])
    merged = SkeletonStore(tmp_path / "out")
    assert merged.classes == ClassSet.from_names(["sit", "stand", "walk", "run"])
    assert merged.index["label"].tolist() == [-1, 1, 0, -1, 0, 3, 2]


def test_class_ids_stay(tmp_path):
    one = ClassSet(("A001", "A002"), ("sit", "stand"))
    two = ClassSet(("A007", "A001"), ("walk", "sit"))
    united = unite([one, two], ["a", "b"])
    assert united.ids == ("A001", "A002", "A007")
    assert united.names == ("sit", "stand", "walk")
    assert unite([None, None], ["a", "b"]) is None
    with pytest.raises(InputError, match=r"b: class 'sit' is B1, elsewhere A001"):
        unite([one, ClassSet(("B1",), ("sit",))], ["a", "b"])
    with pytest.raises(InputError, match=r"A001 means 'sit' and 'run'"):
        unite([one, ClassSet(("A001",), ("run",))], ["a", "b"])
    with pytest.raises(InputError, match=r"b: it is not known what its labels mean"):
        unite([one, None], ["a", "b"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": KINECT22}, "layout is kinect22, not kinect25"),
        ({"bodies": 1}, "bodies is 1, not 2"),
        ({"single_body": "repeat"}, "single_body is repeat, not zero"),
        ({"fields": {"style": 1}}, "fields differ from earlier clips: split, style"),
    ],
)
def test_stores_that_do_not_fit(tmp_path, options, words):
    one, two = make(tmp_path / "a", "a", 2), make(tmp_path / "b", "b", 2, **options)
    with pytest.raises(InputError, match=words) as caught:
        merge(str(tmp_path / "new" / "out"), [one, two])
    assert two in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_name_in_two_stores_names_both(tmp_path):
    one, two = make(tmp_path / "a", "a", 2), make(tmp_path / "b", "a", 1)
    with pytest.raises(InputError, match=r"clip a0 is in .*/a and in .*/b"):
        merge(str(tmp_path / "out"), [one, two])


def test_damage_is_not_copied(tmp_path):
    one, two = make(tmp_path / "a", "a", 2), make(tmp_path / "b", "b", 2)
    data = bytearray((tmp_path / "b" / "joints.npy").read_bytes())
    data[-2] ^= 1
    (tmp_path / "b" / "joints.npy").write_bytes(data)
    with pytest.raises(StoreError, match=r"/b: the content does not fit its checksum"):
        merge(str(tmp_path / "out"), [one, two])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_extend_checks_too(tmp_path):
    store = SkeletonStore(make(tmp_path / "a", "a", 2))
    few = ClassSet.from_names(["only"])
    with (
        pytest.raises(InputError, match=r"label 1 is out of range; allowed: 0\.\.0"),
        StoreWriter(tmp_path / "s", KINECT25, classes=few) as writer,
    ):
        writer.extend(store)
    with StoreWriter(tmp_path / "s", KINECT25) as writer:
        writer.extend(store)
        with pytest.raises(InputError, match="a0: the name is used twice"):
            writer.extend(store)
    with (
        pytest.raises(InputError, match="a job"),
        StoreWriter(tmp_path / "t", KINECT25, job="x") as writer,
    ):
        writer.extend(store)


def test_command_line(tmp_path, capsys):
    one, two = make(tmp_path / "a", "a", 2), make(tmp_path / "b", "b", 3)
    assert main(["merge", str(tmp_path / "out"), one, two]) == 0
    assert len(SkeletonStore(tmp_path / "out")) == 5
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["clips"] == 5
    with pytest.raises(ExistingOutputError):
        merge(str(tmp_path / "out"), [one])
    with pytest.raises(MissingFileError, match="gone"):
        merge(str(tmp_path / "out2"), [one, str(tmp_path / "gone")])
    with pytest.raises(InputError, match="at least one"):
        merge(str(tmp_path / "out2"), [])
