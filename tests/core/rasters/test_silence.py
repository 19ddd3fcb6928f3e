"""Warnings are left out in all threads at once, and a program's own filters are its own again."""

from __future__ import annotations

import threading
import warnings

import pytest

from kda_edge.rasters.silence import silenced


class OddWarning(UserWarning):
    pass


def test_a_thread_that_ends_its_block_does_not_let_another_thread_be_heard() -> None:
    """What `catch_warnings` does: each puts back what it found, whoever came in between."""
    inside, out = threading.Event(), threading.Event()

    def other() -> None:
        with silenced(OddWarning):
            inside.set()
            out.wait(30)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        thread = threading.Thread(target=other)
        with silenced(OddWarning):
            thread.start()
            inside.wait(30)
        warnings.warn("the other thread is at work", OddWarning, stacklevel=1)
        out.set()
        thread.join()
        with pytest.raises(OddWarning):
            warnings.warn("nobody is", OddWarning, stacklevel=1)
        assert list(warnings.filters) == before


def test_a_programs_own_filters_are_left_as_they_are() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OddWarning)
        before = list(warnings.filters)
        with silenced(OddWarning), silenced(OddWarning):
            pass
        assert list(warnings.filters) == before
        warnings.resetwarnings()
        with silenced(OddWarning):
            warnings.resetwarnings()  # by somebody else, meanwhile
        assert list(warnings.filters) == []
