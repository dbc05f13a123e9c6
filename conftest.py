"""Property tests try the same examples in every run, so that a run says something of the change.

``pytest --hypothesis-profile=search`` tries others, ten times as many.

Processes that share the cores (``pytest -n``) take one thread each.
"""

import os

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("search", max_examples=1000)
settings.load_profile("repeatable")
