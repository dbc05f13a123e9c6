from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_clip():
    """Settings of a CLIP that is made in no time."""
    from ski_skeleton.text import ClipConfig, ClipSizes

    sizes = ClipSizes(
        embed=16,
        image=32,
        patch=16,
        vision_width=32,
        vision_layers=2,
        vision_head=16,
        text_width=16,
        text_layers=1,
        text_heads=1,
    )
    return ClipConfig(architecture=None, sizes=sizes)
