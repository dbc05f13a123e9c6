import numpy as np
import pytest

from ski_data.errors import InputError
from ski_data.importing.clips import READERS, default_validity, fill_in, read_clip, to_clip
from ski_data.importing.coordinates import Coordinates
from ski_data.importing.mapping import Confidence, ImportMapping
from ski_data.layouts import KINECT25, Validity, get_layout, joint_validity
from ski_data.ntu.skeleton_file import write_skeleton

COCO = ImportMapping(layout="coco17", axes=("x", "y", "z"))


def people(rng, *shape):
    return rng.uniform(0.0, 1.6, (*shape, 3)).astype(np.float32)


def made(joints, mapping=None, **settings):
    return to_clip(Coordinates(joints), mapping or ImportMapping(**settings))


def test_whole_clips_stay_as_they_are(rng):
    joints = people(rng, 1, 6, 25)
    clip = made(joints)
    np.testing.assert_array_equal(clip.joints, joints.transpose(3, 1, 2, 0))
    assert clip.validity.dtype == np.uint8
    assert (clip.validity == Validity.MEASURED).all()
    assert (clip.dropped, clip.frozen) == (0, False)
    assert made(np.repeat(joints[:, :1], 3, axis=1)).frozen


@pytest.mark.parametrize(
    ("units", "scale"), [("metres", 1), ("centimetres", 100), ("millimetres", 1000)]
)
@pytest.mark.parametrize(
    ("other", "factor"), [("metres", 1), ("centimetres", 100), ("millimetres", 1000)]
)
def test_a_wrong_unit_is_refused_with_the_right_one(rng, units, scale, other, factor):
    joints = people(rng, 1, 4, 25) * scale
    if units == other:
        assert made(joints, units=units).joints.max() < 1.7
        return
    with pytest.raises(InputError, match=f"write units: {units} in the mapping"):
        made(joints, units=other)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ((300, 400, 0), "z is the same for all joints"),
        ((9, 9, 9), "no known unit fits"),
        ((1e9, 1e9, 1e9), "check units"),
        ((1e-9, 1e-9, 1e-9), "no known unit fits"),
    ],
)
def test_what_no_body_is(rng, scale, words):
    with pytest.raises(InputError, match=words):
        made(people(rng, 1, 4, 25) * np.array(scale))


def test_one_point_is_no_body():
    with pytest.raises(InputError, match="all joints are at one point"):
        made(np.ones((1, 4, 25, 3)))


def test_missing_joints_are_absent_and_empty_frames_left_out(rng):
    joints = people(rng, 2, 5, 25)
    joints[0, 1, 7] = joints[1, :3] = joints[0, 3] = joints[1, 3] = 0
    clip = made(joints, bodies=2)
    assert clip.joints.shape == (3, 4, 25, 2)
    assert clip.dropped == 1
    assert (clip.validity[:, 7, 0] == Validity.MEASURED).all()  # zeros are not said to be missing
    assert (clip.validity[:3, :, 1] == Validity.ABSENT).all()
    assert (clip.validity[3, :, 1] == Validity.MEASURED).all()
    clip = made(joints, bodies=2, missing="zeros")
    assert clip.validity[:, 7, 0].tolist() == [3, 0, 3, 3]
    joints[0, 1, 7, 1] = np.nan
    clip = made(joints, bodies=2, missing="nan")
    assert clip.validity[:, 7, 0].tolist() == [3, 0, 3, 3]
    assert np.isfinite(clip.joints).all()
    with pytest.raises(InputError, match="joint left_hand, body 0; if NaN means"):
        made(joints, bodies=2)
    joints[0, 1, 7, 1] = np.inf
    with pytest.raises(InputError, match="not finite"):
        made(joints, bodies=2, missing="nan")
    with pytest.raises(InputError, match="2 bodies, the mapping allows bodies: 1"):
        made(np.nan_to_num(joints, posinf=0))


