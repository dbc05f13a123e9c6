from __future__ import annotations

import pytest

from ski_vlm.students import build_student


@pytest.fixture
def build():
    """A student in evaluation mode."""

    def made(config):
        return build_student(config).eval()

    return made
