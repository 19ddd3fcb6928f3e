"""The digest of a scene's content: rows of two different scenes never meet in one map."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.addresses import anonymous, redacted, scheme_of
from kda_edge.errors import SceneError, UsageError
from kda_edge.paths import is_file
from kda_edge.rasters.valid_pixels import NODATA_TUPLE

from ..geo.gdal import GDAL_ERRORS, one_line, open_raster
from ..geo.raster_names import RasterAddress, RasterName, over_network, raster_named
from .remedies import copy_again
from .served_files import ServedFile, served_file

CHUNK_BYTES: Final = 2**22  # read and digested at a time
_INSIDE: Final = re.compile(r"(/vsi(7z|gzip|rar|tar|zip)/)+")  # what GDAL calls a file of an archive
# Drivers whose files only say where pixels are asked for.
_SERVED_DRIVERS: Final = frozenset(
    {"DAAS", "EEDAI", "NGW", "OGCAPI", "PLMosaic", "PostGISRaster", "WCS", "WMS", "WMTS"}
)
OVERVIEWS: Final = ".ovr"
PAM: Final = ".aux.xml"  # written by viewers too, with statistics: what it says of the scene counts, not its bytes


@dataclass(frozen=True)
class SceneContent:
    """What a scene held when it was looked at.

    Attributes:
        path: of the scene.
        sha256: of all that its pixels and its place come from, in hexadecimal; None where some of it can't be known.
        identity: the same less overviews beside it, which viewers add; names count for what can't be known.
        stamps: size and time of change of each of its files.
        served: those of its files that lie on web servers, by GDAL's names.
    """

    path: RasterName
    sha256: str | None
    identity: str
    stamps: dict[Path, tuple[int, int]]
    served: dict[str, ServedFile]

    def require_unchanged(self) -> None:
        """Make sure that no file of the scene was replaced, changed or taken away since.

        Raises:
            SceneError: one was; the file is named.
        """
        for path, stamp in self.stamps.items():
            if _stamp(path) != stamp:
                raise SceneError(f"{path} was changed while the scene was mapped; let no other program write it")
        for name, before in self.served.items():
            if served_file(name) != before:
                raise SceneError(f"{before.shown} was changed while the scene was mapped; map it again from its start")


@contextmanager
def digesting(path: RasterName) -> Iterator[Callable[[], SceneContent]]:
    """Digest a scene in a thread while the block runs; what it yields waits for the digest and returns it.

    The digest covers every byte of every file that GDAL names (sources of a VRT to any depth, masks, overviews, world
    files, the archive that it lies in) and the size, bands, types, nodata and place of each raster among them. Names
    do not count. In place of the bytes of a file on a web server stands what the server says of its state.

    Raises:
        SceneError: a file can't be read; of what lies in it, when the digest is asked for.
    """
    facts: list[str] = []
    files: dict[str, None] = {}  # a set that keeps the order
    try:
        _collect(path, facts, files)
    except GDAL_ERRORS as error:
        raise SceneError(f"{path} can't be read ({one_line(error)}); {copy_again(path)}") from error
    local = {name: file for name in files if (file := _local_file(name)) is not None}
    stamps = {file: _stamp(file) for file in local.values()}  # before the first byte is read
    served = {name: state for name in files.keys() - local.keys() if (state := _served(name)) is not None}
    unknown = [name for name in files if name not in local and name not in served]
    facts += filter(None, (_inside(name, file) for name, file in local.items()))
    # Where the bytes do not count, the name does.
    facts += [
        f"{served[name].state} {redacted(name)}" if name in served else anonymous(name)
        for name in files
        if name not in local
    ]
    bytes_of = dict.fromkeys(file for file in local.values() if not file.name.endswith(PAM))
    stopped = threading.Event()
    with ThreadPoolExecutor(1, "scene-digest") as threads:
        digest = threads.submit(_digest, facts, list(bytes_of), stopped)

        def content() -> SceneContent:
            sha256, identity = digest.result()
            return SceneContent(path, None if unknown else sha256, identity, stamps, served)

        try:
            yield content
        finally:
            stopped.set()


def _digest(facts: list[str], files: list[Path], stopped: threading.Event) -> tuple[str, str]:
    """Return the digest of all, and that without overviews."""
    digest = hashlib.sha256("\n".join(facts).encode(errors="surrogateescape"))
    identity = digest.copy()
    for file in files:
        content = _file_digest(file, stopped)
        digest.update(content)
        if file.suffix.lower() != OVERVIEWS:
            identity.update(content)
    return digest.hexdigest(), identity.hexdigest()


def _collect(name: RasterName, facts: list[str], files: dict[str, None]) -> None:
    """Add what GDAL says of a raster, and its files; for a VRT also those of the rasters that it is made of."""
    with open_raster(name) as dataset:
        facts.append(repr(_facts(dataset)))
        driver, named = dataset.driver, list(dataset.files)
    if isinstance(name, RasterAddress):
        facts.append(_selector(name))
    else:
        named.insert(0, str(name))
    if driver in _SERVED_DRIVERS or not named:
        named.append(f"{driver}:{name}")  # its pixels come from elsewhere
    for other in named:
        if other in files:
            continue
        files[other] = None
        if driver == "VRT" and other != str(name) and (_local_file(other) is not None or over_network(other)):
            try:
                _collect(raster_named(other), facts, files)
            except (*GDAL_ERRORS, UsageError):
                continue  # no raster: its bytes count


def _local_file(name: str) -> Path | None:
    """Return the file of this machine that GDAL's name stands for: itself, or the archive that it lies in."""
    path = _INSIDE.sub("", name).replace("{", "").replace("}", "")
    try:
        if path == name:
            return Path(name) if os.path.exists(name) else None  # noqa: PTH110 -- no path at all, maybe
        return next((place for place in (Path(path), *Path(path).parents) if is_file(place)), None)
    except (OSError, ValueError):
        return None


