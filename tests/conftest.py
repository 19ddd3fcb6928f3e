"""Settings of every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# One thread each, before anything that reads it is imported: OpenMP's threads spin while they wait for one another, and
# tests run side by side (make test): beside another process a test file took minutes instead of seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a busy machine is not a failing test. The same examples every time: red in CI is red at home.
settings.register_profile("kda-edge", deadline=None, derandomize=True)
settings.load_profile("kda-edge")


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or left in the user's cache, by commands that tests start neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDA_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