def test_converted_joints_are_absent_if_a_part_is(rng):
    joints = people(rng, 1, 3, 17)
    layout = get_layout("coco17")
    joints[0, 1, layout.joints.index("left_hip")] = 0
    clip = made(joints, ImportMapping(layout="coco17", axes=("x", "y", "z"), missing="zeros"))
    base, hip = KINECT25.joints.index("spine_base"), KINECT25.joints.index("left_hip")
    assert clip.validity[:, base, 0].tolist() == [2, 0, 2]
    assert clip.validity[:, hip, 0].tolist() == [3, 0, 3]
    assert (clip.joints[:, 1, base] == 0).all()
    whole = made(people(rng, 1, 3, 17), COCO)
    np.testing.assert_array_equal(whole.validity[0, :, 0], joint_validity("coco17"))


def test_frames_and_axes(rng):
    joints = people(rng, 1, 9, 25)
    clip = made(joints, frames=(2, 6), axes=("x", "z", "-y"))
    np.testing.assert_array_equal(clip.joints[1, :, :, 0], joints[0, 2:6, :, 2])
    np.testing.assert_array_equal(clip.joints[2, :, :, 0], -joints[0, 2:6, :, 1])
    assert made(joints, frames=(7, None)).joints.shape[1] == 2
    with pytest.raises(InputError, match="leave none of the 9 frames"):
        made(joints, frames=(9, None))
    with pytest.raises(InputError, match="no frames"):
        made(joints[:, :0])
    with pytest.raises(InputError, match="no frame with a body in 9"):
        made(joints * 0)


def test_joints_by_name_number_mean_and_null(rng):
    joints = people(rng, 1, 4, 30)
    theirs = {name: number for number, name in enumerate(KINECT25.joints)}
    theirs |= {
        "head": 29,
        "neck": (27, 28),
        "left_thumb": None,
        "left_hand_tip": 7,
        "spine_base": (26,),
    }
    mapping = ImportMapping(joints=theirs)
    clip = made(joints, mapping)
    place = KINECT25.joints.index
    np.testing.assert_array_equal(clip.joints[..., place("head"), 0].T, joints[0, :, 29])
    np.testing.assert_array_equal(clip.joints[..., place("spine_base"), 0].T, joints[0, :, 26])
    mean = joints[0, :, 27:29].mean(axis=1)
    np.testing.assert_allclose(clip.joints[..., place("neck"), 0].T, mean, atol=1e-6)
    codes = clip.validity[0, :, 0]
    assert codes[place("neck")] == Validity.INTERPOLATED
    assert codes[place("left_thumb")] == Validity.ABSENT
    assert codes[place("left_hand_tip")] == Validity.COPIED  # never a copy without a word
    assert codes[place("left_hand")] == codes[place("head")] == Validity.MEASURED
    np.testing.assert_array_equal(default_validity(mapping), codes)
    with pytest.raises(InputError, match=r"no joint 29; the source's joints are 0\.\.28"):
        made(joints[:, :, :29], mapping)


def test_joints_go_by_name_whatever_their_order(rng):
    joints = people(rng, 1, 4, 26)
    order = rng.permutation(26)
    names = np.array([*KINECT25.joints, "extra"])
    shuffled = Coordinates(joints[:, :, order], None, tuple(names[order].tolist()))
    clip = to_clip(shuffled, ImportMapping())
    np.testing.assert_array_equal(clip.joints, joints[:, :, :25].transpose(3, 1, 2, 0))
    unknown = Coordinates(joints, None, tuple(f"j{i}" for i in range(26)))
    with pytest.raises(InputError, match=r"no joint 'spine_base' in the source, which has j0, j1"):
        to_clip(unknown, ImportMapping())
    twice = Coordinates(joints, None, tuple("aabcdefghijklmnopqrstuvwxy"))
    with pytest.raises(InputError, match=r"26 joint names \(25 different\) for 26 joints"):
        to_clip(twice, ImportMapping())
    with pytest.raises(InputError, match="22 joints, layout kinect25 has 25"):
        made(joints[:, :, :22])
    named = ImportMapping(joints={**dict.fromkeys(KINECT25.joints, 0), "head": "Head"})
    with pytest.raises(InputError, match="no joint names, so 'Head' is not known"):
        made(joints, named)


