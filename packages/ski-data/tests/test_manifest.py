import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.classes import ClassSet
from ski_data.errors import ExistingOutputError, MissingFileError, SkiDataError
from ski_data.manifest import ManifestError, Record, read_manifest, write_manifest

CLASSES = ClassSet(("A001", "A002"), ("drink water", "eat meal/snack"))
NTU = "S001C002P003R001A002"


@pytest.mark.parametrize("separator", [",", " ", "\t", ", "])
def test_official_columns(tmp_path, separator):
    path = tmp_path / "train.csv"
    path.write_text(separator.join([f"videos/{NTU}_rgb.avi", f"{NTU}.skeleton", "1"]) + "\n\n")
    (record,) = read_manifest(path, CLASSES)
    assert record == Record(
        name=NTU,
        video=tmp_path / "videos" / f"{NTU}_rgb.avi",
        skeleton=tmp_path / f"{NTU}.skeleton",
        label=1,
        subject=3,
        camera=2,
        setup=1,
        replication=1,
    )


def test_two_columns_and_a_root(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a/clip 1.mp4,0\nb/clip 1.mp4,1\nc.skeleton,1\n")
    first, second, third = read_manifest(path, root="/data")
    assert first.name == "a/clip 1"
    assert second.video == Path("/data/b/clip 1.mp4")
    assert third.video is None
    assert third.skeleton == Path("/data/c.skeleton")


def test_labels_by_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a.mp4,eat meal/snack\nb.mp4,A001\n")
    assert [record.label for record in read_manifest(path, CLASSES)] == [1, 0]


words = st.text("abc é/", min_size=1, max_size=6).filter(lambda t: t.strip("/ "))
number = st.none() | st.integers(0, 200)
records = st.lists(
    st.builds(
        Record,
        name=words,
        video=st.just(Path("/else/v.mp4")),
        label=number,
        subject=number,
        caption=st.none() | words,
        source=st.none() | words,
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda record: record.name,
)


@settings(max_examples=25, deadline=None)
@given(records, st.sampled_from(["jsonl", "parquet"]))
def test_round_trip(tmp_path_factory, rows, suffix):
    path = tmp_path_factory.mktemp("m") / f"a.{suffix}"
    write_manifest(path, rows)
    assert read_manifest(path) == rows


def test_csv_round_trip_with_relative_paths(tmp_path):
    rows = [
        Record("v/a, b", video=tmp_path / "v" / "a, b.mp4", skeleton=tmp_path / "a.npy", label=0),
        Record("v/c", video=tmp_path / "v" / "c.mp4", skeleton=tmp_path / "c.npy", label=3),
    ]
    path = tmp_path / "a.csv"
    write_manifest(path, rows)
    assert path.read_text().splitlines()[1] == "v/c.mp4,c.npy,3"
    assert read_manifest(path) == rows
    with pytest.raises(ExistingOutputError):
        write_manifest(path, rows)


def test_write_refuses(tmp_path):
    with pytest.raises(ManifestError, match=r"row 1.*no label.*jsonl"):
        write_manifest(tmp_path / "a.csv", [Record("a", video=Path("a.mp4"))])
    with pytest.raises(ManifestError, match=r"\.parquet"):
        write_manifest(tmp_path / "a.txt", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.mp4,0\nb.mp4,2\n", r"line 2: label 2 is out of range; allowed: 0\.\.1"),
        ("a.mp4,-1\n", "line 1: label -1"),
        ("a.mp4,0\n\na.mp4,1\n", "line 3: clip a stands already in line 1"),
        ("a.mp4,0\nb.mp4\n", "line 2: expected video"),
        ("a.mp4,b.skeleton,0,1\n", "line 1: expected video"),
        ("a.mp4,,1\n", "line 1: expected video"),
        ("a.mp4,sleeping\n", "line 1: unknown class 'sleeping'"),
        ('"a.mp4,1\n', "line 1"),
        ("", "no rows"),
    ],
)
def test_csv_errors_name_file_and_line(tmp_path, text, words):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=words) as caught:
        read_manifest(path, CLASSES)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"label": 0}, "needs a video or a skeleton"),
        ({"video": "a.mp4", "lable": 0}, "unknown column 'lable'"),
        ({"video": "a.mp4", "label": 1.5}, "label must be a whole number or text"),
        ({"video": "a.mp4", "subject": "3"}, "subject must be a whole number"),
        ({"video": "a.mp4", "label": True}, "label must be"),
        ({"video": ""}, "video must be text"),
        ([1], "JSON object"),
    ],
)
def test_json_errors_name_file_and_line(tmp_path, row, words):
    path = tmp_path / "list.jsonl"
    path.write_text('{"video": "ok.mp4"}\n' + json.dumps(row) + "\n")
    with pytest.raises(ManifestError, match=words) as caught:
        read_manifest(path, CLASSES)
    assert f"{path}, line 2: " in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(MissingFileError, match="gone"):
        read_manifest(tmp_path / "gone.csv")
    for name in ("a.parquet", "a.jsonl"):
        (tmp_path / name).write_text("nothing of the kind")
        with pytest.raises(ManifestError, match=name):
            read_manifest(tmp_path / name)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "b.csv")
    path = tmp_path / "c.csv"
    path.write_text("a.mp4,waving\n")
    with pytest.raises(ManifestError, match="give the class list"):
        read_manifest(path)


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_rows_or_a_typed_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("m") / "a.csv"
    path.write_text(text, encoding="utf-8")
    try:
        rows, text = read_manifest(path), ""
    except ManifestError as error:
        rows, text = [], str(error)
    assert rows or str(path) in text


