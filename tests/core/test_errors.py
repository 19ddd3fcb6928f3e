"""Somebody else's error becomes one line that can be read, whatever it holds."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import OutputError, one_line, quantity


class SilentError(Exception):
    """Says nothing."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("out of memory"), "out of memory"),
        (RuntimeError("\n  out of memory \n  at line 3\n"), "out of memory"),
        (RuntimeError("export \x1b[96mfailed\x1b[0m\there\x07\x00"), "export failed here"),
        (RuntimeError("torn\u2028apart"), "torn"),
        (RuntimeError("Gr\u00fc\u00dfe aus \u6210\u90fd"), "Gr\u00fc\u00dfe aus \u6210\u90fd"),
        (
            RuntimeError('Error(s) in loading state_dict for ResNet:\n\tMissing key(s): "a".\n\tsize'),
            'Error(s) in loading state_dict for ResNet: Missing key(s): "a".',
        ),
        (RuntimeError("torn:\n"), "torn:"),
        (SilentError(), "SilentError"),
        (SilentError("\n \t\n"), "SilentError"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/map.tif"), "No space left on device"),
        (PermissionError(0, "others than you may write it"), "others than you may write it"),
        (OSError("libcudart.so: cannot open\nmore"), "libcudart.so: cannot open"),
        (OSError(), "OSError"),
        (URLError("no route"), "<urlopen error no route>"),
        (HTTPError("https://example.org", 404, "Not Found", None, None), "HTTP Error 404: Not Found"),  # type: ignore[arg-type]  # no headers
        (OutputError("the map can't be written; free some space"), "the map can't be written; free some space"),
        ("a library's log\n  goes on", "a library's log goes on"),
        ("", ""),
    ],
    ids=repr,
)
def test_the_reason_of_an_error_is_what_the_system_says_or_the_first_line_that_says_something(
    error: BaseException | str, said: str
) -> None:
    assert one_line(error) == said


def test_the_path_of_a_system_error_is_left_to_the_message_around_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "nowhere").read_bytes()
    assert one_line(caught.value) == "No such file or directory"


@given(st.text(), st.integers(4, 60), st.sampled_from([RuntimeError, OSError, str]))
def test_a_reason_is_printable_no_longer_than_asked_and_says_something(
    text: str, at_most: int, kind: type[RuntimeError | OSError | str]
) -> None:
    line = one_line(kind(text), at_most)
    assert len(line) <= at_most
    assert line.isprintable()
    assert line == line.strip()
    assert line or kind is str


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200))
def test_a_plain_word_stays_as_it_is(word: str) -> None:
    assert one_line(ValueError(word)) == word


def test_one_thing_has_no_plural_and_none_or_several_have() -> None:
    assert [quantity(number, "band") for number in (0, 1, 2)] == ["0 bands", "1 band", "2 bands"]


def test_a_long_reason_shows_that_it_was_cut() -> None:
    assert one_line(ValueError("x" * 201)) == "x" * 197 + "..."
    assert one_line(ValueError("x" * 200)) == "x" * 200
