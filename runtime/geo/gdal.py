"""GDAL as the runtime uses it: a bounded and shared block cache, strict reads, silence about missing georeferences."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import rasterio
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from kda_edge.gdal_setup import set_up_gdal
from kda_edge.opening_process import call_in_forks
from kda_edge.rasters.gdal_messages import GDAL_ERRORS, STRICT, one_line, undecodable_heard
from kda_edge.rasters.silence import silenced

from .raster_names import RasterName
from .readers_writer_lock import ReadersWriterLock

__all__ = ["CACHE_BYTES", "GDAL_ERRORS", "MOST_WARNINGS", "gdal_session", "one_line", "open_raster"]

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
        undecodable_heard,
        rasterio.Env(
            **STRICT,
            GDAL_TIFF_INTERNAL_MASK=True,
            GDAL_NUM_THREADS="1",  # else what its threads warn of is not heard, and they write blocks in another way
            **_unset(FROM_SERVERS),
        ),
    ):
        yield


def open_raster(name: RasterName, mode: str = "r", **profile: Any) -> Any:
    """Open a dataset as `rasterio.open` does, silent where it has no georeference."""
    set_up_gdal()
    with silenced(NotGeoreferencedWarning):
        if isinstance(name, Path):
            return rasterio.open(name, mode, **profile)
        try:
            return rasterio.open(name.gdal_name, mode, **profile)
        except GDAL_ERRORS as error:
            raise RasterioIOError(one_line(error)) from None  # the chain of causes may name passwords


def _unset(options: dict[str, Any]) -> dict[str, Any]:
    """Return those options that neither the environment nor the program has set otherwise."""
    return {name: value for name, value in options.items() if get_gdal_config(name) in (None, value)}
