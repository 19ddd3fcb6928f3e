"""An interrupt that somebody swallows is raised again at the next tile."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from kda_edge.runtime.interrupts import Interrupts, heard


def swallow_an_interrupt() -> None:
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 5)  # the handler runs before the next line of Python does
    except KeyboardInterrupt:
        pass
    else:
        pytest.fail("no interrupt came")


def test_an_interrupt_that_was_swallowed_stops_the_next_tile_and_every_one_after() -> None:
    told: list[tuple[int, int]] = []
    with heard() as interrupts:
        progress = interrupts.checked(lambda done, total: told.append((done, total)))
        progress(1, 9)
        swallow_an_interrupt()
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                progress(2, 9)
    assert told == [(1, 9)]


def an_error_while_listening(before: object) -> None:
    with heard():
        assert signal.getsignal(signal.SIGINT) is not before
        raise ValueError("so")


def test_the_handler_from_before_is_back_afterwards_also_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="so"):
        an_error_while_listening(before)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_of_the_main_thread_nothing_is_changed() -> None:
    before, found = signal.getsignal(signal.SIGINT), list[object]()

    def run() -> None:
        with heard() as interrupts:
            interrupts.check()
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]


def test_without_a_progress_of_ones_own_the_check_is_made_all_the_same() -> None:
    interrupts = Interrupts()
    tell = interrupts.checked(None)
    tell(1, 2)
    interrupts.asked = True
    with pytest.raises(KeyboardInterrupt):
        tell(2, 2)
