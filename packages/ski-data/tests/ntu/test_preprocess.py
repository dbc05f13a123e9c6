"""Denoising, translation and archives, against the published scripts' answers and by hand."""

import dataclasses
import json

import numpy as np
import pytest

from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.ntu.align import align
from ski_data.ntu.archive import (
    PROTOCOLS,
    archive_rows,
    build_archive,
    get_protocol,
    pad,
    protocol_split,
    read_archive,
    write_archive,
)
from ski_data.ntu.denoise import DenoiseConfig, denoise, track_bodies
from ski_data.ntu.skeleton_file import RawSkeleton, read_skeleton


@pytest.fixture
def case(golden):
    description = json.loads((golden / "ntu_preprocess.json").read_text())["config"]
    with np.load(golden / "ntu_preprocess.npz") as arrays:
        expected = {name: arrays[name] for name in arrays.files}
    thresholds = DenoiseConfig(**description["thresholds"])
    rows = {
        name: denoise(read_skeleton(golden / "ntu_raw" / f"{name}.skeleton"), thresholds)
        for name in description["files"]
    }
    return rows, expected


@pytest.mark.golden
def test_denoised_rows_equal_the_published_scripts(case):
    rows, expected = case
    for name, got in rows.items():
        want = expected[f"out_denoised_{name}"]
        assert got.dtype == np.float32
        assert np.array_equal(got, want), name


@pytest.mark.golden
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_archives_equal_the_published_scripts(case, protocol):
    rows, expected = case
    arrays = build_archive({name: align(row) for name, row in rows.items()}, protocol)
    data, split = protocol.archive.split("_")
    for part in ("x_train", "y_train", "x_test", "y_test"):
        want = expected[f"out_{data.lower()}_{split}_{part}"]
        assert arrays[part].dtype == want.dtype
        assert arrays[part].shape == want.shape
        assert np.array_equal(arrays[part] == 0, want == 0)
        np.testing.assert_allclose(arrays[part], want, rtol=0, atol=1e-6)


def recording(tracks, rng):
    """A recording of bodies given as id -> list of frames."""
    rows = sorted((t, i) for i, frames in tracks.items() for t in frames)
    shape = np.array([0.3, 1.0, 0.1])  # taller than wide
    return RawSkeleton(
        path="made.skeleton",
        frames=max(t for t, _ in rows) + 1,
        frame=np.array([t for t, _ in rows]),
        body_id=np.array([i for _, i in rows]),
        joints=(rng.uniform(-1, 1, (len(rows), 25, 3)) * shape).astype(np.float32),
        tracking=np.full((len(rows), 25), 2, np.int8),
    )


def test_gaps_are_closed_and_empty_frames_dropped(rng):
    raw = recording({1: [3, 5, 9], 2: [5]}, rng)
    bodies, frames = track_bodies(raw)
    assert frames == 3
    assert [(b.start, b.end) for b in bodies] == [(0, 2), (1, 1)]


def test_bodies_of_few_frames_give_an_error_with_the_file(rng):
    raw = recording({1: range(11), 2: range(4, 9)}, rng)
    with pytest.raises(InputError, match=r"made\.skeleton.*11 frames"):
        denoise(raw)


def test_one_id_is_never_checked(rng):
    assert denoise(recording({1: [0, 1]}, rng)).shape == (2, 75)


def test_a_body_twice_in_a_frame_is_an_error(rng):
    raw = recording({1: [0, 0, 1], 2: [0]}, rng)
    with pytest.raises(InputError, match="twice in one frame"):
        denoise(raw)


def test_wide_body_is_dropped(rng):
    raw = recording({1: range(20), 2: range(20)}, rng)
    raw.joints[raw.body_id == 2] *= np.float32([9, 1, 1])
    rows = denoise(raw)
    assert np.array_equal(rows.reshape(-1, 25, 3), raw.joints[raw.body_id == 1])


def test_more_motion_comes_first(rng):
    raw = recording({1: range(20), 2: range(20)}, rng)
    raw.joints[raw.body_id == 2] *= 2
    rows = denoise(raw).reshape(20, 2, 25, 3)
    assert np.array_equal(rows[:, 0], raw.joints[raw.body_id == 2])
    assert np.array_equal(rows[:, 1], raw.joints[raw.body_id == 1])


def test_one_shared_frame_counts_as_no_overlap(rng):
    raw = recording({1: range(15), 2: range(14, 27)}, rng)
    raw.joints[raw.body_id == 1] *= 2
    rows = denoise(raw).reshape(27, 2, 25, 3)
    assert np.array_equal(rows[14, 0], raw.joints[raw.body_id == 2][0])
    assert not rows[:, 1].any()


def test_third_body_before_the_second_is_dropped(rng):
    raw = recording({1: range(60), 2: range(30, 50), 3: range(5, 20)}, rng)
    raw.joints[raw.body_id == 1] *= 4
    raw.joints[raw.body_id == 2] *= 2
    rows = denoise(raw).reshape(60, 2, 25, 3)
    assert not rows[:30, 1].any()
    assert np.array_equal(rows[30:50, 1], raw.joints[raw.body_id == 2])


