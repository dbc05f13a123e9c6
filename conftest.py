"""Property tests try the same examples in every run, so that a run says something of the change.

``pytest --hypothesis-profile=search`` tries others, ten times as many.
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("search", max_examples=1000)
settings.load_profile("repeatable")
