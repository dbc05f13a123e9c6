"""Locks, workers that end with their parent, and memory that workers keep."""

import platform
import subprocess
import sys

import pytest

from ski_data.errors import SkiDataError
from ski_data.processes import locked

FAULTS = """
import resource, sys
from ski_data.processes import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(50):
    [b"x" * (1 << 20) for _ in range(8)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_one_holder_at_a_time(tmp_path):
    with locked(tmp_path / "lock"), pytest.raises(SkiDataError, match="another process"):
        locked(tmp_path / "lock")
    locked(tmp_path / "lock").close()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_workers_keep_the_pages_of_freed_memory():
    faults = {}
    for mode in ("keep", "give"):
        command = [sys.executable, "-c", FAULTS, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[mode] = int(done.stdout)
    assert faults["keep"] < faults["give"] / 2
