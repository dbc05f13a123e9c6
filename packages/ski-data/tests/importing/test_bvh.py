from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError, MissingFileError
from ski_data.importing.bvh import BvhError, joint_positions, parse_bvh, read_bvh

ROTATIONS = ("Xrotation", "Yrotation", "Zrotation")
POSITIONS = "Xposition Yposition Zposition"

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Leg {
    OFFSET 10 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -40 0
    }
  }
  JOINT Head
  {
    OFFSET 0 50 0
    CHANNELS 3 Yrotation Xrotation Zrotation
  }
}
MOTION
Frames: 2
Frame Time: 0.04
1 2 3 0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0 0 0 0
"""


def test_positions_by_hand():
    bvh = parse_bvh(SMALL, "a.bvh")
    assert [joint.name for joint in bvh.joints] == ["Hips", "Left Leg", "Left Leg_end", "Head"]
    assert bvh.frame_time == 0.04
    positions = joint_positions(bvh)
    assert positions.dtype == np.float32
    np.testing.assert_allclose(positions[0], [[1, 2, 3], [11, 2, 3], [11, -38, 3], [1, 52, 3]])
    # z by 90 degrees takes x to y and y to -x; then the leg's own x by 90 takes -y to -z
    expected = [[1, 2, 3], [1, 12, 3], [1, 12, -37], [-49, 2, 3]]
    np.testing.assert_allclose(positions[1], expected, atol=1e-5)


def write_tree(offsets, parents, channels, motion):
    """BVH text of a chain of joints given parents before children."""
    children = {parent: [i for i, p in enumerate(parents) if p == parent] for parent in parents}

    def part(i, indent):
        kind = "ROOT" if parents[i] < 0 else "JOINT"
        yield f"{indent}{kind} j{i}"
        yield f"{indent}{{"
        yield f"{indent} OFFSET " + " ".join(map(str, offsets[i]))
        yield f"{indent} CHANNELS {len(channels[i])} " + " ".join(channels[i])
        for child in children.get(i, []):
            yield from part(child, indent + " ")
        yield f"{indent}}}"

    rows = [" ".join(map(str, row)) for row in motion]
    head = ["HIERARCHY", *part(0, ""), "MOTION", f"Frames: {len(rows)}", "Frame Time: 0.033"]
    return "\n".join([*head, *rows, ""])


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_kinematics_against_scipy(data):
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    count = data.draw(st.integers(1, 5))
    parents = [-1] + [i - 1 for i in range(1, count)]
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    orders = [data.draw(st.permutations(ROTATIONS)) for _ in range(count)]
    channels = [[*(POSITIONS.split() if i == 0 else ()), *orders[i]] for i in range(count)]
    offsets = rng.uniform(-50, 50, (count, 3)).round(3)
    root, angles = rng.uniform(-99, 99, (3, 3)), rng.uniform(-180, 180, (3, count, 3))
    motion = [[*root[t], *angles[t].ravel()] for t in range(3)]
    positions = joint_positions(parse_bvh(write_tree(offsets, parents, channels, motion), "a"))
    for t in range(3):
        turned, at = rotation.identity(), root[t]
        for i in range(count):
            if i:
                at = at + turned.apply(offsets[i])
            axes = "".join(name[0] for name in orders[i])
            turned = turned * rotation.from_euler(axes, angles[t, i], degrees=True)
            np.testing.assert_allclose(positions[t, i], at, atol=1e-2)


@pytest.mark.parametrize("whole", [True, False])
def test_positions_below_the_root_hold_the_offset_or_add_to_it(whole):
    channels = [[*POSITIONS.split(), *ROTATIONS]] * 2
    offsets = [[0, 90, 0], [0, 40, 0]]
    below = [1, 41, 0] if whole else [1, 1, 0]
    text = write_tree(offsets, [-1, 0], channels, [[5, 95, 0, 0, 0, 0, *below, 0, 0, 0]] * 2)
    positions = joint_positions(parse_bvh(text, "a.bvh"))
    np.testing.assert_allclose(positions[0], [[5, 95, 0], [6, 136, 0]])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("MOTION\n", "", "no line MOTION"),
        ("HIERARCHY", "HIER", "line 1: HIERARCHY expected"),
        ("ROOT Hips", "JOINT Hips", "line 2: a JOINT cannot stand here"),
        ("JOINT Head", "JOINT Hips", "line 14: joint name 'Hips'"),
        ("JOINT Head", "JOIN Head", "line 14: ROOT, JOINT"),
        ("OFFSET 0 50 0", "OFFSET 0 50", "line 16: OFFSET needs 3"),
        ("OFFSET 0 50 0", "OFFSET 0 nan 0", "line 16: finite"),
        ("CHANNELS 3 Y", "CHANNELS 4 Y", "line 17: CHANNELS of joint Head"),
        ("3 Yrotation Xrotation", "3 Yrotation Yrotation", "line 17"),
        ("3 Yrotation Xrotation", "3 Yrotation Wrotation", "line 17"),
        ("Frames: 2", "Frames: 3", "line 21: 3 frames promised, 2 lines"),
        ("Frames: 2", "Frames 2", "line 21: 'Frames: NUMBER'"),
        ("Frame Time: 0.04", "Frame Time: x", "line 22"),
        ("1 2 3 90", "1 2 90", "line 24: 11 values, the joints have 12"),
        ("1 2 3 90", "1 2 3 inf", "line 24: finite"),
        ("1 2 3 90", "1 2 3 1e200", "line 24: finite"),
        ("  }\n}\nMOTION", "  }\nMOTION", "cut off"),
    ],
)
def test_damage_names_the_line(old, new, words):
    assert old in SMALL
    with pytest.raises(BvhError, match=words):
        parse_bvh(SMALL.replace(old, new, 1), "a.bvh")


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(MissingFileError, match="no such BVH file"):
        read_bvh(tmp_path / "a.bvh")
    (tmp_path / "a.bvh").write_bytes(b"HIERARCHY\n\xff")
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        read_bvh(tmp_path / "a.bvh")


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, len(SMALL) - 1), new=st.characters(max_codepoint=255), cut=st.booleans())
def test_random_damage_is_refused_or_read(at, new, cut):
    text = SMALL[:at] if cut else SMALL[:at] + new + SMALL[at + 1 :]
    with suppress(BvhError):
        assert np.isfinite(joint_positions(parse_bvh(text, "a.bvh"))).all()
