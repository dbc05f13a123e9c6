from __future__ import annotations

import pytest

from ski_skeleton.errors import ConfigError
from ski_skeleton.text import class_prompts


def test_published_template():
    assert class_prompts(["eat meal/snack"]) == ["a photo of a eat meal/snack."]


def test_braces_in_a_name_stay():
    assert class_prompts(["{x}"], "{name}") == ["{x}"]


@pytest.mark.parametrize(("names", "template"), [([], "{name}"), (["a"], "a photo")])
def test_nothing_to_name(names, template):
    with pytest.raises(ConfigError):
        class_prompts(names, template)
