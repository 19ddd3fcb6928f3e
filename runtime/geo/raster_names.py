"""What a raster may be called: a path, or an address that GDAL reads by itself. Loads nothing heavy."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

from kda_edge.addresses import path_from_file_url, redacted, safe_name, scheme_of, stem_from
from kda_edge.errors import UsageError

# What rasterio makes a name of GDAL's from; of an archive's, those of its place behind a +, as in zip+https.
_PLACES: Final = frozenset({"az", "file", "ftp", "gs", "http", "https", "oss", "s3"})
_ARCHIVES: Final = frozenset({"gzip", "tar", "zip"})
_VIRTUAL: Final = re.compile(r"/vsi[a-z0-9_]+[/?]")
_UNSEEKABLE: Final = re.compile(r"/vsi(std(in|out)|[a-z0-9]+_streaming)\b")
# A driver's word before a colon, as in NETCDF:"f.nc":rain; GDAL writes it in capitals, people not always.
_DRIVER: Final = re.compile(r"([A-Z][A-Z0-9_]+|(?i:gpkg|gtiff_dir|hdf[45]\w*|netcdf|vrt|zarr)):(?=.)", re.DOTALL)
_ASKED: Final = re.compile(r"/vsi[a-z0-9_]+\?(?:.*&)?url=([^&]+)")
_PARTS: Final = re.compile(r"(?<!\bhttp)(?<!\bhttps)(?<!\bftp)(?<!\bs3)(?<!\bgs)(?<!\baz)(?<!\boss):")
_OVER_NETWORK: Final = re.compile(r"/vsi(adls|az|curl|gs|hdfs|oss|s3|swift|webhdfs)[/?]")


@dataclass(frozen=True)
class RasterAddress:
    """A raster that is no file of its own: on a server, in an archive, or one of several in a file.

    Attributes:
        gdal_name: as rasterio takes it; may hold passwords, so that it never leaves the process.
        shown: the same as it may be said.
        stem: what outputs are named after.
    """

    gdal_name: str = field(repr=False)
    shown: str
    stem: str

    def __str__(self) -> str:
        """Return what may be said."""
        return self.shown

    @property
    def name(self) -> str:
        """Return a short name, as paths have one."""
        return self.stem


RasterName: TypeAlias = Path | RasterAddress


def raster_named(name: str | RasterName) -> RasterName:
    """Return the path or the address that a name means; what exists as a file is a path, whatever it looks like.

    Raises:
        UsageError: an address that GDAL has no way to, or that can't be read by windows.
    """
    if not isinstance(name, str):
        return name
    path = path_from_file_url(name)
    if path is not None:
        return path
    if os.path.exists(name):  # noqa: PTH110 -- Path would raise where the name is no path
        return Path(name)
    scheme = scheme_of(name)
    if scheme and scheme != "vrt":
        _require_readable(name, scheme)
    elif name.lstrip().startswith("<"):
        raise UsageError("a scene can't be given as XML; write it to a file and give that")
    elif _UNSEEKABLE.match(name):
        raise UsageError(f"{redacted(name)} can't be read by windows; write it to a file and give that")
    elif not (_VIRTUAL.match(name) or _DRIVER.match(name)):
        return Path(name)
    asked = _ASKED.search(name)  # the address as an option of GDAL's, in /vsicurl?url=...
    plain = name if asked is None else unquote(asked[1])
    return RasterAddress(_in_archive(name, scheme) or name, redacted(plain), _stem(plain))


def said(name: RasterName) -> Path | str:
    """Return what results say of a raster: its path, or its address without users, passwords and queries."""
    return name if isinstance(name, Path) else name.shown


def gdal_name_of(name: RasterName) -> Path | str:
    """Return what GDAL is given; of an address it may hold passwords."""
    return name if isinstance(name, Path) else name.gdal_name


def over_network(name: str) -> bool:
    """Whether GDAL asks a server for a file of this name of GDAL's."""
    return _OVER_NETWORK.search(name) is not None


def _require_readable(name: str, scheme: str) -> None:
    *archive, place = scheme.split("+")
    if set(archive) <= _ARCHIVES and (place in _PLACES or (place in _ARCHIVES and not archive)):
        return
    raise UsageError(
        f"GDAL reads no raster from {redacted(name)}; give a path, or an address that begins with "
        "https://, s3://, gs://, az://, zip:// or /vsi"
    )


def _in_archive(name: str, scheme: str) -> str:
    """Return GDAL's name of what lies in an archive, such as `zip://a.zip!b.tif`; empty: it lies in none.

    Rasterio understands such an address only where the archive is named with its folder.
    """
    archive, _, place = scheme.partition("+")
    if archive not in _ARCHIVES:
        return ""
    path, _, inner = name.partition("://")[2].partition("!")
    if place in ("http", "https", "ftp"):
        path = f"/vsicurl/{place}://{path}"
    elif place not in ("", "file"):
        path = f"/vsi{place}/{path}"
    if archive == "gzip":
        return f"/vsigzip/{path}"
    return f"/vsi{archive}/{{{path}}}/{inner.lstrip('/')}".rstrip("/")


def _stem(name: str) -> str:
    """Return the last word of an address; behind a driver's word, those of all parts: which of a file's rasters."""
    driver = _DRIVER.match(name)
    if driver is None or scheme_of(name):
        return stem_from(name, "scene")
    parts = _PARTS.split(redacted(name[driver.end() :]).replace('"', ""))
    return safe_name("_".join(filter(None, (stem_from(part, "") for part in parts)))) or "scene"
