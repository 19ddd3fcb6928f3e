"""A bar with the time left on a terminal, a line each half minute where the output is piped, and no silence."""

from __future__ import annotations

import io
import re
import threading

import pytest
from fake_time import FakeClock

from kda_edge.progress import progress_bar
from kda_edge.progress.callbacks import counted
from kda_edge.progress.progress_bar import ERASE, ProgressBar, in_words


class Terminal(io.StringIO):
    """A terminal that remembers what was written to it."""

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        """What stands in its last line."""
        return self.getvalue().rpartition(ERASE)[2]


def test_piped_output_has_a_line_each_half_minute_and_none_for_what_is_quick() -> None:
    clock, stream = FakeClock(), io.StringIO()
    with ProgressBar("kda-x: ", stream, clock=clock) as bar:
        for done in range(101):
            bar("tiles", done, 100)
            clock.pass_ms(1000)
        bar("images", 1, 9)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "kda-x: tiles: 30 of 100, about 70 s left",
        "kda-x: tiles: 60 of 100, about 40 s left",
        "kda-x: tiles: 90 of 100, about 10 s left",
    ]
    assert ERASE not in stream.getvalue()


def test_the_time_left_counts_from_where_the_label_began() -> None:
    """A first report after the first step must not make the rest look quicker."""
    clock, stream = FakeClock(), io.StringIO()
    bar = ProgressBar(stream=stream, clock=clock)
    clock.pass_ms(100_000)
    bar("other", 5, 5)
    bar("steps", 10, 50)
    clock.pass_ms(60_000)
    bar("steps", 20, 50)
    assert stream.getvalue().splitlines()[-1] == "steps: 20 of 50, about 3 min left"


def test_a_terminal_shows_one_line_that_goes_when_all_is_done() -> None:
    clock, terminal = FakeClock(), Terminal()
    with ProgressBar("kda-x: ", terminal, clock=clock) as bar:
        bar("tiles", 0, 4)
        clock.pass_ms(2000)
        bar("tiles", 1, 4)
        assert terminal.shown() == "tiles [######..................] 1 of 4, about 6 s left"
        clock.pass_ms(1)
        bar("tiles", 2, 4)
        assert "2 of 4" not in terminal.getvalue(), "not drawn faster than anybody reads"
        bar.say("a note")
        assert terminal.shown() == "kda-x: a note\n"
        bar("tiles", 4, 4)
        bar("images", 0, 2)
        assert terminal.shown().startswith("images [....")
    assert terminal.shown() == ""
    assert "\n" not in terminal.getvalue().replace("kda-x: a note\n", "")


def test_a_step_of_unknown_length_tells_how_long_it_takes() -> None:
    clock, stream = FakeClock(), io.StringIO()
    bar = ProgressBar(stream=stream, clock=clock)
    bar("tracing", 0, 0)
    clock.pass_ms(31_000)
    bar("tracing", 0, 0)
    assert stream.getvalue() == "tracing, 31 s so far\n"


def test_a_thread_tells_of_a_step_that_does_not_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "HEARTBEAT_S", 0.01)
    clock, written = FakeClock(reading_s=10.0), threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            if "so far" in text:
                written.set()
            return super().write(text)

    before = threading.active_count()
    with ProgressBar("kda-x: ", stream := Pipe(), heartbeat=True, clock=clock) as bar:
        bar("tracing", 0, 0)
        assert written.wait(10)
    assert threading.active_count() == before
    assert re.match(r"kda-x: tracing, \d+ s so far\n", stream.getvalue())
    ended = stream.getvalue()
    assert not bar._thread or not bar._thread.is_alive()
    assert stream.getvalue() == ended


def test_items_are_counted_as_they_are_done() -> None:
    told: list[tuple[str, int, int]] = []

    def tell(label: str, done: int, total: int) -> None:
        told.append((label, done, total))

    for item in counted("ab", "letters", tell):
        tell(item, -1, -1)
    assert told == [("letters", 0, 2), ("a", -1, -1), ("letters", 1, 2), ("b", -1, -1), ("letters", 2, 2)]


def test_a_narrow_terminal_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    ProgressBar(stream=terminal)("a very long label that nobody shortens", 1, 3)
    assert len(terminal.shown()) == 19


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
