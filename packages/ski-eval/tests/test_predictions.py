from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from ski_eval import (
    ExistingOutputError,
    InputError,
    MissingFileError,
    Predictions,
    load_predictions,
    save_predictions,
)


def rewrite(path, **arrays):
    """Replace arrays of a predictions file, or drop those given as None."""
    with np.load(path) as archive:
        content = {**{name: archive[name] for name in archive.files}, **arrays}
    np.savez(path, **{name: array for name, array in content.items() if array is not None})


def header(path, **changes):
    with np.load(path) as archive:
        content = json.loads(archive["header"].tobytes())
    text = json.dumps({**content, **changes}).encode()
    rewrite(path, header=np.frombuffer(text, np.uint8))


@pytest.mark.parametrize("unseen", [None, (1, 4)])
def test_round_trip(tmp_path, make_predictions, unseen):
    made = make_predictions(unseen=unseen)
    again = load_predictions(save_predictions(made, tmp_path / "deep" / "p.npz"))
    for name in ("names", "classes", "groups", "unseen", "meta"):
        assert getattr(again, name) == getattr(made, name)
    assert (again.labels == made.labels).all()
    assert (again.logits == made.logits).all()
    assert again.logits.dtype == np.float32
    assert (again.correct == (made.logits.argmax(axis=1) == made.labels)).all()


def test_nothing_is_overwritten_silently(tmp_path, make_predictions):
    path = save_predictions(make_predictions(), tmp_path / "p.npz")
    save_predictions(make_predictions(), path)
    with pytest.raises(ExistingOutputError):
        save_predictions(make_predictions(seed=1), path)
    assert save_predictions(make_predictions(seed=1), path, overwrite=True) == path
    with pytest.raises(InputError, match=r"stored as \.npz"):
        save_predictions(make_predictions(), tmp_path / "p.bin")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"names": ("a",) * 6}, "'a' appears more than once"),
        ({"names": ("a", "b")}, "names: 2 for 6 samples"),
        ({"names": ("a", "b", "c", "d", "e", "")}, "none empty"),
        ({"classes": ("x", "x", "y")}, "'x' appears more than once"),
        ({"classes": ("x", "y")}, "classes: 2 for 3 columns"),
        ({"groups": ("g",)}, "groups: 1 for 6 samples"),
        ({"labels": np.full(6, 3)}, "out of range"),
        ({"logits": np.full((6, 3), np.nan)}, "NaN"),
        ({"logits": np.full((6, 3), 1e300)}, "too large for float32"),
        ({"unseen": (0, 1, 2)}, "some, not all"),
        ({"unseen": (0, 0)}, "each once"),
        ({"unseen": (5,)}, "out of range"),
        ({"meta": {"f": print}}, "cannot be stored"),
    ],
)
def test_bad_predictions_are_refused(make_predictions, changes, text):
    with pytest.raises(InputError, match=text):
        make_predictions(n=6, k=3, **changes)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"not an archive"), "or damaged"),
        (lambda p: p.write_bytes(p.read_bytes()[:200]), "or damaged"),
        (lambda p: rewrite(p, logits=None), "logits"),
        (lambda p: rewrite(p, logits=np.zeros((60, 5), np.float32)), "checksum"),
        (lambda p: rewrite(p, labels=np.zeros(60, np.int64)), "checksum"),
        (lambda p: rewrite(p, header=np.zeros(3, np.uint8)), "or damaged"),
        (lambda p: rewrite(p, header=np.frombuffer(b"[]", np.uint8)), "expected schema"),
        (lambda p: header(p, schema="other"), "expected schema"),
        (lambda p: header(p, extra=1), "header has"),
        (lambda p: header(p, names=["a"]), "names: 1 for 60 samples"),
        (lambda p: header(p, classes=3), "classes: expected a list of texts"),
        (lambda p: header(p, unseen="x"), "unseen"),
        (lambda p: header(p, meta={"a": 1}) or header(p, groups=[1]), "groups: expected"),
    ],
)
def test_damaged_files_are_refused(tmp_path, make_predictions, damage, text):
    path = save_predictions(make_predictions(), tmp_path / "p.npz")
    damage(path)
    with pytest.raises(InputError, match=text) as caught:
        load_predictions(path)
    assert str(path) in str(caught.value)


def test_pickles_are_never_read(tmp_path):
    path = tmp_path / "p.npz"
    arrays = {name: np.array([{"a": 1}], object) for name in ("labels", "logits", "header")}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="pickle"):
        load_predictions(path)


def test_a_single_array_is_no_archive(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    (tmp_path / "p.npz").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="or damaged"):
        load_predictions(tmp_path / "p.npz")
    with zipfile.ZipFile(tmp_path / "q.npz", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(InputError, match="labels"):
        load_predictions(tmp_path / "q.npz")
    with pytest.raises(MissingFileError):
        load_predictions(tmp_path / "none.npz")


def test_lists_are_taken(make_predictions):
    made = make_predictions(n=4, k=2, groups=None)
    again = Predictions(list(made.names), list(made.labels), made.logits, list(made.classes))
    assert again.names == made.names
