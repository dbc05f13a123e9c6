import shutil

import numpy as np
import pytest

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.ntu.prepare import archive, prepare, prepare_store
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.skeleton import valid_frames
from ski_data.store import SkeletonStore


@pytest.fixture
def raw(tmp_path, rng):
    folder = tmp_path / "raw"
    (folder / "part").mkdir(parents=True)
    for name in ("S001C001P001R001A003", "part/S001C002P003R001A002", "S020C001P045R001A070"):
        write_skeleton(folder / f"{name}.skeleton", rng.normal(size=(4, 25, 3)))
    return folder


def test_store_holds_every_recording(raw, tmp_path):
    prepare(str(raw), str(tmp_path / "store"), workers=1)
    store = SkeletonStore(tmp_path / "store")
    assert store.names == ["S001C001P001R001A003", "S001C002P003R001A002"]
    assert store.index["label"].tolist() == [2, 1]
    assert store.index["camera"].tolist() == [1, 2]
    assert store.classes.names[2] == "brushing teeth"
    clip = store.clip(0)
    assert clip.shape == (3, 4, 25, 2)
    assert not clip[..., 1].any()
    assert not clip[:, 0, 1, 0].any()
    assert valid_frames(clip) == 4


def test_ntu120_repeats_the_only_body(raw, tmp_path):
    prepare(str(raw), str(tmp_path / "store"), dataset="ntu120", workers=1)
    store = SkeletonStore(tmp_path / "store")
    assert len(store) == 3
    clip = store.clip("S020C001P045R001A070")
    assert np.array_equal(clip[..., 0], clip[..., 1])


@pytest.mark.parametrize(("dataset", "split"), [("ntu60", "CS"), ("ntu120", "CSub")])
def test_archive_from_store_equals_the_published_scripts(golden, tmp_path, dataset, split):
    prepare(str(golden / "ntu_raw"), str(tmp_path / "store"), dataset=dataset, workers=1)
    archive(str(tmp_path / "store"), str(tmp_path / "a.npz"), f"{dataset}/xsub")
    with np.load(tmp_path / "a.npz") as archived:
        arrays = {name: archived[name] for name in archived.files}
    with np.load(golden / "ntu_preprocess.npz") as expected:
        for part in ("x_train", "x_test", "y_train", "y_test"):
            assert np.array_equal(arrays[part], expected[f"out_{dataset}_{split}_{part}"])


def test_listed_recordings_are_left_out(raw, tmp_path):
    listed = tmp_path / "missing.txt"
    listed.write_text("S001C001P001R001A003\n")
    prepare(str(raw), str(tmp_path / "store"), workers=1, missing=str(listed))
    assert SkeletonStore(tmp_path / "store").names == ["S001C002P003R001A002"]


def test_ntus_own_list_is_the_default(raw, tmp_path):
    (raw / "S001C002P005R002A008.skeleton").write_text("0\n")
    prepare(str(raw), str(tmp_path / "store"), workers=1)
    assert len(SkeletonStore(tmp_path / "store")) == 2


def test_a_bad_file_leaves_nothing_behind(raw, tmp_path):
    bad = raw / "S001C001P001R001A009.skeleton"
    bad.write_text("3\n1\n")
    with pytest.raises(InputError, match=r"S001C001P001R001A009\.skeleton, line 2"):
        prepare(str(raw), str(tmp_path / "store"), workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_errors(raw, tmp_path):
    out = str(tmp_path / "store")
    with pytest.raises(MissingFileError, match="gone"):
        prepare(str(tmp_path / "gone"), out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.skeleton files"):
        prepare(str(tmp_path / "empty"), out)
    with pytest.raises(InputError, match="ntu60, ntu120, other"):
        prepare(str(raw), out, dataset="ntu")
    shutil.copy(raw / "S001C001P001R001A003.skeleton", raw / "part")
    with pytest.raises(InputError, match="keep one"):
        prepare(str(raw), out)
    (tmp_path / "store").mkdir()
    (raw / "part" / "S001C001P001R001A003.skeleton").unlink()
    with pytest.raises(ExistingOutputError):
        prepare(str(raw), out)


def test_other_recordings_have_no_missing_list(raw, tmp_path, rng):
    write_skeleton(raw / "S001C002P005R002A008.skeleton", rng.normal(size=(4, 25, 3)))
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n" + "".join(f"{i},action {i}\n" for i in range(70)))
    prepare(str(raw), str(tmp_path / "s"), dataset="other", classes=str(labels), workers=1)
    store = SkeletonStore(tmp_path / "s")
    assert len(store) == 4
    assert store.classes.names[69] == "action 69"
    prepare_store(raw, tmp_path / "t", workers=1)
    assert SkeletonStore(tmp_path / "t").classes is None


def test_actions_beyond_the_classes(raw, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,name\n0,drink\n1,eat\n")
    with pytest.raises(InputError, match=r"A003\.skeleton: action 3 .*1\.\.2"):
        prepare(str(raw), str(tmp_path / "s"), classes=str(labels))


@pytest.mark.slow
def test_processes_give_the_same_store(tmp_path, rng):
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(1, 41):
        write_skeleton(raw / f"S001C001P001R001A{i:03d}.skeleton", rng.normal(size=(3, 25, 3)))
    for workers in (1, 2):
        prepare(str(raw), str(tmp_path / str(workers)), workers=workers)
    one, two = (SkeletonStore(tmp_path / str(workers)) for workers in (1, 2))
    assert one.sha256 == two.sha256
