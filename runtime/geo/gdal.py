"""GDAL as the runtime uses it: a bounded and shared block cache, strict reads, warnings passed on or silenced."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # raised by GDAL calls that rasterio doesn't wrap; it has no public name
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import CRSError, NodataShadowWarning, NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from kda_edge import errors
from kda_edge.addresses import redacted
from kda_edge.errors import UsageError
from kda_edge.gdal_setup import set_up_gdal
from kda_edge.opening_process import call_in_forks

from .raster_names import RasterName
from .readers_writer_lock import ReadersWriterLock

# Whole rows are read once and written once, so the cache need only hold one row of blocks in flight. Unmeasured.
CACHE_BYTES: Final = 32 * 2**20
# Its bound while blocks wait in it to be written. When it is full, they are written: a map's layout follows from it.
WRITER_CACHE_BYTES: Final = 32 * 2**20

MESSAGE_CHARS: Final = 1000  # of one of GDAL's
MOST_WARNINGS: Final = 8  # kept of one scene; a damaged file may warn with every block

# Of addresses, where the environment says nothing else. A server that does not answer, or sends less than 100 bytes a
# second for half a minute, is asked twice more and then given up; choices, unmeasured. What was read is not kept when
# a file is closed: GDAL would go on to give it when the file has changed, or its server is gone.
FROM_SERVERS: Final[dict[str, Any]] = {
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{kind}/" for kind in ("adls", "az", "curl", "gs", "oss", "s3", "swift")),
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 100,
    "GDAL_HTTP_LOW_SPEED_TIME": 30,
    "GDAL_HTTP_MAX_RETRY": 2,
    "GDAL_HTTP_RETRY_DELAY": 1,
}

# rasterio 1.3's RasterioIOError is an OSError and no RasterioError, and CRSError is neither in any version.
GDAL_ERRORS: Final = (RasterioError, RasterioIOError, CPLE_BaseError, CRSError)


class _BoundedCache:
    """GDAL's block cache, which the whole process shares: bounded from the first user's start to the last one's end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._bytes = 0  # while it waits for blocks to be written; else 0
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._before is None:
                self._before = get_gdal_config("GDAL_CACHEMAX")
            set_gdal_config("GDAL_CACHEMAX", self._bytes or CACHE_BYTES)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                set_gdal_config("GDAL_CACHEMAX", self._before)
                self._before = None

    def begin_anew(self) -> None:
        """Forget the users, whose threads a fork does not have, and the lock that one of them may have held."""
        self._lock, self._users = threading.Lock(), 0

    @contextmanager
    def of_a_writer(self) -> Iterator[None]:
        """Keep to another bound, whoever enters meanwhile; for one user at a time."""
        try:
            with self._lock:
                self._bytes = WRITER_CACHE_BYTES
                set_gdal_config("GDAL_CACHEMAX", self._bytes)
            yield
        finally:
            with self._lock:
                self._bytes = 0
                set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)


_cache: Final = _BoundedCache()
_turns: Final = ReadersWriterLock()
call_in_forks(_cache.begin_anew)
call_in_forks(_turns.begin_anew)


@contextmanager
def reading_blocks() -> Iterator[None]:
    """Read pixels: whenever nobody has blocks in the cache that wait to be written, see `writing_blocks`.

    Not to be entered twice in one thread.
    """
    with _turns.shared():
        yield


@contextmanager
def writing_blocks() -> Iterator[None]:
    """Write through GDAL's block cache, alone, within `gdal_session`; at the end nothing must wait there any more.

    A thread that reads and needs room would write what waits there: in another order each time, and the disk's errors
    would be taken for damage of what it reads. A program's own threads are not held back: a write in order stays so,
    but for two blocks that are written at the same moment.
    """
    with _turns.alone(), _cache.of_a_writer():
        yield


@contextmanager
def gdal_session() -> Iterator[None]:
    """Bound GDAL's block cache and have files that can't be read fail; several threads may be inside at once.

    The cache's former bound is restored when the last of them leaves.

    Raises:
        UsageError: the environment names data that PROJ can't use, and there are no others.
    """
    set_up_gdal()
    with (
        _cache,
        rasterio.Env(
            GTIFF_IGNORE_READ_ERRORS=False,
            GDAL_ERROR_ON_LIBJPEG_WARNING=True,
            GDAL_TIFF_INTERNAL_MASK=True,
            GDAL_NUM_THREADS="1",  # else what its threads warn of is not heard, and they write blocks in another way
            **_unset(FROM_SERVERS),
        ),
    ):
        yield


class _Ear(logging.Filter):
    """Hears what GDAL warns of in one thread; as a filter it is asked before a program's own handlers are."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard, self._thread = heard, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self._thread:
            return True  # for another thread's ear to hear
        if record.levelno >= logging.WARNING:
            text = redacted(" ".join(record.getMessage().split()))
            if text not in self._heard and len(self._heard) < MOST_WARNINGS:
                self._heard.append(text)
        return record.levelno >= _attention.level


class _Attention:
    """Has rasterio pass on GDAL's warnings while anybody listens, and the program get those alone that it asked for."""

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
                self.log.setLevel(min(self.level, logging.WARNING))
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
    with _attention:
        _attention.log.addFilter(ear)
        try:
            yield
        finally:
            _attention.log.removeFilter(ear)


def open_raster(name: RasterName, mode: str = "r", **profile: Any) -> Any:
    """Open a dataset as `rasterio.open` does, silent where it has no georeference."""
    set_up_gdal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if isinstance(name, Path):
            return rasterio.open(name, mode, **profile)
        try:
            return rasterio.open(name.gdal_name, mode, **profile)
        except GDAL_ERRORS as error:
            raise RasterioIOError(one_line(error)) from None  # the chain of causes may name passwords


def _unset(options: dict[str, Any]) -> dict[str, Any]:
    """Return those options that neither the environment nor the program has set otherwise."""
    return {name: value for name, value in options.items() if get_gdal_config(name) in (None, value)}


def valid_mask(dataset: Any, window: Window) -> NDArray[np.bool_]:
    """Return `dataset_mask` of a window as a truth, silent where a file has a nodata value and an alpha band."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NodataShadowWarning)
        return np.asarray(dataset.dataset_mask(window=window) > 0)


def one_line(error: BaseException) -> str:
    """Return what GDAL or the system said, on one line; rasterio hides it in the cause."""
    if isinstance(error, GDAL_ERRORS) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return errors.one_line(error, MESSAGE_CHARS)
    # GDAL's own words go on over several lines, and name whole paths and addresses.
    return errors.one_line(redacted(str(error).strip()) or type(error).__name__, MESSAGE_CHARS)