SIGNS = "a1/. \n\x00\u2028\N{GRINNING FACE}"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(SIGNS, max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(SIGNS, max_size=4), inner),
    max_leaves=6,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from([field.name for field in fields(Record)]), JSON) | JSON,
    max_size=4,
)


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_any_json_gives_rows_or_an_error_with_its_line(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("m") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read, text = outcome(path)
    assert read or text.startswith((f"{path}, line ", f"{path}: the manifest has no rows"))
    assert "\n" not in text


def test_a_value_nested_deeply_is_refused_in_few_words(tmp_path):
    path = tmp_path / "a.jsonl"
    for depth in (100, 900, 980, 10_000):
        path.write_text(f'{{"video": {"[" * depth}{"]" * depth}}}\n')
        with pytest.raises(ManifestError, match=r"a\.jsonl, line 1: ") as caught:
            read_manifest(path)
        assert len(str(caught.value)) < 400


@given(st.binary(max_size=80), st.integers(0, 2000), st.integers(0, 255), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_rows_or_a_typed_error(tmp_path_factory, data, at, value, cut):
    folder = tmp_path_factory.mktemp("m")
    write_manifest(folder / "good.parquet", [Record("a", video=Path("a.mp4"), label=1)])
    damaged = bytearray((folder / "good.parquet").read_bytes())
    damaged[at % len(damaged)] = value
    (folder / "a.parquet").write_bytes(damaged[: at % len(damaged)] if cut else damaged)
    for name in ("b.jsonl", "c.csv", "d.parquet"):
        (folder / name).write_bytes(data)
    for path in sorted(folder.iterdir()):
        read, text = outcome(path)
        assert read or str(path) in text


def test_a_parquet_file_with_damaged_text(tmp_path):
    path = tmp_path / "a.parquet"
    write_manifest(path, [Record("abcdefgh", video=Path("/a.mp4"))])
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abc\xff\xff\xff\xff\xff"))
    with pytest.raises(ManifestError, match=r"a\.parquet: not a readable Parquet file"):
        read_manifest(path)


def outcome(path):
    """What was read, and else the error's text."""
    try:
        return read_manifest(path), ""
    except ManifestError as error:
        return [], str(error)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_full_disk_leaves_no_manifest(tmp_path, full_disk, name):
    row = Record("a", video=Path("/v/a.mp4"), label=0)
    with full_disk(5), pytest.raises(SkiDataError, match=rf"{name}: cannot be written"):
        write_manifest(tmp_path / name, [row])
    assert not list(tmp_path.iterdir())
