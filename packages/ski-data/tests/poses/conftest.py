"""Videos with and without somebody, and a pose process that needs no model."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from ski_data.poses import estimator


@pytest.fixture
def python(monkeypatch):
    """The interpreter for the fake pose process, which takes the place of the real one."""
    monkeypatch.setattr(estimator, "WORKER", Path(__file__).with_name("fake_worker.py"))
    return Path(sys.executable)


@pytest.fixture(scope="session")
def write_levels():
    """Writes a gray video, one brightness per frame."""

    def write(path, levels, height=96, width=128):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for level in levels:
                picture = np.full((height, width, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write