def _served(name: str) -> ServedFile | None:
    """Ask a web server about a file; None where only GDAL knows the way to it, by a proxy or a login of its own."""
    try:
        return served_file(name, tries=1)
    except SceneError:
        return None


def _inside(name: str, file: Path) -> str:
    """Return where in an archive a file of GDAL's name lies; empty: it is no archive."""
    return name.replace("{", "").replace("}", "").rpartition(file.name)[2] if _INSIDE.match(name) else ""


def _selector(address: RasterAddress) -> str:
    """Return what an address says besides the names of files: which of several rasters in a file, which bands."""
    name = address.gdal_name
    if scheme_of(name) == "vrt":
        return anonymous(name)
    if scheme_of(name) or name.startswith("/vsi"):
        return ""
    return ":".join(part for part in address.shown.replace('"', "").split(":") if _local_file(part) is None)


def _facts(dataset: Any) -> tuple[object, ...]:
    points, points_crs = dataset.gcps
    return (
        dataset.driver,
        dataset.shape,
        dataset.dtypes,
        [repr(value) for value in dataset.nodatavals],
        dataset.tags().get(NODATA_TUPLE),
        [[flag.name for flag in flags] for flags in dataset.mask_flag_enums],
        [color.name for color in dataset.colorinterp],
        dataset.descriptions,
        None if dataset.crs is None else dataset.crs.to_wkt(),
        tuple(dataset.transform),
        [(point.row, point.col, point.x, point.y, point.z) for point in points],
        None if points_crs is None else points_crs.to_wkt(),
    )


def _file_digest(file: Path, stopped: threading.Event) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
    try:
        with file.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
                if stopped.is_set():  # nobody will ask
                    break
    except OSError as error:
        raise SceneError(f"{file} can't be read ({one_line(error)}); copy the scene again") from error
    return digest.digest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise SceneError(f"{path} can't be found any more ({one_line(error)}); bring it back where it was") from error
    return state.st_size, state.st_mtime_ns
