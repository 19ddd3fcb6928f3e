"""What GDAL says while it works: strict reads, errors and warnings heard in one thread, each as one line."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from rasterio._err import CPLE_BaseError  # raised by GDAL calls that rasterio doesn't wrap; it has no public name
from rasterio.errors import CRSError, RasterioError, RasterioIOError

from kda_edge import errors
from kda_edge.addresses import redacted
from kda_edge.errors import UsageError
from kda_edge.opening_process import call_in_forks

# rasterio 1.3's RasterioIOError is an OSError and no RasterioError, and CRSError is neither in any version. What GDAL
# says of a damaged header may be no UTF-8.
GDAL_ERRORS: Final = (RasterioError, RasterioIOError, CPLE_BaseError, CRSError, UnicodeDecodeError)

MESSAGE_CHARS: Final = 1000  # of one of GDAL's

# A file without an end may say as many different things; no damage may hide behind them.
MOST_HEARD: Final = 4096

# GDAL's options under which a file that can't be read fails, for `rasterio.Env`.
# - PNG: GDAL's own way of decoding a whole picture at once takes what lies behind the end of a file for pixels.
# - ERDAS Imagine: what lies behind the end of a file is zeros, and only a debug message says so.
STRICT: Final[dict[str, Any]] = {
    "GTIFF_IGNORE_READ_ERRORS": False,
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    "CPL_DEBUG": "HFABand",
}
_BEHIND_THE_END: Final = "HFABand: Read of"


class _Ear(logging.Filter):
    """Hears what GDAL warns of in one thread; as a filter it is asked before a program's own handlers are."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard, self._thread = heard, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self._thread:
            return True  # for another thread's ear to hear
        text = redacted(" ".join(record.getMessage().split()))
        counts = record.levelno >= logging.WARNING or text.startswith(_BEHIND_THE_END)
        if counts and text not in self._heard and len(self._heard) < MOST_HEARD:
            self._heard.append(text)
        return record.levelno >= _attention.level


class _Attention:
    """Has rasterio pass on what GDAL says while anybody listens, and the program get that alone that it asked for."""

    def __init__(self) -> None:
        self.log = logging.getLogger("rasterio._err")
        self.level = logging.NOTSET  # that the program asked for
        self._lock = threading.Lock()
        self._listeners = 0
        self._before = logging.NOTSET

    def __enter__(self) -> None:
        with self._lock:
            if self._listeners == 0:
                self._before, self.level = self.log.level, self.log.getEffectiveLevel()
                self.log.setLevel(min(self.level, logging.DEBUG))
            self._listeners += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._listeners -= 1
            if self._listeners == 0:
                self.log.setLevel(self._before)

    def begin_anew(self) -> None:
        """Forget the listeners, whose threads a fork does not have, and the lock that one of them may have held."""
        self._lock = threading.Lock()
        if self._listeners:
            self._listeners = 0
            self.log.setLevel(self._before)


_attention: Final = _Attention()
call_in_forks(_attention.begin_anew)


class _Undecodable:
    """Has messages of GDAL that are no UTF-8 heard like all others, while anybody works with it.

    A damaged file's header may be quoted in them. rasterio fails on such a message in a callback, where Python prints a
    traceback and drops the message: a warning would go unheard.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._before = sys.unraisablehook, sys.excepthook

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = sys.unraisablehook, sys.excepthook
                sys.unraisablehook, sys.excepthook = self._hear, self._pass_on
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                sys.unraisablehook, sys.excepthook = self._before

    def begin_anew(self) -> None:
        """Forget the users, whose threads a fork does not have, and the lock that one of them may have held."""
        self._lock = threading.Lock()
        if self._users:
            self._users = 0
            sys.unraisablehook, sys.excepthook = self._before

    def _hear(self, dropped: sys.UnraisableHookArgs) -> None:
        error = dropped.exc_value
        if isinstance(error, UnicodeDecodeError) and str(dropped.object).startswith("rasterio."):
            _attention.log.warning("%s", bytes(error.object).decode("utf-8", "backslashreplace"))
        else:
            self._before[0](dropped)

    def _pass_on(self, kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        """Keep what Python is told of the same error for the second time, which has no traceback."""
        if not (isinstance(error, UnicodeDecodeError) and at is None):
            self._before[1](kind, error, at)


undecodable_heard: Final = _Undecodable()
call_in_forks(undecodable_heard.begin_anew)


@contextmanager
def listening(heard: list[str]) -> Iterator[None]:
    """Add to a list what GDAL warns of in this thread, each sentence once; rasterio tells it to its logger only.

    A damaged JPEG block, for one, is a warning and some grey pixels, no error. That is heard whatever level the
    program has set for rasterio's loggers, and passed on to its handlers only from that level on.

    Raises:
        UsageError: the program has switched warnings off for all of its loggers; then damage could not be heard.
    """
    if logging.root.manager.disable >= logging.WARNING:
        raise UsageError(
            "logging.disable keeps GDAL's warnings of damaged pixels from being heard; set a logger's level instead"
        )
    ear = _Ear(heard)
    with _attention, undecodable_heard:
        _attention.log.addFilter(ear)
        try:
            yield
        finally:
            _attention.log.removeFilter(ear)


def one_line(error: BaseException) -> str:
    """Return what GDAL or the system said, on one line; rasterio hides it in the cause."""
    if isinstance(error, GDAL_ERRORS) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return errors.one_line(error, MESSAGE_CHARS)
    # GDAL's own words go on over several lines, and name whole paths and addresses.
    return errors.one_line(redacted(str(error).strip()) or type(error).__name__, MESSAGE_CHARS)
