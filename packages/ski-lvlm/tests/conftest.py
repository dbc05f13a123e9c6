from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same generator state."""
    torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session")
def golden_folder():
    """The golden cases of the repository."""
    if not GOLDEN.is_dir():
        pytest.skip("no golden cases: this is not a checkout of the whole repository")
    return GOLDEN


@pytest.fixture
def golden(golden_folder):
    """Reads a golden case: its description and its arrays."""

    def read(stem):
        case = json.loads((golden_folder / f"{stem}.json").read_text(encoding="utf-8"))
        file = golden_folder / f"{stem}.npz"
        if not file.is_file():
            return case, {}
        with np.load(file) as arrays:
            return case, dict(arrays)

    return read
