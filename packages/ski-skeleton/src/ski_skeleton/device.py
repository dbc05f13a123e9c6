"""The device that a command is told to use."""

from __future__ import annotations

import torch

from ski_skeleton.errors import ConfigError


def check_device(name: str | torch.device) -> torch.device:
    """The device of that name, if this machine has it.

    Raises:
        ConfigError: no such device, or not here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
        known = ["cpu", *(f"cuda:{i}" for i in range(cards))]
        raise ConfigError(
            f"--device {name}: not on this machine; it has {', '.join(known)}"
        ) from error
    return device
