"""How the runtime uses GDAL: a bounded cache, strict reads, silence about files without a georeference."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import rasterio
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning

from kda_edge.rasters.gdal_messages import GDAL_ERRORS, STRICT, one_line

__all__ = ["CACHE_BYTES", "GDAL_ERRORS", "MOST_WARNINGS", "gdal_session", "one_line", "open_raster"]

# Whole rows are read once and written once, so the cache need only hold one row of blocks in flight. Unmeasured.
CACHE_BYTES: Final = 32 * 2**20

MOST_WARNINGS: Final = 8  # kept of one scene; a damaged file may warn with every block


class _BoundedCache:
    """GDAL's block cache, which the whole process shares: bounded from the first user's start to the last one's end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = get_gdal_config("GDAL_CACHEMAX")
            set_gdal_config("GDAL_CACHEMAX", CACHE_BYTES)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                set_gdal_config("GDAL_CACHEMAX", self._before)


_cache: Final = _BoundedCache()


@contextmanager
def gdal_session() -> Iterator[None]:
    """Bound GDAL's block cache and have files that can't be read fail; several threads may be inside at once.

    The cache's former bound is restored when the last of them leaves.
    """
    with (
        _cache,
        rasterio.Env(**STRICT, GDAL_TIFF_INTERNAL_MASK=True),
    ):
        yield


def open_raster(path: Path, mode: str = "r", **profile: Any) -> Any:
    """Open a dataset as `rasterio.open` does, silent where it has no georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)
