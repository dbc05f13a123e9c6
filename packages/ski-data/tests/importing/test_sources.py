import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.importer import import_skeletons
from ski_data.importing.mapping import ImportMapping
from ski_data.importing.rows import settle
from ski_data.importing.sources import list_arrays, list_folder, list_manifest
from ski_data.layouts import Validity
from ski_data.manifest import read_manifest
from ski_data.store import SkeletonStore


def people(rng, *shape):
    return rng.uniform(0.0, 1.6, (*shape, 25, 3)).astype(np.float32)


def listed(path, lister=list_manifest, **settings):
    listing = lister(path, ImportMapping(**settings))
    settle(listing)
    return listing


ROWS = [
    {"skeleton": "a/one.npy", "label": "walk", "subject": 1, "camera": None},
    {"skeleton": "S001C002P003R001A004.npy", "label": "run", "subject": None, "camera": 3},
]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "parquet"])
def test_manifests_of_every_kind(tmp_path, ending):
    path = tmp_path / f"list.{ending}"
    if ending == "csv":
        rows = [",".join("" if v is None else str(v) for v in row.values()) for row in ROWS]
        path.write_text("\n".join([",".join(ROWS[0]), *rows]))
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    elif ending == "json":
        path.write_text(json.dumps(ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    listing = listed(path)
    assert listing.rejected == []
    assert listing.classes == ClassSet.from_names(["run", "walk"])
    first, second = listing.rows
    assert (first.name, second.name) == ("a/one", "S001C002P003R001A004")
    assert (first.label, second.label) == (1, 0)
    assert first.fields == {"subject": 1, "camera": -1, "setup": -1, "replication": -1}
    assert second.fields == {"subject": 3, "camera": 3, "setup": 1, "replication": 1}


@pytest.mark.parametrize(
    "line",
    [
        "v/a.mp4\ta.npy\t2",
        "v/a.mp4,a.npy,2",
        "v/a.mp4 a.npy 2",
        "a.npy,2",
        "S001C002P003R001A004_rgb.avi,b.npy,1",
    ],
)
def test_official_columns_are_named_as_manifests_name_them(tmp_path, line):
    (tmp_path / "list.csv").write_text(line + "\n")
    (row,) = listed(tmp_path / "list.csv").rows
    (record,) = read_manifest(tmp_path / "list.csv")
    assert (row.name, row.label, row.video) == (record.name, record.label, record.video)
    assert (row.fields["subject"], row.fields["camera"]) == tuple(
        -1 if value is None else value for value in (record.subject, record.camera)
    )


def test_columns_by_other_names_fields_and_constants(tmp_path, caplog):
    caplog.set_level("INFO", "ski_data")
    (tmp_path / "list.csv").write_text(
        "path,action,who,speed,take,left out\nx/a,jump,7,1.5,01,?\nx/b,hop,8,2,02,?\n"
    )
    listing = listed(
        tmp_path / "list.csv",
        file="{path}.npy",
        label="action",
        subject="who",
        fields={"speed": "speed", "take": "take"},
        constants={"camera": 2, "fps": 30},
        name="{class_name}-{subject:03d}-{take}-{path_stem}-{row}",
    )
    assert [row.name for row in listing.rows] == ["jump-007-01-x__a-0", "hop-008-02-x__b-1"]
    assert [row.fields["speed"] for row in listing.rows] == [1.5, 2.0]
    assert [row.fields["take"] for row in listing.rows] == ["01", "02"]
    assert listing.rows[0].fields["camera"] == 2
    assert listing.rows[0].fields["fps"] == 30
    assert "columns that are not imported: left out" in caplog.text


@pytest.mark.parametrize(
    ("rows", "classes", "expected", "problems"),
    [
        ([(0, "a"), (1, "b")], None, (("a", "b"), [0, 1]), []),
        ([(1, "b"), (0, "a"), (1, None)], None, (("a", "b"), [1, 0, 1]), []),
        ([(0, "a"), (1, "b"), (1, "a")], None, (("a", "b"), [0, 1]), ["is class 0, 'a', by its"]),
        ([(0, None), (3, None)], None, (None, [0, 3]), []),
        ([(None, None)], None, (None, [None]), []),
        ([(None, "c"), (2, None), (None, "b")], ["a", "b"], (("a", "b"), [1]), ["'c'", "0..1"]),
        ([("b", None), ("1", None), ("0", "b")], ["a", "b"], (("a", "b"), [1, 1]), ["class 1"]),
        (
            [(-1, None), (1.5, None), (True, None), (0, None)],
            None,
            (None, [0]),
            ["start at 0", "whole", "whole"],
        ),
        (
            [("a", "b"), (0, 7), (0, None)],
            None,
            (None, [0]),
            ["must be a number", "must be a text"],
        ),
    ],
)
def test_classes(tmp_path, rows, classes, expected, problems):
    lines = [
        json.dumps({"skeleton": f"{i}.npy", "label": label, "class_name": name})
        for i, (label, name) in enumerate(rows)
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    listing = listed(tmp_path / "list.jsonl", classes=None if classes is None else tuple(classes))
    names = None if listing.classes is None else listing.classes.names
    assert (names, [row.label for row in listing.rows]) == expected
    assert len(listing.rejected) == len(problems)
    for rejected, words in zip(listing.rejected, problems, strict=True):
        assert words in rejected.problem


def test_classes_that_cannot_be_numbered(tmp_path):
    (tmp_path / "list.csv").write_text("skeleton,label,class_name\na.npy,0,a\nb.npy,2,b\n")
    with pytest.raises(InputError, match=r"classes 0, 1, 2 .*list the names"):
        listed(tmp_path / "list.csv")


def test_a_label_file_and_labels_from_one(tmp_path):
    (tmp_path / "classes.csv").write_text("id,name\nA1,walk\nA2,run\n")
    (tmp_path / "list.csv").write_text("a.npy,1\nb.npy,2\nc.npy,A1\nd.npy,0\n")
    listing = listed(tmp_path / "list.csv", classes="classes.csv", first_label=1)
    assert [row.label for row in listing.rows] == [0, 1, 0]
    assert "labels start at 1" in listing.rejected[0].problem


@pytest.mark.parametrize(
    ("name", "text", "settings", "words"),
    [
        ("a.csv", "", {}, "no rows"),
        (
            "a.csv",
            "file,label\na.npy,1\n",
            {},
            "neither a header with the column skeleton",
        ),
        ("a.csv", "skeleton,skeleton\na.npy,1\n", {}, "there twice"),
        ("a.csv", "skeleton,label\na.npy,1\n", {"subject": "who"}, "no column 'who' for subject"),
        ("a.jsonl", '{"skeleton": "a"}', {"fields": {"fps": "rate"}}, "no column 'rate' for fps"),
        ("a.json", "{}", {}, "a JSON list of objects"),
        ("a.json", "[", {}, "not JSON"),
        ("a.parquet", "no", {}, "not a readable Parquet"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, name, text, settings, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        listed(tmp_path / name, **settings)
    assert name in str(caught.value)


@pytest.mark.parametrize("path", [".", "/", "..", "a/..", "a/", ".npy"])
def test_paths_that_are_no_files(tmp_path, path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"skeleton": path}))
    with pytest.raises(InputError, match="row 1"):
        import_skeletons(str(tmp_path / "a.jsonl"), str(tmp_path / "out"))


def test_semicolons_part_columns_too(tmp_path):
    (tmp_path / "a.csv").write_text("skeleton;label;subject\na, b.npy;go;\nc.npy;stay;2\n")
    rows = listed(tmp_path / "a.csv").rows
    assert [(row.name, row.class_name) for row in rows] == [("a, b", "go"), ("c", "stay")]
    assert [row.fields["subject"] for row in rows] == [-1, 2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object expected"),
        ('{"label": 1}', "file '{skeleton}' cannot be filled in"),
        ('{"skeleton": "a\\u0000b.npy"}', "no path may have"),
        ('{"skeleton": ""}', "file '{skeleton}' cannot be filled in"),
        ('{"skeleton": "a.npy", "camera": "x"}', "camera must be a whole number, not 'x'"),
    ],
)
def test_bad_rows_do_not_hide_the_others(tmp_path, line, words):
    (tmp_path / "a.jsonl").write_text(f'{{"skeleton": "b.npy"}}\n\n{line}\n{{"skeleton": "c.npy"}}')
    listing = listed(tmp_path / "a.jsonl")
    assert [row.name for row in listing.rows] == ["b", "c"]
    (rejected,) = listing.rejected
    assert (rejected.row, rejected.where) == (2, "row 2 (line 3)")
    assert words in rejected.problem


def test_folders_give_classes(tmp_path, rng):
    for name in ("run/p1.npy", "walk/p1.npy", "walk/.hidden.npy", "walk/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, people(rng, 3)) if name.endswith("npy") else (
            tmp_path / name
        ).write_text("x")
    listing = listed(tmp_path, list_folder)
    assert [(row.name, row.label) for row in listing.rows] == [("run/p1", 0), ("walk/p1", 1)]
    assert listing.classes.names == ("run", "walk")


def test_folders_with_a_pattern(tmp_path):
    for name in ("P03_C2_wave.bvh", "P04_C1_bow.bvh", "other.bvh", "x.csv"):
        (tmp_path / name).write_text("")
    pattern = r"^P(?P<who>\d+)_C(?P<camera>\d)_(?P<class_name>.+)\.bvh$"
    listing = listed(tmp_path, list_folder, pattern=pattern, subject="who", files="**/*.bvh")
    assert [row.name for row in listing.rows] == ["P03_C2_wave", "P04_C1_bow"]
    assert [row.fields["subject"] for row in listing.rows] == [3, 4]
    assert [row.fields["camera"] for row in listing.rows] == [2, 1]
    assert listing.classes.names == ("bow", "wave")
    assert "does not match" in listing.rejected[0].problem
    with pytest.raises(InputError, match="no column 'person' for subject; there are"):
        listed(tmp_path, list_folder, pattern=pattern, subject="person")
    with pytest.raises(InputError, match="no files"):
        listed(tmp_path, list_folder, files="*.npy")


def test_all_clips_in_one_padded_array(tmp_path, rng):
    clips = np.zeros((3, 3, 8, 25, 2), np.float32)  # N C T V M
    for i in range(3):
        clips[i, :, : 4 + i, :, 0] = people(rng, 4 + i).transpose(2, 0, 1)
    np.savez(tmp_path / "a.npz", data=clips, label=[0, 1, 0], sure=np.ones((3, 8, 25, 2)))
    (tmp_path / "m.yaml").write_text(
        "array: data\norder: NCTVM\nbodies: 2\nconfidence: {name: sure}\nlabel: label\n"
    )
    import_skeletons(str(tmp_path / "a.npz"), str(tmp_path / "out"), str(tmp_path / "m.yaml"))
    store = SkeletonStore(tmp_path / "out")
    assert store.index["frames"].tolist() == [4, 5, 6]
    assert store.index["bodies"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(store.clip(2)[..., :1], clips[2, :, :6, :, :1])
    assert (store.validity(2)[..., 0] == Validity.MEASURED).all()
    np.save(tmp_path / "b.npy", clips)
    listing = listed(tmp_path / "b.npy", list_arrays, order="NCTVM", label=None, bodies=2)
    assert [row.name for row in listing.rows] == ["0", "1", "2"]
    with pytest.raises(InputError, match="order begins with T"):
        listed(tmp_path / "a.npz", list_arrays, array="data", order="CTVM")


def test_a_stray_file_is_told_with_the_way_to_leave_it_out(tmp_path, rng):
    np.save(tmp_path / "a.npy", people(rng, 3))
    (tmp_path / "README.txt").write_text("This is my data.\n")
    with pytest.raises(InputError, match=r"README\.txt(.|\n)*files: '\*\*/\*\.ENDING'"):
        import_skeletons(str(tmp_path), str(tmp_path / "out"))
    (tmp_path / "m.yaml").write_text("files: '*.npy'\n")
    import_skeletons(str(tmp_path), str(tmp_path / "out"), str(tmp_path / "m.yaml"))
    with pytest.raises(InputError, match="a skeleton store already"):
        import_skeletons(str(tmp_path / "out"), str(tmp_path / "again"))


def test_numbers_of_data_frames_with_gaps(tmp_path):
    table = pa.table({"skeleton": ["a.npy", "b.npy"], "label": [1.0, 2.0], "subject": [7.0, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(
        pa.table({"skeleton": ["a.npy", "b.npy"], "subject": [7.0, float("nan")]}),
        tmp_path / "b.parquet",
    )
    rows = listed(tmp_path / "a.parquet").rows
    assert [(row.label, row.fields["subject"]) for row in rows] == [(1, 7), (2, -1)]
    rows = listed(tmp_path / "b.parquet").rows
    assert [(row.label, row.fields["subject"]) for row in rows] == [(None, 7), (None, -1)]


def test_matlab_files_named_by_action_subject_and_take(tmp_path, rng):
    scipy_io = pytest.importorskip("scipy.io")
    for name in ("a1_s2_t3_skeleton", "a2_s1_t4_skeleton"):
        clip = rng.uniform(0.0, 1.6, (20, 3, 9))
        scipy_io.savemat(tmp_path / f"{name}.mat", {"d_skel": clip}, do_compression=True)
    (tmp_path / "m.yaml").write_text(
        "layout: kinect20\narray: d_skel\norder: VCT\nfirst_label: 1\nclasses: [swipe, wave]\n"
        "pattern: 'a(?P<label>\\d+)_s(?P<subject>\\d+)_t(?P<replication>\\d+)_'\n"
    )
    import_skeletons(str(tmp_path), str(tmp_path / "out"), str(tmp_path / "m.yaml"))
    store = SkeletonStore(tmp_path / "out")
    index = [store.index[key].tolist() for key in ("label", "subject", "replication", "frames")]
    assert index == [[0, 1], [2, 1], [3, 4], [9, 9]]
    np.testing.assert_allclose(store.clip(1)[..., 3, 0], clip[3], atol=1e-6)  # the head
