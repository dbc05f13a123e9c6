from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ski_vlm.class_texts import ClassTexts, encode_texts
from ski_vlm.errors import ConfigError
from ski_vlm.students import STUDENTS

TEMPLATES = ("a video of {name}", "{name}")


@pytest.fixture(params=STUDENTS)
def any_student(request, config):
    kind = STUDENTS[request.param]
    depth = {"text_depth": 1, "image_depth": 1} if "prompted" in request.param else {}
    return kind.model(kind.config(clip=config.clip, frames=4, **depth)).eval()


def test_names_alone_are_the_students_own(any_student, names):
    with torch.no_grad():
        found = encode_texts(any_student, ClassTexts(tuple(names)))
        torch.testing.assert_close(found, any_student.encode_classes(names))


def test_templates_are_averaged(student, names):
    with torch.no_grad():
        found = encode_texts(student, ClassTexts(tuple(names), TEMPLATES))
        each = [student.text.unit_text([t.format(name=n) for n in names]) for t in TEMPLATES]
        torch.testing.assert_close(found, F.normalize((each[0] + each[1]) / 2, dim=-1))
        one = encode_texts(student, ClassTexts(tuple(names), (student.config.template,)))
        torch.testing.assert_close(one, student.encode_classes(names))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_descriptions_have_their_share(student, names, share):
    said = ("from standing to sitting", "from sitting to standing", "hands meet")
    with torch.no_grad():
        found = encode_texts(student, ClassTexts(tuple(names), (), said, share))
        mixed = (1 - share) * student.encode_classes(names) + share * student.text.unit_text(said)
        torch.testing.assert_close(found, F.normalize(mixed, dim=-1))


def test_every_student_scores_with_them(any_student, names, batch):
    texts = ClassTexts(tuple(names), TEMPLATES, ("one", "two", "three"))
    with torch.no_grad():
        if any_student.config.kind == "vifi-clip-prompted":
            with pytest.raises(ConfigError, match="learned prompts"):
                encode_texts(any_student, texts)
            return
        video = any_student.normalise(batch["video"])
        output = any_student.score(video, encode_texts(any_student, texts))
    assert output.cosines.shape == (3, 3)
    assert output.cosines.abs().max() <= 1 + 1e-5


@pytest.mark.parametrize(
    "settings",
    [{"descriptions": ("one",)}, {"share": 2.0}, {"templates": ("no place for a name",)}],
)
def test_bad_settings(names, settings):
    with pytest.raises(ValueError):
        ClassTexts(tuple(names), **settings)
