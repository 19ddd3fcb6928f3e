"""Standard streams that never stop a command's work: closed, full, or unable to encode what is said.

A report is not the work. What a stream can't encode is escaped; what it can't take is lost, which the exit code tells.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import filterfalse
from typing import Any, ParamSpec, TextIO, cast

from kda_edge.commands import EXIT_ERROR

_Arguments = ParamSpec("_Arguments")


class SteadyStream:
    """A text stream that takes all that is written to it and remembers whether some of it was lost.

    Attributes:
        lost: something could not be written.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap a stream; None, as Python calls one that was closed before it started, loses all."""
        self.lost = False
        self._closed = stream is None
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: PTH123, SIM115 -- closed by `release`

    def write(self, text: str) -> int:
        """Write a text, what can't be encoded as Python escapes it."""
        self.lost |= self._closed and bool(text)
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):  # full; closed by somebody; its reader has gone
            self._lose()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts, one behind the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write out what waits."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lose()

    def release(self) -> None:
        """Write out what waits, and close what this object has opened."""
        self.flush()
        if self._closed:
            self._stream.close()

    def __getattr__(self, name: str) -> Any:
        """Return anything else of the stream."""
        return getattr(self._stream, name)

    def _lose(self) -> None:
        """Let what waits go nowhere; Python would fail on it once more at its end."""
        self.lost = True
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
            self._stream.flush()


@contextmanager
def steady_streams() -> Iterator[Callable[[], bool]]:
    """Have standard output and error take everything until the block ends; yields whether some of it was lost."""
    _occupy_closed()
    before = sys.stdout, sys.stderr
    steady = tuple(SteadyStream(stream) for stream in before)
    sys.stdout, sys.stderr = (cast(TextIO, stream) for stream in steady)
    try:
        yield lambda: any(stream.lost for stream in steady)
    finally:
        for stream in steady:
            stream.release()
        sys.stdout, sys.stderr = before


def with_steady_streams(command: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Have a command do its work whatever becomes of its report; where some of that is lost, 0 becomes 1."""

    @functools.wraps(command)
    def steady(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> int:
        code: Any
        with steady_streams() as lost:
            try:
                code, leave = command(*args, **kwargs), False
            except SystemExit as stop:  # argparse has printed help, version or usage
                code, leave = stop.code or 0, True
            sys.stdout.flush()
            sys.stderr.flush()
            code = code or EXIT_ERROR * lost()
        if leave:
            raise SystemExit(code)
        return int(code)

    return steady


def _occupy_closed() -> None:
    """Open nothing on the descriptors of closed standard streams.

    The next file would get such a number, and what a library prints to standard error would be written into a map.
    """
    for descriptor in filterfalse(_is_open, (0, 1, 2)):
        null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if null != descriptor:  # a thread was faster
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)  # as standard streams are


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
