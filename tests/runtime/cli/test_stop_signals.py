"""A request to stop is never lost, and never comes at a bad moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from kda_edge.runtime.cli.stop_signals import STOPPING, heard


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    signal.sigtimedwait([], 0.02)  # the handler runs before the next line of Python does


@pytest.mark.parametrize("number", STOPPING)
def test_each_signal_stops_where_nobody_asks(number: signal.Signals) -> None:
    with heard() as stop:
        with pytest.raises(KeyboardInterrupt):
            send(number)
        assert stop.exit_code == 128 + number


def test_work_that_asks_is_not_torn_apart_but_a_second_signal_ends_it() -> None:
    with heard() as stop, stop.polled() as asked:
        assert not asked()
        send(signal.SIGTERM)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_signal_that_was_swallowed_or_came_at_the_end_stops_the_next_work() -> None:
    with heard() as stop:
        with stop.polled():
            send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.polled().__enter__()
        assert stop.exit_code == 143


def an_error_while_listening(before: object) -> None:
    with heard():
        assert signal.getsignal(signal.SIGTERM) is not before
        raise ValueError("so")


def test_the_handlers_from_before_are_back_afterwards_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(ValueError, match="so"):
        an_error_while_listening(before[1])
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_what_is_ignored_stays_ignored() -> None:
    """Else nohup would not keep a run alive."""
    script = (
        "import os, signal; from kda_edge.runtime.cli.stop_signals import heard\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with heard() as stop: os.kill(os.getpid(), signal.SIGHUP); signal.sigtimedwait([], 0.02)\n"
        "assert not stop.asked()\n"
        "print('alive')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "alive\n")


def test_outside_of_the_main_thread_nothing_is_changed() -> None:
    before, found = signal.getsignal(signal.SIGTERM), list[object]()

    def run() -> None:
        with heard() as stop, stop.polled() as asked:
            found.append((signal.getsignal(signal.SIGTERM), asked(), stop.exit_code))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(before, False, 130)]
