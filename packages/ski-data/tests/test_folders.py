from __future__ import annotations

import os
import stat

import pytest

from ski_data.folders import usual_permissions


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_have_the_permissions_of_new_files(tmp_path):
    (tmp_path / "new").touch()
    path = tmp_path / "file"
    with usual_permissions(path):
        path.unlink()
        path.touch(0o600)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "new").stat().st_mode)


def test_nothing_stays_of_a_failed_write(tmp_path):
    with pytest.raises(KeyError), usual_permissions(tmp_path / "file"):
        raise KeyError("x")
    assert not any(tmp_path.iterdir())
