from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import problem


@pytest.fixture(scope="session")
def classes():
    """Names and texts of thirty classes."""
    return problem.texts()


@pytest.fixture(scope="session")
def clips(classes):
    """Their features."""
    return problem.features(*classes)
