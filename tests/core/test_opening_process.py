from __future__ import annotations

import gc
import os
import weakref

import pytest
from forks import in_a_fork

from kda_edge.errors import UsageError
from kda_edge.opening_process import OpeningProcess, call_in_forks

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no system with fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class Owner:
    """Holds something of this process, in a circle of references too."""

    def __init__(self) -> None:
        self.process, self.me = OpeningProcess(self), self


def is_freed_when_dropped(owners: list[Owner]) -> bool:
    seen = weakref.ref(owners[0])
    owners.clear()
    gc.collect()
    return seen() is None


def test_what_is_bound_to_a_process_is_used_and_freed_there_as_anything_else() -> None:
    owners = [Owner()]
    owners[0].process.require("the engine")
    assert owners[0].process.is_this
    assert is_freed_when_dropped(owners)


def test_in_a_fork_it_is_refused_in_one_line_and_never_freed() -> None:
    owners = [Owner()]

    def use() -> str:
        assert not owners[0].process.is_this
        with pytest.raises(UsageError) as refused:
            owners[0].process.require("the engine")
        return f"{is_freed_when_dropped(owners)}: {refused.value}"

    said = in_a_fork(use, leave=os._exit)
    assert said.startswith("False: the engine was opened in another process")
    assert "\n" not in said
    assert is_freed_when_dropped(owners)


def test_what_a_fork_opens_itself_is_its_own() -> None:
    def use() -> str:
        owners = [Owner()]
        owners[0].process.require("the engine")
        return str(is_freed_when_dropped(owners))

    assert in_a_fork(use, leave=os._exit) == "True"


def test_what_is_to_be_renewed_is_renewed_in_forks_and_in_them_alone() -> None:
    calls: list[int] = []
    call_in_forks(lambda: calls.append(os.getpid()))
    assert in_a_fork(lambda: str(calls == [os.getpid()]), leave=os._exit) == "True"
    assert calls == []
