"""Whatever a clip is written as, it comes back; whatever damages it, the error says so."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.importer import import_skeletons
from ski_data.layouts import KINECT25
from ski_data.ntu.skeleton_file import write_skeleton
from ski_data.store import SkeletonStore

JOINTS = KINECT25.joints


def write_npy(path, clip):
    np.save(path, clip.transpose(2, 1, 0))
    return "order: CVT\n"


def write_npz(path, clip):
    np.savez(path, xyz=clip.reshape(len(clip), -1))
    return "array: xyz\n"


def write_mat(path, clip):
    pytest.importorskip("scipy.io").savemat(path, {"d_skel": clip.transpose(1, 2, 0)})
    return "array: d_skel\norder: VCT\n"


def write_csv(path, clip):
    header = ",".join(f"{name}_{axis}" for name in JOINTS[::-1] for axis in "zxy")
    cells = clip[:, ::-1][..., [2, 0, 1]].reshape(len(clip), -1).tolist()
    path.write_text("\n".join([header, *(",".join(map(repr, row)) for row in cells)]))
    return "table: {coordinates: '{joint}_{axis}'}\n"


def write_tsv(path, clip):
    order = np.random.default_rng(0).permutation(len(clip))
    rows = ["\t".join(map(repr, [int(t), *clip[t].ravel().tolist()])) for t in order]
    path.write_text("\n".join(rows))
    return "table: {frame: 0}\n"


def write_txt(path, clip):
    path.write_text(
        "\n".join(" ".join(map(repr, row)) for row in clip.reshape(len(clip), -1).tolist())
    )
    return ""


def write_bvh(path, clip):
    """A chain whose position channels hold each joint's place from its parent, as OFFSET does."""
    steps = np.diff(clip.astype(float), axis=1, prepend=0)
    lines = ["HIERARCHY"]
    for j, name in enumerate(JOINTS):
        lines += ["JOINT " * bool(j) + "ROOT " * (not j) + name, "{"]
        lines += ["OFFSET " + " ".join(map(repr, np.median(steps[:, j], axis=0).tolist()))]
        lines += ["CHANNELS 4 Xposition Yposition Zposition Yrotation"]
    lines += ["}" * len(JOINTS), "MOTION", f"Frames: {len(clip)}", "Frame Time: 0.1"]
    for frame in steps:
        lines.append(" ".join(f"{x!r} {y!r} {z!r} 0" for x, y, z in frame.tolist()))
    path.write_text("\n".join(lines))
    return ""


def write_ntu(path, clip):
    write_skeleton(path, clip)
    return ""


WRITERS = {
    "npy": write_npy,
    "npz": write_npz,
    "mat": write_mat,
    "csv": write_csv,
    "tsv": write_tsv,
    "txt": write_txt,
    "bvh": write_bvh,
    "skeleton": write_ntu,
}


@pytest.mark.parametrize("ending", WRITERS)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), frames=st.integers(1, 5), scale=st.sampled_from([1, 100, 1000]))
def test_clips_come_back(tmp_path_factory, ending, seed, frames, scale):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(seed)
    clip = (rng.uniform(0, 1.5, (frames, 25, 3)) + rng.uniform(-3, 3, 3)).astype(np.float32)
    units = {1: "metres", 100: "centimetres", 1000: "millimetres"}[scale]
    path = folder / "jump" / f"a.{ending}"
    path.parent.mkdir()
    mapping = WRITERS[ending](path, clip * np.float32(scale))
    (folder / "m.yaml").write_text(f"{mapping}units: {units}\n")
    assert import_skeletons(str(folder), str(folder / "out"), str(folder / "m.yaml")) == 0
    store = SkeletonStore(folder / "out")
    assert store.names == ["jump/a"]
    assert store.classes.names == ("jump",)
    np.testing.assert_allclose(store.clip(0)[..., 0], clip.transpose(2, 0, 1), atol=2e-5)


@pytest.mark.parametrize("ending", WRITERS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_damage_is_an_input_error_and_leaves_nothing(tmp_path_factory, ending, data):
    folder = tmp_path_factory.mktemp("clips")
    clip = np.random.default_rng(0).uniform(0, 1.5, (2, 25, 3)).astype(np.float32)
    path = folder / f"a.{ending}"
    (folder / "m.yaml").write_text(WRITERS[ending](path, clip))
    path.write_bytes(damaged(path.read_bytes(), data))
    try:
        import_skeletons(
            str(path if ending not in ("csv", "npz") else folder),
            str(folder / "out"),
            str(folder / "m.yaml"),
        )
    except InputError:
        assert {entry.name for entry in folder.iterdir()} == {"m.yaml", path.name}
    else:
        assert len(SkeletonStore(folder / "out")) == 1


TEXTS = {
    "list.jsonl": b'{"skeleton": "a.npy", "label": "go", "subject": 1}\n{"skeleton": "b.npy"}\n',
    "list.csv": b"skeleton,label,subject\na.npy,go,1\nb.npy,stay,2\n",
    "list.json": b'[{"skeleton": "a.npy", "label": 3}]',
    "m.yaml": b"layout: kinect25\nunits: metres\nfields: {take: take}\njoints: null\n",
}


@pytest.mark.parametrize("name", TEXTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_damaged_manifests_and_mappings(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("lists")
    for other, text in TEXTS.items():
        (folder / other).write_bytes(text)
    np.save(folder / "a.npy", np.random.default_rng(0).uniform(0, 1.5, (2, 25, 3)))
    (folder / name).write_bytes(damaged(TEXTS[name], data))
    source = "list.jsonl" if name == "m.yaml" else name
    mapping = str(folder / "m.yaml") if name == "m.yaml" else None
    with suppress(InputError):
        import_skeletons(str(folder / source), str(folder / "out"), mapping, skip_bad=True)
    assert not list(folder.glob(".*"))


def damaged(whole, data):
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        return whole[:at]
    return whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
