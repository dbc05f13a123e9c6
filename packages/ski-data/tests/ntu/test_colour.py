from __future__ import annotations

import numpy as np
import pytest

from ski_data.ntu.skeleton_file import SkeletonFileError, read_colour, write_skeleton


def test_what_was_written_is_read(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.uniform(0, 1920, (4, 25, 2)).round(2)
    write_skeleton(tmp_path / "a.skeleton", rng.standard_normal((4, 25, 3)), colour=colour)
    frame, read = read_colour(tmp_path / "a.skeleton")
    assert frame.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(read, colour, rtol=1e-6)


def test_garbage_in_the_colour_columns_is_named(tmp_path):
    path = tmp_path / "a.skeleton"
    write_skeleton(path, np.ones((2, 25, 3)))
    lines = path.read_text().split("\n")
    fields = lines[4].split()
    fields[5] = "oops"
    lines[4] = " ".join(fields)
    path.write_text("\n".join(lines))
    with pytest.raises(SkeletonFileError, match=r"a\.skeleton"):
        read_colour(path)