def test_confidence_below_the_threshold_is_absent(tmp_path, rng):
    joints, sure = people(rng, 4, 25), np.full((4, 25), 0.7)
    sure[2, 3] = 0.3
    np.savez(tmp_path / "a.npz", xyz=joints, vis=sure)
    np.save(tmp_path / "b.npy", np.concatenate([joints, sure[..., None]], axis=-1))
    np.savez(tmp_path / "c.npz", xyz=joints, vis=np.stack([sure * 0, sure], axis=-1))
    for name, mapping in {
        "a.npz": ImportMapping(array="xyz", confidence=Confidence("vis")),
        "b.npy": ImportMapping(confidence=Confidence(channel=3)),
        "c.npz": ImportMapping(array="{kind}", confidence=Confidence("v{i}s", 1)),
    }.items():
        source = read_clip(tmp_path / name, mapping, {"kind": "xyz", "i": "i"})
        clip = to_clip(source, mapping)
        assert np.argwhere(clip.validity != Validity.MEASURED).tolist() == [[2, 3, 0]]
        assert (clip.joints[:, 2, 3] == 0).all()
    mapping = ImportMapping(array="xyz", confidence=Confidence("gone"))
    with pytest.raises(InputError, match="no array 'gone' for confidence"):
        read_clip(tmp_path / "a.npz", mapping, {})
    mapping = ImportMapping(array="xyz", confidence=Confidence("vis", 2))
    with pytest.raises(InputError, match="has no channel 2"):
        read_clip(tmp_path / "c.npz", mapping, {})
    with pytest.raises(InputError, match="x, y, z and the confidence"):
        read_clip(
            tmp_path / "a.npz", ImportMapping(confidence=Confidence(channel=3), array="xyz"), {}
        )


def test_ntu_text_files(tmp_path, rng):
    joints = people(rng, 5, 25)
    write_skeleton(tmp_path / "a.skeleton", joints)
    clip = to_clip(read_clip(tmp_path / "a.skeleton", ImportMapping(), {}), ImportMapping())
    np.testing.assert_allclose(clip.joints[..., 0], joints.transpose(2, 0, 1), atol=1e-6)
    lines = (tmp_path / "a.skeleton").read_text().splitlines()
    body = lines[2:29]
    body[0] = body[0].replace("72057594037944738", "5")
    lines[1] = "2"
    (tmp_path / "b.skeleton").write_text("\n".join([*lines[:29], *body, *lines[29:]]) + "\n")
    clip = to_clip(
        read_clip(tmp_path / "b.skeleton", ImportMapping(bodies=2), {}), ImportMapping(bodies=2)
    )
    assert (clip.validity[..., 1].any(1)).tolist() == [True, False, False, False, False]
    with pytest.raises(InputError, match=r"2 bodies, .*ski-data prepare"):
        read_clip(tmp_path / "b.skeleton", ImportMapping(), {})
    with pytest.raises(InputError, match="holds no confidence"):
        read_clip(tmp_path / "a.skeleton", ImportMapping(confidence=Confidence("a")), {})


def test_readers_by_ending(tmp_path):
    assert set(READERS) >= {".npy", ".npz", ".mat", ".csv", ".tsv", ".txt", ".bvh", ".skeleton"}
    with pytest.raises(InputError, match=r"files are read that end in \.npy"):
        read_clip(tmp_path / "a.c3d", ImportMapping(), {})


@pytest.mark.parametrize("pattern", ["{b}", "{", "{a!x}", "{0}", "{a.b}"])
def test_patterns_that_cannot_be_filled_in(pattern):
    with pytest.raises(InputError, match=r"name .* cannot be filled in .*known: a"):
        fill_in(pattern, {"a": 1}, "name")
