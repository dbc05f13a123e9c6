"""Fixtures of ski-data's tests."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

REPO_ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def golden():
    """The folder of golden cases at the repository's root."""
    folder = REPO_ROOT / "tests" / "golden"
    if not folder.is_dir():
        pytest.skip("no golden cases: this is not a checkout of the whole repository")
    return folder


@pytest.fixture
def shared():
    """Real data beside the checkout."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` beside the checkout")
    return folder


@pytest.fixture
def full_disk():
    """A context in which no file of this process can grow beyond some bytes."""
    resource = pytest.importorskip("resource", reason="limits of files need a Unix system")

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def kill_until_done(rng):
    """Run a ski-data command again and again, killed at random moments, until it is done."""

    def run(out, *arguments):
        command = [sys.executable, "-c", "from ski_data.cli import main; raise SystemExit(main())"]
        work, kills = out.with_name(f".{out.name}.partial"), 0
        while not out.exists():
            process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE)
            seen, until = size_of(work), time.monotonic() + 60
            while (
                kills < 6
                and process.poll() is None
                and size_of(work) == seen
                and time.monotonic() < until
            ):
                time.sleep(0.002)
            if kills < 6:
                time.sleep(rng.uniform(0, 0.25))
                process.kill()
            _, said = process.communicate(timeout=120)
            assert process.returncode in (0, -9), said.decode()
            kills += process.returncode == -9
        return kills

    return run


def size_of(folder):
    """Bytes in the files of a folder that changes meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
