import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_people import kinds, make_store, person

from ski_data.check_skeletons import (
    LIMITS,
    body_facts,
    check_skeleton_store,
    joints_to_measure,
)
from ski_data.importer import import_skeletons
from ski_data.layouts import KINECT25, LAYOUTS, Validity
from ski_data.store import SkeletonStore, StoreError, StoreWriter

MEASURED = joints_to_measure(KINECT25, np.full(25, Validity.MEASURED))


def check_clips(tmp_path, clips, **options):
    return check_skeleton_store(make_store(tmp_path / "s", clips, **options))[0]


def test_a_good_store(tmp_path, rng):
    findings, table = check_skeleton_store(
        make_store(tmp_path / "s", [person(rng, bodies=1 + i % 2) for i in range(3)])
    )
    assert findings.found == []
    assert findings.counts["clips"] == 3
    assert findings.counts["frames"] == 18
    assert findings.counts["clips with two or more bodies"] == 1
    assert findings.counts["median extent in metres"] == pytest.approx(1.6, abs=0.01)
    assert findings.per_class == {"sit": 2, "stand": 1}
    assert [clip.name for clip in table.clips] == ["c0", "c1", "c2"]
    assert len({clip.content for clip in table.clips}) == 3


def test_scale_and_copies(tmp_path, rng):
    first = person(rng)
    findings = check_clips(tmp_path, [first, person(rng), first, first, person(rng) * 100])
    found = {finding.kind: str(finding) for finding in findings.of("problem")}
    assert set(found) == {"copies", "copies-other-label", "scale", "jumps"}
    assert "c2 = c0" in found["copies"]
    assert "c3 = c0" in found["copies-other-label"]
    assert "c4 160 m" in found["scale"]


@pytest.mark.parametrize(
    ("change", "kind", "level"),
    [
        (lambda clip: clip[:, :1].repeat(6, 1), "still", "problem"),
        (lambda clip: clip[:, :1], "one-frame", "remark"),
        (lambda clip: clip + np.arange(6)[:, None, None] * 1.1, "jumps", "problem"),
        (lambda clip: moved(clip, 9, 3, 2.5), "jumps", "problem"),
        (lambda clip: moved(clip, 9, 3, 0.7), "joint-jumps", "remark"),
        (lambda clip: moved(clip, 9, slice(3, None), 0.6), "bone-changes", "remark"),
        (lambda clip: moved(clip, 9, slice(3, None), 1.2), "stretches", "problem"),
        (lambda clip: clip * np.float32([1, -1, 1])[:, None, None, None], "axes", "problem"),
    ],
)
def test_bad_bodies(tmp_path, rng, change, kind, level):
    findings = check_clips(tmp_path, [np.float32(change(person(rng)))])
    assert kind in kinds(findings, level)


def moved(clip, joint, frames, metres):
    clip = clip.copy()
    clip[0, frames, joint] += metres
    return clip


def test_a_still_body_beside_one_that_moves(tmp_path, rng):
    clip = person(rng, bodies=2)
    clip[..., 1] = clip[:, :1, :, 1]
    findings = check_clips(tmp_path, [clip, person(rng)])
    assert kinds(findings) == set()
    assert kinds(findings, "remark") == {"still-body"}


def test_axes_are_told(tmp_path, rng):
    z_up = [person(rng)[[0, 2, 1]] for _ in range(3)]
    problem = next(f for f in check_clips(tmp_path, z_up).of("problem") if f.kind == "axes")
    assert "along z, not along y" in problem.text


def test_absent_joints_and_frames_are_left_out(tmp_path, rng):
    clip = person(rng, frames=8, bodies=2)
    clip[:, 3:5, :, 1] = 0
    codes = np.full((8, 25, 2), Validity.MEASURED, np.uint8)
    clip[:, 6, 9, 0] = 50
    codes[6, 9, 0] = Validity.ABSENT
    clip[:, :, 7] = 0
    codes[:, 7] = Validity.ABSENT
    store = make_store(tmp_path / "s", [person(rng), person(rng)])
    assert check_skeleton_store(store)[0].found == []
    with StoreWriter(tmp_path / "t", KINECT25) as writer:
        writer.add("a", clip, validity=codes, label=0, subject=1)
    assert check_skeleton_store(tmp_path / "t")[0].found == []


def test_damage(tmp_path, rng):
    folder = make_store(tmp_path / "s", [person(rng), person(rng)])
    joints = np.lib.format.open_memmap(folder / "joints.npy", mode="r+")
    joints[7, 3, 1] = np.nan
    joints.flush()
    findings, _ = check_skeleton_store(folder)
    assert kinds(findings) == {"checksum", "not-finite"}
    assert findings.of("problem")[1].clips == ("c1",)
    with pytest.raises(StoreError, match=r"clip c1 .*not finite"):
        SkeletonStore(folder).clip(1)
    (folder / "index.arrow").write_bytes(b"no index")
    findings, table = check_skeleton_store(folder)
    assert kinds(findings) == {"damaged"}
    assert table.clips == ()
    (folder / "meta.json").unlink()
    findings, _ = check_skeleton_store(folder)
    assert "meta.json is missing" in str(findings.of("problem")[0])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_has_bones_head_and_feet(layout):
    measured = joints_to_measure(layout, np.full(len(layout.joints), Validity.MEASURED))
    assert len(measured.child) == len(layout.joints) - 1
    assert measured.head is not None
    assert any(word in layout.joints[measured.head].lower() for word in ("head", "nose"))
    assert len(measured.feet) >= 2


def test_copied_joints_have_no_bones():
    validity = np.full(25, Validity.MEASURED)
    validity[[7, 21, 22]] = Validity.COPIED
    measured = joints_to_measure(KINECT25, validity)
    assert len(measured.child) == 24 - 3


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), x=st.floats(-5, 5), turn=st.floats(0, 6.28))
def test_measures_do_not_depend_on_where_one_stands_and_looks(seed, x, turn):
    rng = np.random.default_rng(seed)
    joints = person(rng)[..., 0].transpose(1, 2, 0)
    there = np.ones(joints.shape[:2], bool)
    turned = joints @ np.array(
        [[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]
    )
    one, two = (body_facts(j, there, MEASURED) for j in (joints, turned + np.array([x, 0, -x])))
    for name in ("joint_step", "body_step", "bone_change"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-4)
    assert one.up[1] == pytest.approx(two.up[1], abs=1e-4)


def test_limits_lie_apart():
    assert LIMITS["joint_step_remark_m"] < LIMITS["joint_step_problem_m"]
    assert LIMITS["bone_change_remark_m"] < LIMITS["bone_change_problem_m"]


@pytest.mark.parametrize(
    ("file", "mapping", "clips"),
    [
        ("ui_prmd/ui_prmd_kinect22.npz", "ui_prmd", 2000),
        ("hdm05_11/hdm05_11class_30fps.npz", "hdm05", 287),
        ("bandai_namco_motion/bandai_namco_motion1_30fps.npz", "bandai_namco_1", 174),
        ("bandai_namco_motion/bandai_namco_motion2_15fps.npz", "bandai_namco_2", 2902),
    ],
)
@pytest.mark.slow
def test_real_recordings_pass(shared, tmp_path, file, mapping, clips):
    import_skeletons(str(shared / "data" / file), str(tmp_path / "s"), mapping=mapping)
    findings, table = check_skeleton_store(tmp_path / "s")
    assert findings.of("problem") == []
    assert len(table.clips) == clips
