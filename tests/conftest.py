"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a busy machine is not a failing test. The same examples every time: red in CI is red at home.
settings.register_profile("kda-edge", deadline=None, derandomize=True)
settings.load_profile("kda-edge")
