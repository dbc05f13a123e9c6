from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same generator state."""
    torch.manual_seed(0)
    return 0


@pytest.fixture
def scatter():
    """Give every parameter and statistic of a module a value that matters."""

    def fill(module):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, value in module.state_dict().items():
                if not value.dtype.is_floating_point:
                    continue
                draw = torch.randn(value.shape, generator=generator)
                if name.endswith("running_var"):
                    value.copy_(1 + 0.1 * draw.abs())
                elif value.ndim >= 2:
                    value.copy_(draw / value[0].numel() ** 0.5)
                else:
                    value.copy_(0.5 + 0.2 * draw)
        return module

    return fill
