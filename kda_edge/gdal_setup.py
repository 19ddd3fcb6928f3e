"""Setting up GDAL once in a process: data that fit it, no password in its messages, no line of its own on stderr.

QGIS, conda, PostGIS and others set PROJ_LIB, PROJ_DATA, GDAL_DATA and GDAL_DRIVER_PATH for their own libraries. A PROJ
that reads another's data knows no CRS, and another GDAL's drivers may take the process down.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import re
from pathlib import Path
from typing import Final

from kda_edge.addresses import redacted
from kda_edge.errors import UsageError, one_line

PROJ_VARIABLES: Final = ("PROJ_DATA", "PROJ_LIB")  # rasterio takes the first that there is
GDAL_LOGGERS: Final = ("rasterio._env", "rasterio._err")  # to which rasterio passes on what GDAL says
LIBRARIES: Final = Path("/proc/self/maps")  # of this process, a line each
_LIBTIFF: Final = re.compile(r"/\S*/libtiff[^/\s]*\.so\S*")

_log = logging.getLogger(__name__)


@functools.cache
def set_up_gdal() -> None:
    """Set up GDAL, once in a process and before its first work.

    - GDAL and PROJ get data that fit them: variables that name what can't be used are taken out of this process's
      environment, as rasterio reads them again and again. A folder of PROJ's that can be used stays; somebody may have
      put grids there.
    - What GDAL says is logged without passwords.
    - libtiff prints nothing.

    Raises:
        UsageError: PROJ can't use what the environment names, and rasterio has nothing in its place.
    """
    for logger in GDAL_LOGGERS:
        logging.getLogger(logger).addFilter(_redacted_record)
    _require_data()
    _silence_libtiff()


def _require_data() -> None:
    from rasterio.env import GDALDataFinder

    own = GDALDataFinder().search_wheel()
    if own:  # a wheel's GDAL brings all that it needs and has no plugins
        _leave_out("GDAL_DRIVER_PATH", "rasterio has its own GDAL")
        if not _holds_all_of(Path(os.environ.get("GDAL_DATA", own)), Path(own)):
            _leave_out("GDAL_DATA", "it is not of rasterio's GDAL")
    reason = _complaint_of_proj()
    left_out: dict[str, str] = {}
    for name in PROJ_VARIABLES:
        if reason is not None and name in os.environ:
            left_out[name] = os.environ[name]
            _leave_out(name, reason)
            reason = _complaint_of_proj() and reason
    if reason is None:
        return
    os.environ.update(left_out)
    if left_out:
        named = " and ".join(f"{name}={folder}" for name, folder in left_out.items())
        raise UsageError(f"PROJ can't use {named} ({reason}); unset that, or name the data of rasterio's own PROJ")
    raise UsageError(f"PROJ has no data ({reason}); install rasterio again: pip install --force-reinstall rasterio")


def _redacted_record(record: logging.LogRecord) -> bool:
    """Take users, passwords and queries of addresses out of what GDAL says; a filter of loggers."""
    record.msg, record.args = redacted(record.getMessage()), ()
    return True


def _silence_libtiff() -> None:
    """Have libtiff keep to itself what it says past GDAL: at a full disk it prints each failed write to stderr.

    GDAL gives it a handler for each file, and tells of failed writes through the one of the whole process. Where
    libtiff is part of GDAL's own library, nothing is done.
    """
    try:
        libraries = set(_LIBTIFF.findall(LIBRARIES.read_text(errors="replace")))
        for path in libraries:
            libtiff = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                handler = getattr(libtiff, name)
                handler.argtypes, handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
                handler(None)
    except (OSError, AttributeError):
        _log.debug("libtiff's own lines can't be kept off stderr", exc_info=True)


def _leave_out(name: str, reason: str) -> None:
    folder = os.environ.pop(name, None)
    if folder is not None:
        _log.info("%s=%s is left out: %s", name, folder, reason)


def _holds_all_of(folder: Path, own: Path) -> bool:
    try:
        return all((folder / path.name).exists() for path in own.iterdir())
    except (OSError, ValueError):
        return False


def _complaint_of_proj() -> str | None:
    """Say why PROJ does not know the most common CRS; None: it does."""
    import rasterio
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    with rasterio.Env():  # within a program's own `Env`, the environment is read again at its end, not at its start
        pass
    try:
        with rasterio.Env():  # without it GDAL prints the reason as well
            CRS.from_epsg(4326)
    except CRSError as error:
        return one_line(error)
    return None
