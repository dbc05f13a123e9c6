"""Fixtures of ski-data's tests."""

from pathlib import Path

import numpy as np
import pytest

REPO_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def golden():
    """The folder of golden cases at the repository's root."""
    folder = REPO_ROOT / "tests" / "golden"
    if not folder.is_dir():
        pytest.skip("no golden cases: this is not a checkout of the whole repository")
    return folder


@pytest.fixture
def shared():
    """Real data beside the checkout."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` beside the checkout")
    return folder
