from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ski_data.errors import InputError, MissingFileError
from ski_skeleton.text import class_prompts
from ski_vlm import Recognizer, Wording
from ski_vlm.class_texts import TEMPLATE_SETS, encode_texts, read_wording
from ski_vlm.cli import main
from ski_vlm.errors import ConfigError
from ski_vlm.students import STUDENTS

TEMPLATES = ("a video of {name}", "{name}")
SAID = ("from standing to sitting", "from sitting to standing", "hands meet")


@pytest.fixture(params=STUDENTS)
def any_student(request, config):
    kind = STUDENTS[request.param]
    depth = {"text_depth": 1, "image_depth": 1} if "prompted" in request.param else {}
    return kind.model(kind.config(clip=config.clip, frames=4, short_side=32, **depth)).eval()


@pytest.fixture
def said(names):
    return dict(zip(names, SAID, strict=True))


def test_names_alone_are_the_students_own(any_student, names):
    with torch.no_grad():
        found = encode_texts(any_student, names, Wording())
        assert torch.equal(found, any_student.encode_classes(names))


@pytest.mark.parametrize("any_student", ["vifi-clip", "x-clip"], indirect=True)
@pytest.mark.parametrize("share", [None, 0.0])
def test_one_template_is_todays_answer_bit_for_bit(any_student, names, said, batch, share):
    wording = Wording((any_student.config.template,))
    if share is not None:
        wording = Wording(wording.templates, said, share)
    clips = batch["video"].numpy()
    today = Recognizer(any_student).cosines(clips, names)
    assert np.array_equal(Recognizer(any_student, wording=wording).cosines(clips, names), today)


def test_unit_vectors_are_averaged_and_made_unit_again(student, names):
    with torch.no_grad():
        found = encode_texts(student, names, Wording(TEMPLATES))
        each = [student.text.unit_text(class_prompts(names, t)) for t in TEMPLATES]
    torch.testing.assert_close(found, F.normalize((each[0] + each[1]) / 2, dim=-1))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("any_student", ["x-clip"], indirect=True)
def test_x_clip_keeps_the_mean_length(names, any_student):
    with torch.no_grad():
        found = encode_texts(any_student, names, Wording(TEMPLATES))
        each = [any_student.text.encode_text(class_prompts(names, t)) for t in TEMPLATES]
        units = [any_student.text.unit_text(class_prompts(names, t)) for t in TEMPLATES]
    torch.testing.assert_close(F.normalize(found, dim=-1), F.normalize(sum(units), dim=-1))
    lengths = [e.norm(dim=-1) for e in each]
    torch.testing.assert_close(found.norm(dim=-1), (lengths[0] + lengths[1]) / 2)
    doubled = encode_texts(any_student, names, Wording((TEMPLATES[0],) * 2))
    torch.testing.assert_close(doubled, each[0])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_descriptions_have_their_share(student, names, said, share):
    with torch.no_grad():
        found = encode_texts(student, names, Wording((), said, share))
        mixed = (1 - share) * student.encode_classes(names) + share * student.text.unit_text(SAID)
        torch.testing.assert_close(found, F.normalize(mixed, dim=-1))


def test_every_student_scores_with_them(any_student, names, said, batch):
    recognizer = Recognizer(any_student, wording=Wording(TEMPLATES, said))
    if any_student.config.kind == "vifi-clip-prompted":
        with pytest.raises(ConfigError, match="learned prompts"):
            recognizer.cosines(batch["video"].numpy(), names)
        return
    cosines = recognizer.cosines(batch["video"].numpy(), names)
    assert cosines.shape == (3, 3)
    assert np.abs(cosines).max() <= 1 + 1e-5


def test_texts_are_kept_per_list_of_classes(student, names, monkeypatch):
    recognizer, calls = Recognizer(student, wording=Wording(TEMPLATES)), []
    encode = student.text.unit_text
    monkeypatch.setattr(student.text, "unit_text", lambda p: calls.append(p) or encode(p))
    for _ in range(3):
        for some in (names, names[:2]):
            recognizer.class_texts(some)
    assert len(calls) == 2 * len(TEMPLATES)
    for i in range(40):
        recognizer.class_texts([f"action {i}"])
    assert len(recognizer._texts) <= 16


@pytest.mark.parametrize(
    "settings",
    [
        {"descriptions": {"a": " "}},
        {"share": 2.0},
        {"templates": ("no place for a name",)},
        {"templates": "{name}"},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(ValueError):
        Wording(**settings)


def test_descriptions_are_of_these_classes(student, names, said):
    for some, word in ((["sit down"], "none of the classes"), ([*names, "fly"], "of 'fly'")):
        with pytest.raises(InputError, match=word):
            Recognizer(student, wording=Wording((), said)).class_texts(some)
    with pytest.raises(ValueError, match="longer than the tower"):
        encode_texts(student, ["a"], Wording((), {"a": "word " * 100}))


def test_options(tmp_path):
    assert read_wording(None, None).own
    for name, templates in TEMPLATE_SETS.items():
        assert read_wording(name, None).templates == templates
    (tmp_path / "t.txt").write_text("a {name}\n\n{name} again \n")
    assert read_wording(str(tmp_path / "t.txt"), None).templates == ("a {name}", "{name} again")
    (tmp_path / "d.csv").write_text('id,name,description\n0,sit,"down, slowly"\n')
    assert read_wording(None, str(tmp_path / "d.csv")).descriptions == {"sit": "down, slowly"}


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        (None, "templates", "one of name, photo, froster"),
        (None, "descriptions", "no such"),
        ("{name}\nno class", "templates", "line 2"),
        ("\n", "templates", "no templates"),
        ("id,name\n0,a\n", "descriptions", "no column description"),
        ("id,name,description\n0,a,\n", "descriptions", "of 'a'"),
    ],
)
def test_unusable_files(tmp_path, text, kind, word):
    path = tmp_path / "x.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises((InputError, MissingFileError), match=word):
        read_wording(**{"templates": None, "descriptions": None, kind: str(path)})


@pytest.mark.parametrize("command", ["predict", "stream", "attention", "embed", "calibrate"])
@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ("0,clap,hands meet", "no description of 'sit'"),
        ("0,sit,down\n1,clap,hands\n2,fly,up", "descriptions of 'fly'"),
    ],
)
def test_every_command_tells_which_descriptions_do_not_fit(
    tmp_path, folder, capsys, command, rows, word
):
    path, clip, out = tmp_path / "d.csv", tmp_path / "clip.mp4", tmp_path / "out"
    path.write_text(f"id,name,description\n{rows}\n")
    clip.write_text("not read")
    argv = {
        "predict": [str(clip), "--model", str(folder)],
        "stream": [str(clip), "--model", str(folder)],
        "attention": [str(clip), "--model", str(folder), "--out", str(out)],
        "calibrate": [str(clip), "--model", str(folder), "--out", str(out)],
        "embed": [str(tmp_path), str(folder), str(out)],
    }[command]
    assert main([command, *argv, "--classes=sit,clap", f"--descriptions={path}"]) == 2
    told = capsys.readouterr()
    assert word in told.err
    assert told.err.count("\n") == 1
    assert not out.exists()
