"""What the machine's matrix products reach, in the run that the figures come from."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

PRODUCT = 2048
"""Rows and columns of the matrices whose product is the ceiling."""


def bfloat16_instructions() -> str:
    """What the processor has for products of bfloat16."""
    known = {"AMX": "_is_amx_tile_supported", "AVX-512": "_is_avx512_bf16_supported"}
    found = [name for name, test in known.items() if getattr(torch.cpu, test)()]
    return " and ".join(found) or "none"


class Ceiling:
    """Best rate so far of large float32 products, in operations per second.

    Attributes:
        product: That of ``torch.mm``.
        convolution: That of a 1x1 convolution, channels last, which another library computes.
    """

    def __init__(self, threads: int) -> None:
        self.threads, self.product, self.convolution = threads, 0.0, 0.0
        self.left, self.right = torch.randn(2, PRODUCT, PRODUCT).unbind()
        self.image = self.left.view(1, PRODUCT, 1, PRODUCT).permute(0, 3, 1, 2)

    def measure(self) -> None:
        """Both once more."""
        work, kernel = 2 * PRODUCT**3, self.right[:, :, None, None]
        seconds = seconds_of(lambda: torch.mm(self.left, self.right), self.threads)
        self.product = max(self.product, work / seconds)
        seconds = seconds_of(lambda: F.conv2d(self.image, kernel), self.threads)
        self.convolution = max(self.convolution, work / seconds)


def half_precision() -> torch.autocast:
    """Autocast to bfloat16 on the CPU."""
    return torch.autocast("cpu", torch.bfloat16)


def seconds_of(function: Callable[[], object], threads: int) -> float:
    """Processor seconds of all threads, divided by their number."""
    start = time.process_time()
    function()
    return max(time.process_time() - start, 1e-9) / threads
