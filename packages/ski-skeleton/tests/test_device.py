from __future__ import annotations

import pytest
import torch

from ski_skeleton.device import check_device
from ski_skeleton.errors import ConfigError


def test_devices_that_are_there():
    assert check_device("cpu") == torch.device("cpu")
    assert check_device(torch.device("cpu")).type == "cpu"


@pytest.mark.parametrize("name", ["cuda:77", "gpu", ""])
def test_devices_that_are_not(name):
    with pytest.raises(ConfigError, match="not on this machine; it has cpu"):
        check_device(name)
