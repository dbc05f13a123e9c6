from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).resolve().parents[3] / "tests" / "golden"


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same generator state."""
    torch.manual_seed(0)
    return 0


@pytest.fixture
def golden():
    """Reads a golden case: its description and its arrays."""
    if not GOLDEN.is_dir():
        pytest.skip("no golden cases: this is not a checkout of the whole repository")

    def read(stem):
        case = json.loads((GOLDEN / f"{stem}.json").read_text(encoding="utf-8"))
        file = GOLDEN / f"{stem}.npz"
        if not file.is_file():
            return case, {}
        with np.load(file) as arrays:
            return case, dict(arrays)

    read.folder = GOLDEN
    return read
