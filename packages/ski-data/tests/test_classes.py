import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.classes import ClassSet, parse_classes, read_classes, write_classes
from ski_data.errors import ExistingOutputError, InputError, MissingFileError

names = st.lists(
    st.text("abc,\"'\u2019 /()", min_size=1, max_size=8).filter(str.strip), min_size=1, unique=True
)


@given(names)
def test_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("classes") / "labels.csv"
    classes = ClassSet.from_names(values)
    write_classes(path, classes)
    assert read_classes(path) == classes
    with pytest.raises(ExistingOutputError):
        write_classes(path, classes)


def test_descriptions(tmp_path):
    classes = ClassSet(("A001", "A002"), ("drink", "eat"), ("to drink, slowly", "to eat"))
    write_classes(tmp_path / "a.csv", classes)
    assert read_classes(tmp_path / "a.csv") == classes
    assert classes.subset([1]) == ClassSet(("A002",), ("eat",), ("to eat",))


def test_label_by_id_or_name():
    classes = ClassSet(("A001", "A002"), ("drink", "eat"))
    assert classes.label("A002") == classes.label("eat") == 1
    with pytest.raises(InputError, match=r"'sleep'.*drink, eat"):
        classes.label("sleep")
    with pytest.raises(InputError, match=r"0\.\.1"):
        classes.subset([2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the header"),
        ("a,b\n", "line 1: the header"),
        ("id,name\n", "no classes"),
        ("id,name\n0,a\n1,b,c\n", "line 3"),
        ("id,name\n0,a\n2,b\n", "line 3: id 2 where 1 is due"),
        ("id,name\n0,a\n1,a\n", "name 'a' stands already in line 2"),
        ("id,name\nA1,\n", "empty name"),
    ],
)
def test_errors_say_where(text, words):
    with pytest.raises(InputError, match=words) as caught:
        parse_classes(text, "labels.csv")
    assert "labels.csv" in str(caught.value)


def test_files(tmp_path):
    with pytest.raises(MissingFileError, match="gone"):
        read_classes(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(b"id,name\n0,caf\xe9\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_classes(tmp_path / "latin.csv")