@pytest.mark.parametrize(
    "wrong", [{"length": -1}, {"spread_xy": 0}, {"spread_rate": 0}, {"spread_rate": 1.5}]
)
def test_thresholds_are_checked(wrong):
    with pytest.raises(InputError, match="thresholds"):
        DenoiseConfig(**wrong)


def test_align_moves_the_first_spine_to_the_origin(rng):
    rows = rng.normal(size=(6, 150)).astype(np.float32)
    rows[0, :75] = 0
    rows[4, 75:] = 0
    moved = align(rows)
    assert np.array_equal(moved[1, 3:6], np.zeros(3))
    assert not moved[0, :75].any()
    assert not moved[4, 75:].any()
    np.testing.assert_allclose(moved[5], rows[5] - np.tile(rows[1, 3:6], 50), atol=1e-6)
    np.testing.assert_allclose(align(rows + 0), align(moved), atol=1e-6)


@pytest.mark.parametrize("rows", [np.zeros((4, 75)), np.zeros((4, 74)), np.zeros((0, 75))])
def test_align_refuses(rows):
    with pytest.raises(InputError, match="rec"):
        align(rows, "rec")


def test_protocol_names():
    assert get_protocol("NTU120_CS") is get_protocol("ntu120/xsub")
    assert len(get_protocol("ntu120/xsub").train) == 53
    assert len(get_protocol("ntu60/xsub").train) == 20
    with pytest.raises(InputError, match="NTU60_CV"):
        get_protocol("ntu60/xset")


def test_order_is_rule_then_name():
    names = ["S017C001P002R001A001", "S001C001P002R001A002", "S002C001P001R001A001"]
    train, test = protocol_split([*names, "S018C001P001R001A001"], PROTOCOLS["ntu60/xsub"])
    assert train == [names[2], names[1], names[0]]
    assert test == []


def test_pad_refuses_longer_rows():
    with pytest.raises(InputError, match="12 frames"):
        pad([np.ones((12, 75), np.float32)], 10, True)


def test_action_beyond_the_data_set_is_an_error():
    rows = {"S001C001P001R001A061": np.ones((2, 75), np.float32)}
    with pytest.raises(InputError, match="S001C001P001R001A061"):
        build_archive(rows, PROTOCOLS["ntu60/xsub"])


def test_archive_round_trip(tmp_path, rng):
    names = [f"S001C00{c}P00{p}R001A010" for c in (1, 2) for p in (1, 3)]
    rows = {name: rng.normal(size=(3, 75)).astype(np.float32) for name in names}
    path = tmp_path / "NTU60_CV.npz"
    arrays = build_archive(rows, PROTOCOLS["ntu60/xview"], frames=300)
    assert arrays["x_train"].shape == (2, 300, 150)
    write_archive(path, rows, PROTOCOLS["ntu60/xview"], 300)
    with np.load(path) as written:
        assert set(written.files) == set(arrays)
        assert all(np.array_equal(written[key], arrays[key]) for key in arrays)
    back = read_archive(path)
    assert back["train"].names == names[2:]
    assert back["test"].names == names[:2]
    assert back["train"].labels.tolist() == [9, 9]
    assert back["train"].classes == 60
    for part in ("train", "test"):
        assert np.array_equal(
            np.stack(list(archive_rows(path, part, len(arrays[f"x_{part}"])))), arrays[f"x_{part}"]
        )
    with pytest.raises(ExistingOutputError):
        write_archive(path, rows, PROTOCOLS["ntu60/xview"])
    with pytest.raises(InputError, match="none of the 4 recordings"):
        write_archive(
            tmp_path / "b.npz", rows, dataclasses.replace(PROTOCOLS["ntu60/xsub"], setups=0)
        )
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_archive_errors(tmp_path):
    with pytest.raises(MissingFileError):
        read_archive(tmp_path / "gone.npz")
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match=r"bad\.npz"):
        read_archive(bad)
    np.savez(tmp_path / "half.npz", x_train=np.zeros((1, 2, 150)))
    with pytest.raises(InputError, match="y_train is missing"):
        read_archive(tmp_path / "half.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_train": np.zeros((2, 60))}, "one-hot"),
        ({"y_train": np.zeros(2)}, "one-hot"),
        ({"files_train": np.array([b"a"])}, "1 names in files_train for 2 rows"),
        ({"y_train": np.array([[{}]], object)}, "never loaded"),
    ],
)
def test_wrong_labels(tmp_path, change, words):
    good = {f"{a}_{part}": np.eye(2) for a in "xy" for part in ("train", "test")}
    np.savez(tmp_path / "a.npz", **(good | change))
    with pytest.raises(InputError, match=words):
        read_archive(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "x",
    [np.zeros((2, 3, 149)), np.zeros((2, 3, 150), int), np.asfortranarray(np.ones((2, 3, 150)))],
)
def test_wrong_coordinates(tmp_path, x):
    np.savez(tmp_path / "a.npz", x_train=x)
    with pytest.raises(InputError, match="x_train must be floats"):
        next(archive_rows(tmp_path / "a.npz", "train", 2))
