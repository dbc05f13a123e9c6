"""Property tests try the same examples in every run, so that a run says something of the change.

``pytest --hypothesis-profile=search`` tries others, ten times as many.
"""

from hypothesis import HealthCheck, settings

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
settings.register_profile("repeatable", patient, derandomize=True)
settings.register_profile("search", patient, max_examples=1000)
settings.load_profile("repeatable")
