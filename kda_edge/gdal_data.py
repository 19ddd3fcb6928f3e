"""GDAL's and PROJ's own data, where the environment names those of another installation.

QGIS, conda, PostGIS and others set PROJ_LIB, PROJ_DATA, GDAL_DATA and GDAL_DRIVER_PATH for their own libraries. A PROJ
that reads another's data knows no CRS, and another GDAL's drivers may take the process down.
"""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path
from typing import Final

from kda_edge.addresses import redacted
from kda_edge.errors import UsageError

PROJ_VARIABLES: Final = ("PROJ_DATA", "PROJ_LIB")  # rasterio takes the first that there is

GDAL_LOGGERS: Final = ("rasterio._env", "rasterio._err")  # to which rasterio passes on what GDAL says

_log = logging.getLogger(__name__)


@functools.cache
def require_gdal_data() -> None:
    """Make sure, once in a process and before GDAL's first work, that GDAL and PROJ have data that fit them.

    From then on, what GDAL says is logged without passwords.

    Variables that name what can't be used are taken out of this process's environment: rasterio reads them again and
    again. A folder of PROJ's that can be used stays; somebody may have put grids there.

    Raises:
        UsageError: PROJ can't use what the environment names, and rasterio has nothing in its place.
    """
    from rasterio.env import GDALDataFinder

    for logger in GDAL_LOGGERS:
        logging.getLogger(logger).addFilter(_redacted_record)
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
        return " ".join(str(error).split())
    return None
